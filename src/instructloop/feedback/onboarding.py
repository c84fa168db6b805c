"""From invitation to the first task: the notice, the guidelines, exercises with explanations, the screening (spec B2, B21).

Where a labeler stands is kept in ``labeler.preferences["onboarding"]`` and ``labeler.consent_version``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from instructloop.core.errors import DataError
from instructloop.feedback import audit
from instructloop.feedback.database import Database
from instructloop.feedback.ids import now_ms
from instructloop.feedback.labelers import require_labeler
from instructloop.feedback.schema import Guideline, Labeler, Setting
from instructloop.feedback.screening import Item, passed_parts, rules
from instructloop.feedback.screening.parts import training_items
from instructloop.feedback.screening.scoring import check_answer, score_items

NOTICE_VERSION: Final = "1"
NOTICE: Final = """
Before you begin, know what happens with your work.

- What you write, rate and rank is kept with a code such as L007, never with your name. It is used to train and to test language models, and may be given on in that form.
- Some prompts or answers can be unpleasant: violent, sexual, hateful. You can choose what you do not want to see, and you may skip any task at any time. Skipping never counts against you.
- The pages measure how long you actively work on a task. That helps to plan the work and to pay for it. It never rejects an answer.
- Now and then a task has a known answer. That is how the team learns whether the guidelines are clear.
- You can ask the team at any time to erase the texts you wrote. Counts stay; texts go.
""".strip()
_NOTICE_KEY = "labeler_notice"
STEPS: Final = ("notice", "guidelines", "training", "screening")


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """Where a labeler stands; ``next_step`` is None when everything is done."""

    done: tuple[str, ...]
    next_step: str | None
    training_answered: int
    training_total: int
    screened: bool
    """Whether the screening is asked of this labeler at all: training cohort, people."""


def notice(session: Session) -> tuple[str, str]:
    """Version and text of the notice in force."""
    row = session.get(Setting, _NOTICE_KEY)
    return (NOTICE_VERSION, NOTICE) if row is None else (str(row.value["version"]), str(row.value["text"]))


def set_notice(db: Database, text: str, *, actor: str) -> str:
    """Put another notice in force; every labeler is asked again. Returns its version.

    Raises:
        DataError: the text is empty.
    """
    if not text.strip():
        raise DataError("text: is empty", hint="write what happens with the labelers' work")
    with db.write() as session:
        version = str(int(notice(session)[0]) + 1)
        row = session.get(Setting, _NOTICE_KEY)
        value = {"version": version, "text": text.strip()}
        if row is None:
            session.add(Setting(key=_NOTICE_KEY, value=value, updated_at=now_ms()))
        else:
            row.value, row.updated_at = value, now_ms()
        session.flush()
        audit.append(
            session, actor=actor, action="notice.version", object="setting/labeler_notice", detail={"version": version}, after=text
        )
    return version


def guidelines_to_read(session: Session) -> list[Guideline]:
    """The newest version of every guideline, by name."""
    newest: dict[str, Guideline] = {}
    for row in session.scalars(select(Guideline).order_by(Guideline.name, Guideline.version)):
        newest[row.name] = row
    return list(newest.values())


def progress(db: Database, labeler_id: str) -> Progress:
    """What a labeler has done of the onboarding and what comes next."""
    with db.read() as session:
        return _progress(session, require_labeler(session, labeler_id))


def _progress(session: Session, labeler: Labeler) -> Progress:
    state = _state(labeler)
    total = len(training_items())
    read = set(state.get("guidelines", []))
    screened = labeler.kind == "human" and labeler.cohort == "training"
    checks = {
        "notice": labeler.consent_version == notice(session)[0],
        "guidelines": {f"{row.name}@{row.version}" for row in guidelines_to_read(session)} <= read,
        "training": len(state.get("training", {})) >= total,
        "screening": not screened or labeler.state != "applicant" or set(rules(session).required) <= passed_parts(session, labeler.id),
    }
    done = tuple(step for step in STEPS if checks[step])
    return Progress(
        done=done,
        next_step=next((step for step in STEPS if not checks[step]), None),
        training_answered=len(state.get("training", {})),
        training_total=total,
        screened=screened,
    )


def accept_notice(db: Database, labeler_id: str, version: str, *, actor: str) -> None:
    """Note that a labeler has read and accepted the notice.

    Raises:
        DataError: it is not the version in force.
    """
    with db.write() as session:
        if version != notice(session)[0]:
            raise DataError("the notice has changed since you opened it", hint="read the new one")
        require_labeler(session, labeler_id).consent_version = version
        session.flush()
        audit.append(session, actor=actor, action="notice.accepted", object=f"labeler/{labeler_id}", detail={"version": version})


def acknowledge(db: Database, labeler_id: str, guideline_id: str, *, actor: str) -> None:
    """Note that a labeler has read one version of a guideline.

    Raises:
        DataError: there is no such version.
    """
    with db.write() as session:
        row = session.get(Guideline, guideline_id)
        if row is None:
            raise DataError("there are no such guidelines", hint="reload the page")
        labeler = require_labeler(session, labeler_id)
        state = _state(labeler)
        read = sorted({*state.get("guidelines", []), f"{row.name}@{row.version}"})
        _keep(labeler, {**state, "guidelines": read})
        session.flush()
        audit.append(
            session,
            actor=actor,
            action="guideline.read",
            object=f"guideline/{row.id}",
            detail={"labeler": labeler.code, "version": row.version},
        )


def exercise(number: int) -> tuple[str, Item]:
    """One training item: (kind, item), from 0.

    Raises:
        DataError: there is none of that number.
    """
    items = training_items()
    if not 0 <= number < len(items):
        raise DataError(f"there is no exercise {number + 1}", hint=f"they go from 1 to {len(items)}")
    return items[number]


def answer_exercise(db: Database, labeler_id: str, number: int, answer: Mapping[str, Any]) -> float:
    """Keep the first answer to an exercise; returns the score 0..1, which decides nothing.

    Raises:
        DataError: the answer is not complete.
    """
    kind, item = exercise(number)
    check_answer(kind, item.payload, answer, "answer")
    score = score_items(kind, [item.expected], [answer]).items[0]
    with db.write() as session:
        labeler = require_labeler(session, labeler_id)
        state = _state(labeler)
        given = dict(state.get("training", {}))
        given.setdefault(str(number), {"answer": dict(answer), "score": score})
        _keep(labeler, {**state, "training": given})
    return score or 0.0


def exercise_answer(db: Database, labeler_id: str, number: int) -> Mapping[str, Any] | None:
    """What a labeler answered to an exercise and its score, or None."""
    with db.read() as session:
        found: Mapping[str, Any] | None = _state(require_labeler(session, labeler_id)).get("training", {}).get(str(number))
        return found


def _state(labeler: Labeler) -> dict[str, Any]:
    return dict(labeler.preferences.get("onboarding", {}))


def _keep(labeler: Labeler, state: Mapping[str, Any]) -> None:
    labeler.preferences = {**labeler.preferences, "onboarding": dict(state)}
