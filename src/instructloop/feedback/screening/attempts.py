"""Attempts at the screening: started, answered, scored at once where a machine can, and what follows for the labeler."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from instructloop.core.errors import DataError
from instructloop.feedback import audit
from instructloop.feedback.database import Database
from instructloop.feedback.ids import now_ms
from instructloop.feedback.labelers import require_labeler
from instructloop.feedback.schema import Labeler, ScreenAttempt, ScreenTest
from instructloop.feedback.screening.parts import Part, part, rules
from instructloop.feedback.screening.scoring import check_answer, score_items


@dataclass(frozen=True, kw_only=True, slots=True)
class Attempt:
    """One try at one part. ``answers`` are by question; ``score`` None = not scored (yet)."""

    id: str
    labeler_id: str
    test_id: str
    kind: str
    version: int
    cutoff: float | None
    started_at: int
    finished_at: int | None
    score: float | None
    passed: bool | None
    answers: tuple[Mapping[str, Any], ...]


def start_attempt(db: Database, labeler_id: str, test_id: str, *, now: int | None = None) -> Attempt:
    """Begin a part, or go on with the attempt that was begun.

    Raises:
        DataError: the labeler is no applicant, the part is not in force, is passed already, waits for its ratings, or was
            tried as often as the rules allow.
    """
    with db.write() as session:
        labeler = session.get(Labeler, labeler_id, with_for_update=True)
        if labeler is None or labeler.state != "applicant":
            raise DataError("the screening is for applicants", hint="qualified labelers find their tasks under Work")
        test = session.get(ScreenTest, test_id)
        if test is None or not test.active:
            raise DataError("this part of the screening is no longer in force", hint="go back to the list of parts")
        mine = [one for one in _attempts(session, labeler_id) if one.kind == test.kind]
        running = next((one for one in mine if one.finished_at is None and one.test_id == test_id), None)
        if running is not None:
            return running
        if any(one.passed for one in mine):
            raise DataError("you have passed this part", hint="go on with the next one")
        finished = [one for one in mine if one.finished_at is not None]
        if any(one.passed is None for one in finished):
            raise DataError("your answers wait to be read", hint="you need not do anything for now")
        if len(finished) >= _allowed(session, labeler, test.kind):
            raise DataError(f"you have tried this part {len(finished)} times", hint="write to the team: they can give you another try")
        row = ScreenAttempt(labeler_id=labeler_id, test_id=test_id, started_at=now or now_ms(), detail={"answers": []})
        session.add(row)
        session.flush()
        return _attempt(row, test)


def _allowed(session: Session, labeler: Labeler, kind: str) -> int:
    granted = labeler.preferences.get("screening_attempts", {})
    return rules(session).attempts + int(granted.get(kind, 0))


def missing_answers(found: Part, answers: Sequence[Mapping[str, Any]]) -> dict[int, str]:
    """What is wrong with answers, by question; empty = complete."""
    problems = {}
    for position, (item, answer) in enumerate(zip(found.items, answers, strict=True)):
        try:
            check_answer(found.kind, item.payload, answer, f"question {position + 1}")
        except DataError as error:
            problems[position] = error.args[0]
    return problems


def finish(db: Database, labeler_id: str, attempt_id: str, answers: Sequence[Mapping[str, Any]], *, now: int | None = None) -> Attempt:
    """Hand in all answers of a part; whatever scores itself is scored at once. Handing in twice returns the first result.

    Raises:
        DataError: not this labeler's attempt, or an answer is missing.
    """
    with db.write() as session:
        row = session.get(ScreenAttempt, attempt_id, with_for_update=True)
        if row is None or row.labeler_id != labeler_id:
            raise DataError("there is no such attempt", hint="go back to the list of parts")
        test = session.get_one(ScreenTest, row.test_id)
        if row.finished_at is not None:
            return _attempt(row, test)
        found = part(session, row.test_id)
        if len(answers) != len(found.items):
            raise DataError(f"{len(answers)} answers for {len(found.items)} questions", hint="reload the page")
        for problem in missing_answers(found, answers).values():
            raise DataError(problem, hint="answer it and send again")
        scored = score_items(found.kind, [item.expected for item in found.items], answers)
        row.detail = {"answers": [dict(answer) for answer in answers], "items": list(scored.items)}
        row.finished_at = now or now_ms()
        settle(session, row, found, scored.score)
        return _attempt(row, test)


def settle(session: Session, row: ScreenAttempt, found: Part, score: float | None) -> None:
    """Write score and verdict of a finished attempt and qualify its labeler if that was the last part missing."""
    row.score = score
    if found.kind == "self":
        row.passed = True
    elif score is not None:
        row.passed = found.cutoff is None or score >= found.cutoff - 1e-9
    session.flush()
    labeler = require_labeler(session, row.labeler_id)
    if labeler.state == "applicant" and set(rules(session).required) <= passed_parts(session, labeler.id):
        labeler.state = "qualified"
        session.flush()
        audit.append(
            session,
            actor="system",
            action="labeler.qualified",
            object=f"labeler/{labeler.id}",
            detail={"code": labeler.code, "by": "screening"},
        )


def passed_parts(session: Session, labeler_id: str) -> set[str]:
    """Kinds of the parts that a labeler has passed, in any version."""
    query = (
        select(ScreenTest.kind)
        .join(ScreenAttempt, ScreenAttempt.test_id == ScreenTest.id)
        .where(ScreenAttempt.labeler_id == labeler_id, ScreenAttempt.passed.is_(True))
    )
    return set(session.scalars(query))


def attempts_of(db: Database, labeler_id: str) -> list[Attempt]:
    """A labeler's attempts, newest first."""
    with db.read() as session:
        return _attempts(session, labeler_id)


def _attempts(session: Session, labeler_id: str) -> list[Attempt]:
    query = (
        select(ScreenAttempt, ScreenTest)
        .join(ScreenTest, ScreenTest.id == ScreenAttempt.test_id)
        .where(ScreenAttempt.labeler_id == labeler_id)
        .order_by(ScreenAttempt.id.desc())
    )
    return [_attempt(row, test) for row, test in session.execute(query)]


def _attempt(row: ScreenAttempt, test: ScreenTest) -> Attempt:
    return Attempt(
        id=row.id,
        labeler_id=row.labeler_id,
        test_id=row.test_id,
        kind=test.kind,
        version=test.version,
        cutoff=test.cutoff,
        started_at=row.started_at,
        finished_at=row.finished_at,
        score=row.score,
        passed=row.passed,
        answers=tuple(row.detail.get("answers", [])),
    )


def grant_attempt(db: Database, labeler_id: str, kind: str, *, actor: str) -> None:
    """Allow a labeler one more try at a part."""
    with db.write() as session:
        labeler = require_labeler(session, labeler_id)
        granted = dict(labeler.preferences.get("screening_attempts", {}))
        granted[kind] = int(granted.get(kind, 0)) + 1
        labeler.preferences = {**labeler.preferences, "screening_attempts": granted}
        session.flush()
        audit.append(session, actor=actor, action="screening.attempt", object=f"labeler/{labeler_id}", detail={"kind": kind})


def override(db: Database, labeler_id: str, *, reason: str, actor: str) -> None:
    """Qualify an applicant in spite of the cut-offs, which are soft (spec B2); the reason and the scores go into the audit log.

    Raises:
        DataError: no reason, or no applicant.
    """
    if not reason.strip():
        raise DataError("reason: is empty", hint="say why the cut-offs should not hold here")
    with db.write() as session:
        labeler = require_labeler(session, labeler_id)
        if labeler.state != "applicant":
            raise DataError(f"labeler {labeler.code} is {labeler.state}, not an applicant", hint="change the state instead")
        labeler.state = "qualified"
        scores = {f"{one.kind}/{one.id}": one.score for one in _attempts(session, labeler_id)}
        session.flush()
        audit.append(
            session,
            actor=actor,
            action="labeler.qualified",
            object=f"labeler/{labeler_id}",
            detail={"code": labeler.code, "by": "override", "reason": reason.strip()[:2000], "scores": scores},
        )
