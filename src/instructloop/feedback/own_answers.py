"""What task pages ask about answers that exist: one's own, and, for who decides a disagreement, those of nameless others."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import func, select

from instructloop.feedback.answer_rows import answer_of
from instructloop.feedback.answers import Answer
from instructloop.feedback.database import Database
from instructloop.feedback.labelers import today_start
from instructloop.feedback.refusals import UnknownTaskError
from instructloop.feedback.schema import Submission, TaskItem
from instructloop.feedback.submissions import latest


def answered_today(db: Database, labeler_id: str, *, now: int | None = None) -> int:
    """Tasks the labeler has answered since midnight UTC, edits not counted."""
    mine = select(func.count()).select_from(Submission).where(Submission.labeler_id == labeler_id, Submission.rev == 1)
    with db.read() as session:
        return session.scalars(mine.where(Submission.created_at >= today_start(now))).one()


def assignment_of(db: Database, submission_id: str, labeler_id: str) -> str:
    """The assignment that one's own answer belongs to.

    Raises:
        UnknownTaskError: not the labeler's, or there is none.
    """
    with db.read() as session:
        row = session.get(Submission, submission_id)
        if row is None or row.labeler_id != labeler_id:
            raise UnknownTaskError.of("answer", submission_id)
        return row.assignment_id


@dataclass(frozen=True, kw_only=True, slots=True)
class AnswerToDecide:
    """One of the answers that disagree; nothing says whose it is."""

    submission_id: str
    answer: Answer
    comment: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Disagreement:
    """The newest answers to a task, in an order that tells nothing about who came first, and where its outputs stand.

    ``slots`` leads from a slot of the disputed task to the slot of the deciding task that shows the same output.
    """

    answers: tuple[AnswerToDecide, ...]
    slots: Mapping[int, int]


def disagreement(db: Database, *, task_id: str, adjudicates: str) -> Disagreement:
    """The answers between which the task ``task_id`` decides; ``adjudicates`` is the disputed task."""
    with db.read() as session:
        rows = session.scalars(latest().where(Submission.task_id == adjudicates, Submission.erased_at.is_(None))).all()
        mixed = sorted(rows, key=lambda row: hashlib.sha256(f"{task_id}\0{row.id}".encode()).digest())
        places: dict[str, dict[str, int]] = {task_id: {}, adjudicates: {}}
        for item in session.scalars(select(TaskItem).where(TaskItem.task_id.in_(list(places)))):
            places[item.task_id][item.completion_id] = item.slot
        here = places[task_id]
        slots = {slot: here.get(completion, slot) for completion, slot in places[adjudicates].items()}
        answers = tuple(AnswerToDecide(submission_id=row.id, answer=answer_of(session, row.id), comment=row.comment) for row in mixed)
        return Disagreement(answers=answers, slots=slots)
