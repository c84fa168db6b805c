"""What a labeler sees of a task. No model, checkpoint or sampling setting is in it, by construction: nothing here reads them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from instructloop.core.records import PromptContent
from instructloop.feedback.answer_rows import answer_of
from instructloop.feedback.answers import Answer
from instructloop.feedback.assignment import Lease, lease_of, owned
from instructloop.feedback.database import Database
from instructloop.feedback.drafts import draft_of
from instructloop.feedback.flags import COMPLETION_FLAGS, PROMPT_FLAGS, FlagField
from instructloop.feedback.records import prompt_of
from instructloop.feedback.schema import CompletionRow, Flag, Guideline, PromptRow, Queue, Submission, Task, TaskItem
from instructloop.feedback.submissions import asks_prompt_flags, edit_until, latest, revision_key

SHOWN_META = ("title", "context", "note", "user_need", "language")
"""Further fields of a prompt that a labeler may read; all others stay in the store."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GuidelineView:
    """The version of the guidelines that holds for a task."""

    id: str
    name: str
    version: int
    mode: str
    title: str
    body: str


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskView:
    """Everything the page of one task needs."""

    lease: Lease
    """While editing, ``idem_key`` is the edit's own and ``expires_at`` the end of the time for editing."""
    state: str
    """The assignment's: ``leased``, ``submitted``, ``skipped``, ``expired``, ``released`` or ``surplus``."""
    leased_at: int
    active_ms: int
    wall_ms: int
    prompt: PromptContent
    prompt_meta_allowed: Mapping[str, Any]
    prompt_flags: Mapping[str, str]
    """What is known about the instruction; output fields apply or not by these unless the page asks them itself."""
    completions: tuple[str, ...]
    """In the order shown."""
    guideline: GuidelineView
    queue_name: str
    queue_settings: Mapping[str, Any]
    prompt_fields: tuple[FlagField, ...]
    """Instruction fields to ask; empty = none."""
    completion_fields: tuple[FlagField, ...]
    """Output fields to ask (those that apply, by ``FlagField.applies``); empty = none."""
    sensitive: tuple[str, ...]
    draft: Mapping[str, Any]
    draft_rev: int
    editing: bool
    previous: Answer | None
    """The newest answer, where there is one."""
    submission_id: str | None
    confidence: int | None
    comment: str | None
    adjudicates: str | None


def task_view(db: Database, assignment_id: str, labeler_id: str) -> TaskView:
    """A labeler's own task, as its page shows it.

    Raises:
        UnknownTaskError: not the labeler's, or there is none: the same answer, so that nobody learns which (page: 404).
        DataError: the prompt was erased.
    """
    with db.read() as session:
        assignment = owned(session, assignment_id, labeler_id, lock=False)
        task = session.get_one(Task, assignment.task_id)
        queue = session.get_one(Queue, assignment.queue_id)
        prompt = session.get_one(PromptRow, task.prompt_id)
        lease = lease_of(assignment, task, queue, resumed=True)
        done = session.scalars(latest().where(Submission.assignment_id == assignment_id)).one_or_none()
        if done is not None:
            lease = _for_edit(session, lease, done)
        query = select(TaskItem.slot, CompletionRow.text).join(CompletionRow, CompletionRow.id == TaskItem.completion_id)
        texts = {row.slot: row.text for row in session.execute(query.where(TaskItem.task_id == task.id))}
        body, rev = draft_of(session, assignment_id)
        rated = queue.kind in {"rate", "rate_and_rank"}
        return TaskView(
            lease=lease,
            state=assignment.state,
            leased_at=assignment.leased_at,
            active_ms=assignment.active_ms,
            wall_ms=assignment.wall_ms,
            prompt=prompt_of(prompt),
            prompt_meta_allowed={key: prompt.meta[key] for key in SHOWN_META if key in prompt.meta},
            prompt_flags=known_flags(session, prompt),
            completions=tuple(texts[slot] or "" for slot in assignment.display_order),
            guideline=_guideline(session, assignment.guideline_id or queue.guideline_id),
            queue_name=queue.name,
            queue_settings={key: value for key, value in queue.settings.items() if key != "seed"},
            prompt_fields=PROMPT_FLAGS if asks_prompt_flags(queue) else (),
            completion_fields=COMPLETION_FLAGS if rated else (),
            sensitive=tuple(part for part in (task.sensitive or "").split(",") if part),
            draft=body,
            draft_rev=rev,
            editing=done is not None,
            previous=None if done is None else answer_of(session, done.id),
            submission_id=None if done is None else done.id,
            confidence=None if done is None else done.confidence,
            comment=None if done is None else done.comment,
            adjudicates=task.adjudicates,
        )


def _for_edit(session: Session, lease: Lease, done: Submission) -> Lease:
    return Lease(
        assignment_id=lease.assignment_id,
        task_id=lease.task_id,
        queue_id=lease.queue_id,
        kind=lease.kind,
        idem_key=revision_key(lease.idem_key, done.rev + 1),
        expires_at=edit_until(session, done),
        k=lease.k,
        display_order=lease.display_order,
        resumed=True,
    )


def _guideline(session: Session, identifier: str) -> GuidelineView:
    row = session.get_one(Guideline, identifier)
    return GuidelineView(id=row.id, name=row.name, version=row.version, mode=row.mode, title=row.title, body=row.body)


def known_flags(session: Session, prompt: PromptRow) -> dict[str, str]:
    """What is known about an instruction: its imported fields, its use case, then what labelers answered, the newest last."""
    known = {str(key): str(value) for key, value in (prompt.meta.get("flags") or {}).items()}
    if prompt.use_case:
        known["use_case"] = prompt.use_case
    answered = (
        select(Flag.key, Flag.value)
        .join(Submission, Submission.id == Flag.submission_id)
        .join(Task, Task.id == Submission.task_id)
        .where(Task.prompt_id == prompt.id, Flag.completion_id.is_(None))
        .order_by(Submission.id, Flag.id)
    )
    known.update({row.key: row.value for row in session.execute(answered)})
    return known
