"""Demonstrations of applicants, rated 1..7 by researchers who see prompt and text only (spec B2: anonymised data)."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from instructloop.core.errors import DataError
from instructloop.feedback import audit
from instructloop.feedback.database import Database
from instructloop.feedback.schema import ScreenAttempt, ScreenTest
from instructloop.feedback.screening.attempts import settle
from instructloop.feedback.screening.parts import part, rules
from instructloop.feedback.screening.scoring import score_items


@dataclass(frozen=True, kw_only=True, slots=True)
class Unrated:
    """A text to rate: no code, no name, no other rating."""

    attempt_id: str
    position: int
    prompt: str
    text: str


def _open(session: Session) -> list[ScreenAttempt]:
    query = (
        select(ScreenAttempt)
        .join(ScreenTest, ScreenTest.id == ScreenAttempt.test_id)
        .where(ScreenTest.kind == "demonstration", ScreenAttempt.finished_at.is_not(None), ScreenAttempt.passed.is_(None))
        .order_by(ScreenAttempt.id)
    )
    return list(session.scalars(query))


def _wanting(row: ScreenAttempt, rater: str, raters: int) -> list[int]:
    """Positions this rater has not rated and that still want a rating."""
    ratings = [answer.get("ratings", {}) for answer in row.detail["answers"]]
    return [position for position, given in enumerate(ratings) if rater not in given and len(given) < raters]


def next_to_rate(db: Database, rater: str) -> Unrated | None:
    """The next text a researcher (by account) may rate, or None."""
    with db.read() as session:
        raters = rules(session).raters
        for row in _open(session):
            for position in _wanting(row, rater, raters):
                payload = part(session, row.test_id).items[position].payload
                text = str(row.detail["answers"][position]["text"])
                return Unrated(attempt_id=row.id, position=position, prompt=str(payload["prompt"]), text=text)
    return None


def waiting_to_rate(db: Database, rater: str) -> int:
    """How many texts wait for this researcher."""
    with db.read() as session:
        raters = rules(session).raters
        return sum(len(_wanting(row, rater, raters)) for row in _open(session))


def rate_demonstration(db: Database, attempt_id: str, position: int, *, rater: str, score: int) -> float | None:
    """Keep a rating; when the last one needed arrives, the attempt has a score and a verdict.

    Returns:
        The attempt's score 1..7, or None while ratings are missing.

    Raises:
        DataError: a score outside 1..7, or no such text.
    """
    if not 1 <= score <= 7:
        raise DataError(f"score: {score} is not within 1..7", hint="1 = terrible ... 7 = almost perfect")
    with db.write() as session:
        row = session.get(ScreenAttempt, attempt_id, with_for_update=True)
        if row is None or row.finished_at is None or row.passed is not None:
            raise DataError("there is no such text to rate", hint="go on with the next one")
        found = part(session, row.test_id)
        if found.kind != "demonstration" or not 0 <= position < len(found.items):
            raise DataError("there is no such text", hint="go on with the next one")
        answers: list[dict[str, Any]] = [dict(answer) for answer in row.detail["answers"]]
        answers[position]["ratings"] = {**answers[position].get("ratings", {}), rater: score}
        wanted = rules(session).raters
        ready = all(len(answer.get("ratings", {})) >= wanted for answer in answers)
        scored = score_items("demonstration", [item.expected for item in found.items], answers)
        row.detail = {**row.detail, "answers": answers, "items": list(scored.items)}
        session.flush()
        if ready:
            settle(session, row, found, scored.score)
        audit.append(
            session,
            actor=rater,
            action="screening.rated",
            object=f"screen_attempt/{attempt_id}",
            detail={"position": position, "score": score},
        )
        return row.score
