"""Lists for the admin pages, a page at a time by key: the cost of a page does not grow with its number."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select

from instructloop.core.errors import DataError
from instructloop.core.records import PromptContent
from instructloop.feedback.analysis import model_names
from instructloop.feedback.database import Database
from instructloop.feedback.records import prompt_of
from instructloop.feedback.schema import (
    Audit,
    CompletionRow,
    Evaluation,
    Export,
    Gold,
    GoldResult,
    PromptRow,
    Queue,
    Task,
    User,
)
from instructloop.feedback.schema.prompts import PII_STATES, SPLITS

PAGE = 50


@dataclass(frozen=True, kw_only=True, slots=True)
class PromptLine:
    """A prompt in the list."""

    id: str
    opening: str
    source: str
    kind: str
    split: str
    use_case: str | None
    language: str | None
    pii_status: str
    completions: int
    erased: bool


def prompts(db: Database, *, after: str = "", split: str = "", pii: str = "", use_case: str = "", limit: int = PAGE) -> list[PromptLine]:
    """Prompts in order of arrival, after one of them, with optional filters.

    Raises:
        DataError: an unknown split or state.
    """
    if (split and split not in SPLITS) or (pii and pii not in PII_STATES):
        raise DataError("the filter names something unknown", hint="choose from the lists")
    query = select(PromptRow).where(PromptRow.id > after).order_by(PromptRow.id).limit(limit)
    for column, value in ((PromptRow.split, split), (PromptRow.pii_status, pii), (PromptRow.use_case, use_case)):
        if value:
            query = query.where(column == value)
    with db.read() as session:
        rows = session.scalars(query).all()
        grouped = (
            select(CompletionRow.prompt_id, func.count())
            .where(CompletionRow.prompt_id.in_([row.id for row in rows]))
            .group_by(CompletionRow.prompt_id)
        )
        counts = {row[0]: row[1] for row in session.execute(grouped)}
    return [
        PromptLine(
            id=row.id,
            opening=(row.text or "")[:160],
            source=row.source,
            kind=row.kind,
            split=row.split,
            use_case=row.use_case,
            language=row.language,
            pii_status=row.pii_status,
            completions=counts.get(row.id, 0),
            erased=row.erased_at is not None,
        )
        for row in rows
    ]


@dataclass(frozen=True, kw_only=True, slots=True)
class PromptPage:
    """A prompt with its completions and the tasks it stands in. Models are named: never for labelers."""

    row: PromptRow
    content: PromptContent | None
    """None after an erasure."""
    completions: tuple[tuple[CompletionRow, str], ...]
    """With the name of the model, or ``human``."""
    queues: tuple[tuple[str, str, str], ...]
    """Identifier and name of the queue, state of the task."""


def prompt_page(db: Database, prompt_id: str) -> PromptPage:
    """One prompt with everything around it.

    Raises:
        UnknownPromptError: there is none.
    """
    names = model_names(db)
    with db.read() as session:
        row = session.get(PromptRow, prompt_id)
        if row is None:
            raise UnknownPromptError(f"there is no prompt {prompt_id!r}", hint="go back to the list")
        completions = session.scalars(select(CompletionRow).where(CompletionRow.prompt_id == prompt_id).order_by(CompletionRow.id)).all()
        tasks = session.execute(
            select(Queue.id, Queue.name, Task.state)
            .join(Task, Task.queue_id == Queue.id)
            .where(Task.prompt_id == prompt_id, Task.gold_id.is_(None))
        ).all()
        return PromptPage(
            row=row,
            content=None if row.text is None else prompt_of(row),
            completions=tuple((one, names.get(one.checkpoint_id or "", one.origin)) for one in completions),
            queues=tuple((task[0], task[1], task[2]) for task in tasks),
        )


class UnknownPromptError(DataError):
    """There is no such prompt."""


def prompt_counts(db: Database) -> Mapping[tuple[str, str], int]:
    """Prompts by split and state of personal data."""
    query = select(PromptRow.split, PromptRow.pii_status, func.count()).group_by(PromptRow.split, PromptRow.pii_status)
    with db.read() as session:
        return {(split, state): n for split, state, n in session.execute(query)}


def audit_lines(db: Database, *, before: int | None = None, action: str = "", limit: int = PAGE) -> list[Audit]:
    """The audit log, newest first."""
    query = select(Audit).order_by(Audit.seq.desc()).limit(limit)
    if before is not None:
        query = query.where(Audit.seq < before)
    if action:
        query = query.where(Audit.action.startswith(action, autoescape=True))
    with db.read() as session:
        return list(session.scalars(query))


def actor_names(db: Database) -> dict[str, str]:
    """Names of accounts by identifier, for reading the audit log."""
    with db.read() as session:
        return {row[0]: row[1] or row[2] for row in session.execute(select(User.id, User.name, User.email))}


def exports(db: Database, *, before: str = "", limit: int = PAGE) -> list[Export]:
    """What left the store, newest first."""
    query = select(Export).order_by(Export.id.desc()).limit(limit)
    if before:
        query = query.where(Export.id < before)
    with db.read() as session:
        return list(session.scalars(query))


@dataclass(frozen=True, kw_only=True, slots=True)
class GoldLine:
    """A gold item with where it is used and how it went."""

    id: str
    kind: str
    active: bool
    expected: Mapping[str, Any]
    tolerance: float
    explanation: str
    queue: str
    opening: str
    answered: int
    passed: int


def gold_items(db: Database, *, after: str = "", limit: int = PAGE) -> list[GoldLine]:
    """Gold items that stand in a queue, oldest first; many misses point at the item or the guidelines, not at the people."""
    query = (
        select(Gold, Queue.name, PromptRow.text)
        .join(Task, Task.gold_id == Gold.id)
        .join(Queue, Queue.id == Task.queue_id)
        .join(PromptRow, PromptRow.id == Task.prompt_id)
        .where(Gold.id > after)
        .order_by(Gold.id)
        .limit(limit)
    )
    results = select(GoldResult.gold_id, func.count(), func.count().filter(GoldResult.passed.is_(True))).group_by(GoldResult.gold_id)
    with db.read() as session:
        rows = session.execute(query).all()
        counts = {row[0]: (row[1], row[2]) for row in session.execute(results.where(GoldResult.gold_id.in_([row[0].id for row in rows])))}
    return [
        GoldLine(
            id=gold.id,
            kind=gold.kind,
            active=gold.active,
            expected=gold.expected,
            tolerance=gold.tolerance,
            explanation=gold.explanation,
            queue=queue,
            opening=(text or "(erased)")[:120],
            answered=counts.get(gold.id, (0, 0))[0],
            passed=counts.get(gold.id, (0, 0))[1],
        )
        for gold, queue, text in rows
    ]


def evaluations(db: Database) -> list[Evaluation]:
    """All evaluations, newest first."""
    with db.read() as session:
        return list(session.scalars(select(Evaluation).order_by(Evaluation.id.desc())))


def voting_queues(db: Database) -> list[Queue]:
    """Queues of blind comparisons, newest first."""
    with db.read() as session:
        return list(session.scalars(select(Queue).where(Queue.kind == "pairwise").order_by(Queue.id.desc())))


def get_queue(db: Database, queue_id: str) -> Queue:
    """A queue by identifier.

    Raises:
        DataError: there is none.
    """
    with db.read() as session:
        queue = session.get(Queue, queue_id)
    if queue is None:
        raise UnknownQueueError(f"there is no queue {queue_id!r}", hint="list the queues first")
    return queue


class UnknownQueueError(DataError):
    """There is no such queue."""


def prompts_without_task(
    db: Database, queue_id: str, *, splits: tuple[str, ...], completions: int, limit: int
) -> list[tuple[str, tuple[str, ...]]]:
    """Prompts that stand in no task of a queue yet, with the completions a task of it would show.

    Args:
        db: the open store.
        queue_id: the queue to be filled.
        splits: splits to take from.
        completions: how many completions each must have (the newest are taken); 0 = none are shown.
        limit: most prompts.
    """
    there = select(Task.id).where(Task.queue_id == queue_id, Task.prompt_id == PromptRow.id)
    query = (
        select(PromptRow.id)
        .where(PromptRow.split.in_(splits), PromptRow.pii_status.in_(("clean", "redacted")), PromptRow.erased_at.is_(None), ~there.exists())
        .order_by(PromptRow.id)
    )
    if completions:
        enough = (
            select(CompletionRow.prompt_id)
            .where(CompletionRow.text.is_not(None))
            .group_by(CompletionRow.prompt_id)
            .having(func.count() >= completions)
        )
        query = query.where(PromptRow.id.in_(enough))
    with db.read() as session:
        chosen = session.scalars(query.limit(limit)).all()
        if not completions:
            return [(identifier, ()) for identifier in chosen]
        found: dict[str, list[str]] = {}
        for start in range(0, len(chosen), 500):
            rows = session.execute(
                select(CompletionRow.prompt_id, CompletionRow.id)
                .where(CompletionRow.prompt_id.in_(chosen[start : start + 500]), CompletionRow.text.is_not(None))
                .order_by(CompletionRow.id.desc())
            )
            for prompt_id, completion_id in rows:
                found.setdefault(prompt_id, []).append(completion_id)
    return [(identifier, tuple(sorted(found[identifier][:completions]))) for identifier in chosen]
