"""How far the work is: per queue pending, leased, done, surplus and the estimated end; throughput by labeler and day."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import BigInteger, case, func, literal_column, select

from instructloop.feedback.database import Database
from instructloop.feedback.ids import now_ms
from instructloop.feedback.schema import Assignment, Labeler, Queue, Submission, Task

DAY_MS = 86_400_000
PACE_DAYS = 7
"""Days whose answers give the pace."""


@dataclass(frozen=True, kw_only=True, slots=True)
class QueueProgress:
    """One queue's numbers. Answers, not tasks: a task with overlap 2 wants two."""

    id: str
    name: str
    kind: str
    state: str
    tasks: int
    finished: int
    """Tasks with all their answers."""
    pending: int
    """Answers still to be given out."""
    leased: int
    done: int
    surplus: int
    skipped: int
    expired: int
    too_fast: int
    per_day: float
    """Answers a day over the last week, or since the first one if that is less."""
    eta: int | None
    """When the last answer comes at that pace (UTC ms); None without a pace."""

    @property
    def share(self) -> float:
        """Done of all answers wanted, 0..1."""
        wanted = self.pending + self.leased + self.done
        return self.done / wanted if wanted else 0.0


def queue_progress(db: Database, *, now: int | None = None) -> list[QueueProgress]:
    """All queues, most urgent first; gold items are not counted as work."""
    at = now_ms() if now is None else now
    wanting = case((Task.state == "open", case((Task.wanted > Task.taken, Task.wanted - Task.taken), else_=0)), else_=0)
    tasks = (
        select(
            Task.queue_id,
            func.count(),
            func.sum(case((Task.state == "done", 1), else_=0)),
            func.sum(wanting),
            func.sum(Task.done),
        )
        .where(Task.gold_id.is_(None))
        .group_by(Task.queue_id)
    )
    states = select(Assignment.queue_id, Assignment.state, func.count()).group_by(Assignment.queue_id, Assignment.state)
    recent = (
        select(Task.queue_id, func.count(), func.min(Submission.created_at))
        .select_from(Submission)
        .join(Task, Task.id == Submission.task_id)
        .where(Submission.rev == 1, Task.gold_id.is_(None), Submission.created_at > at - PACE_DAYS * DAY_MS)
        .group_by(Task.queue_id)
    )
    fast = (
        select(Task.queue_id, func.count())
        .select_from(Submission)
        .join(Task, Task.id == Submission.task_id)
        .where(Submission.too_fast.is_(True))
        .group_by(Task.queue_id)
    )
    with db.read() as session:
        queues = session.scalars(select(Queue).order_by(Queue.priority.desc(), Queue.id)).all()
        counts = {row[0]: row[1:] for row in session.execute(tasks)}
        leases: dict[str, dict[str, int]] = defaultdict(dict)
        for queue_id, state, n in session.execute(states):
            leases[queue_id][state] = n
        paces = {row[0]: (row[1], row[2]) for row in session.execute(recent)}
        quick = {row[0]: row[1] for row in session.execute(fast)}
    return [
        _progress(queue, counts.get(queue.id, (0, 0, 0, 0)), leases[queue.id], paces.get(queue.id), quick.get(queue.id, 0), at)
        for queue in queues
    ]


def _progress(
    queue: Queue, counts: tuple[int, ...], leases: Mapping[str, int], pace: tuple[int, int] | None, too_fast: int, now: int
) -> QueueProgress:
    tasks, finished, pending, done = (int(value or 0) for value in counts)
    leased = leases.get("leased", 0)
    per_day = 0.0
    if pace is not None and pace[0] >= 1:
        per_day = pace[0] / max((now - pace[1]) / DAY_MS, 1 / 24)  # less than an hour of work says nothing about a day
    left = pending + leased
    return QueueProgress(
        id=queue.id,
        name=queue.name,
        kind=queue.kind,
        state=queue.state,
        tasks=tasks,
        finished=finished,
        pending=pending,
        leased=leased,
        done=done,
        surplus=leases.get("surplus", 0),
        skipped=leases.get("skipped", 0),
        expired=leases.get("expired", 0),
        too_fast=too_fast,
        per_day=per_day,
        eta=now + round(left / per_day * DAY_MS) if left and per_day and queue.state == "open" else None,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Throughput:
    """Answers by labeler and day (UTC), and the active time behind them."""

    days: tuple[str, ...]
    """ISO dates, oldest first, without gaps."""
    answers: Mapping[str, tuple[int, ...]]
    """By labeler code, one number a day."""
    hours: Mapping[str, float]
    """Active hours by labeler code."""


def throughput(db: Database, *, days: int = 14, now: int | None = None) -> Throughput:
    """First revisions only: an edit is not another answer."""
    at = now_ms() if now is None else now
    first = at // DAY_MS - days + 1
    # a literal: with parameters PostgreSQL takes the expressions selected and grouped by for different ones
    day = (Submission.created_at - Submission.created_at % literal_column(str(DAY_MS), type_=BigInteger)).label("day")
    query = (
        select(Labeler.code, day, func.count(), func.sum(Submission.active_ms))
        .join(Labeler, Labeler.id == Submission.labeler_id)
        .where(Submission.created_at >= first * DAY_MS, Submission.rev == 1)
        .group_by(Labeler.code, day)
    )
    counts: dict[str, list[int]] = {}
    active: dict[str, float] = defaultdict(float)
    with db.read() as session:
        for code, start, n, milliseconds in session.execute(query):
            index = int(start) // DAY_MS - first
            if 0 <= index < days:
                counts.setdefault(code, [0] * days)[index] = n
                active[code] += int(milliseconds or 0) / 3_600_000  # PostgreSQL sums to a Decimal
    names = tuple(datetime.fromtimestamp((first + offset) * DAY_MS / 1000, tz=UTC).strftime("%Y-%m-%d") for offset in range(days))
    return Throughput(
        days=names,
        answers={code: tuple(values) for code, values in sorted(counts.items())},
        hours={code: active[code] for code in sorted(active)},
    )


def skip_reasons(db: Database, *, queue_id: str | None = None, labeler_id: str | None = None) -> dict[str, int]:
    """How often each reason was given, most frequent first."""
    query = select(Assignment.skip_reason, func.count()).where(Assignment.state == "skipped").group_by(Assignment.skip_reason)
    if queue_id is not None:
        query = query.where(Assignment.queue_id == queue_id)
    if labeler_id is not None:
        query = query.where(Assignment.labeler_id == labeler_id)
    with db.read() as session:
        rows = [(reason or "other", n) for reason, n in session.execute(query)]
    return dict(sorted(rows, key=lambda row: (-row[1], row[0])))


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenLease:
    """A task somebody holds."""

    assignment_id: str
    queue: str
    code: str
    leased_at: int
    expires_at: int


def open_leases(db: Database, *, queue_id: str | None = None, limit: int = 200) -> list[OpenLease]:
    """Leases that are out, the one that runs out first at the top."""
    query = (
        select(Assignment.id, Queue.name, Labeler.code, Assignment.leased_at, Assignment.expires_at)
        .join(Queue, Queue.id == Assignment.queue_id)
        .join(Labeler, Labeler.id == Assignment.labeler_id)
        .where(Assignment.state == "leased")
        .order_by(Assignment.expires_at)
        .limit(limit)
    )
    if queue_id is not None:
        query = query.where(Assignment.queue_id == queue_id)
    with db.read() as session:
        return [
            OpenLease(assignment_id=row[0], queue=row[1], code=row[2], leased_at=row[3], expires_at=row[4])
            for row in session.execute(query)
        ]
