"""Surveys of Tables 12 and 13: voluntary, anonymous, apart from all answers (spec B19, B20).

A response names no labeler, has a random identifier and the month only; that a survey was *offered* is kept elsewhere, so that
nobody is asked twice. Results are shown from five responses on, and a demographic cell from five people on: a single person can
be recognised in a table of small cells. They describe who labeled (the data card); they never decide who gets work.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from instructloop.core.errors import DataError
from instructloop.feedback.database import Database, insert_if_new
from instructloop.feedback.ids import now_ms
from instructloop.feedback.schema import SurveyOffer, SurveyResponse

SHOWN_FROM: Final = 5
"""Fewest responses before anything is shown, and fewest people in a demographic cell."""
AGREEMENT: Final = (
    ("strongly_agree", "Strongly agree"),
    ("agree", "Agree"),
    ("neither", "Neither agree nor disagree"),
    ("disagree", "Disagree"),
    ("strongly_disagree", "Strongly disagree"),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """One question; ``many`` = several answers may be chosen."""

    key: str
    text: str
    options: tuple[tuple[str, str], ...]
    many: bool = False


def _options(*texts: str) -> tuple[tuple[str, str], ...]:
    return tuple(("".join(c if c.isalnum() else "_" for c in text.lower()).strip("_"), text) for text in texts)


SURVEYS: Final[Mapping[str, tuple[Question, ...]]] = {
    "satisfaction": (
        Question(key="instructions_clear", text="The instructions told me clearly what to do.", options=AGREEMENT),
        Question(key="enjoyable", text="I enjoyed the work.", options=AGREEMENT),
        Question(key="repetitive", text="The work was repetitive.", options=AGREEMENT),
        Question(key="paid_fairly", text="The pay for the work was fair.", options=AGREEMENT),
        Question(key="glad", text="All in all, I am glad that I did this work.", options=AGREEMENT),
    ),
    "demographics": (
        Question(key="gender", text="Your gender", options=_options("Male", "Female", "Nonbinary / other")),
        Question(
            key="ethnicity",
            text="Your ethnic background",
            many=True,
            options=_options(
                "White / Caucasian",
                "Southeast Asian",
                "South Asian",
                "East Asian",
                "Middle Eastern / North African",
                "Latinx",
                "Black / of African descent",
                "Indigenous / Native",
                "Other",
            ),
        ),
        Question(
            key="region",
            text="The part of the world you come from",
            many=True,
            options=_options(
                "Northern America",
                "Latin America and the Caribbean",
                "Europe",
                "Northern Africa and Western Asia",
                "Sub-Saharan Africa",
                "Central and Southern Asia",
                "Eastern and Southeastern Asia",
                "Oceania",
            ),
        ),
        Question(key="age", text="Your age", options=_options("18-24", "25-34", "35-44", "45-54", "55-64", "65+")),
        Question(
            key="education",
            text="The highest level of education you have completed",
            options=_options(
                "Less than high school degree", "High school degree", "Undergraduate degree", "Master's degree", "Doctorate degree"
            ),
        ),
    ),
}  # fmt: skip
"""The paper asks for a nationality; a region says as much about coverage and points at nobody."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tally:
    """The result of one question. ``counts`` by option; None = fewer people than may be shown."""

    question: Question
    answered: int
    counts: tuple[tuple[str, int | None], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class SurveyResult:
    """A survey's aggregate; ``tallies`` is empty while fewer than ``SHOWN_FROM`` people have answered."""

    kind: str
    responses: int | None
    """None = some, but too few to say."""
    tallies: tuple[Tally, ...]


def offered(db: Database, labeler_id: str, kind: str) -> bool:
    """Whether a labeler has dealt with a survey already, by answering or by declining."""
    with db.read() as session:
        return session.get(SurveyOffer, (labeler_id, kind)) is not None


def close_offer(db: Database, labeler_id: str, kind: str) -> bool:
    """Note that the survey was put to a labeler; False if it was before."""
    _questions(kind)
    with db.write() as session:
        return insert_if_new(session, SurveyOffer, {"labeler_id": labeler_id, "kind": kind}, on=("labeler_id", "kind"))


def respond(db: Database, kind: str, answers: Mapping[str, Sequence[str]], *, now: int | None = None) -> None:
    """Keep an anonymous response; questions may be left out. Who it is from is not known here.

    Raises:
        DataError: an unknown question or option, or several answers where one is asked for.
    """
    questions = {question.key: question for question in _questions(kind)}
    kept: dict[str, list[str]] = {}
    for key, values in answers.items():
        question = questions.get(key)
        if question is None:
            raise DataError(f"{key}: is not a question of this survey", hint="reload the page")
        known = {value for value, _ in question.options}
        stranger = next((value for value in values if value not in known), None)
        if stranger is not None or (len(values) > 1 and not question.many):
            raise DataError(f"{key}: cannot be {stranger or list(values)!r}", hint="choose from the list")
        if values:
            kept[key] = sorted(set(values))
    if not kept:
        return
    month = datetime.fromtimestamp((now_ms() if now is None else now) / 1000, tz=UTC).strftime("%Y-%m")
    with db.write() as session:
        session.add(SurveyResponse(kind=kind, month=month, answers=kept))


def result(db: Database, kind: str) -> SurveyResult:
    """The aggregate of a survey, for the data card and the admin pages."""
    with db.read() as session:
        return result_in(session, kind)


def result_in(session: Session, kind: str) -> SurveyResult:
    """The same within an open session."""
    questions = _questions(kind)
    given = list(session.scalars(select(SurveyResponse.answers).where(SurveyResponse.kind == kind)))
    if len(given) < SHOWN_FROM:
        return SurveyResult(kind=kind, responses=None if given else 0, tallies=())
    smallest = SHOWN_FROM if kind == "demographics" else 1
    tallies = []
    for question in questions:
        counts = Counter(value for answers in given for value in answers.get(question.key, []))
        shown = tuple((text, _shown(counts[value], smallest)) for value, text in question.options)
        tallies.append(Tally(question=question, answered=sum(bool(answers.get(question.key)) for answers in given), counts=shown))
    return SurveyResult(kind=kind, responses=len(given), tallies=tuple(tallies))


def _shown(count: int, smallest: int) -> int | None:
    return count if count == 0 or count >= smallest else None


def _questions(kind: str) -> tuple[Question, ...]:
    if kind not in SURVEYS:
        raise DataError(f"there is no survey {kind!r}", hint=f"one of {', '.join(SURVEYS)}")
    return SURVEYS[kind]
