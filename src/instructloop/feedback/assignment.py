"""Who works on what: leases of tasks to labelers, one open lease per labeler and queue, never more than a task wants.

PostgreSQL hands out tasks with ``FOR UPDATE SKIP LOCKED`` and counts again under the row lock: under READ COMMITTED the query
that found the row still saw the counts from before the lock. SQLite writes one at a time (``BEGIN IMMEDIATE``). Locks are taken
in the order labeler, assignments, tasks; should two transactions wait for each other all the same, ``transact`` repeats one.
"""

import random
import secrets
import statistics
from dataclasses import dataclass

from sqlalchemy import Exists, Select, exists, func, literal_column, or_, select
from sqlalchemy.orm import Session

from instructloop.core.errors import DataError
from instructloop.core.seeds import stream
from instructloop.feedback import audit
from instructloop.feedback.database import Database
from instructloop.feedback.ids import now_ms
from instructloop.feedback.records import quarantine_prompt
from instructloop.feedback.refusals import NotEditableError, UnknownTaskError
from instructloop.feedback.schema import Assignment, Gold, Labeler, PromptRow, Queue, Task
from instructloop.feedback.schema.work import SKIP_REASONS
from instructloop.feedback.slots import give_back, lock_task, take

MEDIAN_OF = 50
"""Answers of a queue whose median time sets the length of a lease: three times that, at least the queue's ``lease_seconds``."""
LONGEST_LEASE_MINUTES = 240
"""Heartbeats do not extend a lease beyond this; a queue may set ``longest_lease_minutes``."""
_FREED_AT_ONCE = 50
_TRIES = 20
_LOCK = {"key_share": True}


@dataclass(frozen=True, kw_only=True, slots=True)
class Lease:
    """A task in a labeler's hands."""

    assignment_id: str
    task_id: str
    queue_id: str
    kind: str
    idem_key: str
    """Goes back with the submission; the same key again gives the same receipt."""
    expires_at: int
    k: int
    display_order: tuple[int, ...]
    """Slots in the order shown: letter A is ``display_order[0]``."""
    resumed: bool


def next_lease(db: Database, labeler_id: str, queue_id: str, *, now: int | None = None) -> Lease | None:
    """Give a labeler the next task of a queue, or the one they already hold.

    In this order: the open lease; a task of theirs whose lease ran out while it still wants an answer (with its draft); now
    and then a gold item; the most urgent task that wants answers; a task they gave back. Never one they answered or skipped.

    Args:
        db: the store.
        now: UTC ms.

    Returns:
        The lease, or None: nothing to do, the queue is not open, or the labeler is not qualified or not of its cohorts.

    Raises:
        UnknownTaskError: no such labeler or queue.
    """
    at = now_ms() if now is None else now
    return db.transact(lambda session: _next(session, labeler_id, queue_id, at))


def _next(session: Session, labeler_id: str, queue_id: str, now: int) -> Lease | None:
    labeler = session.get(Labeler, labeler_id, with_for_update=_LOCK)
    queue = session.get(Queue, queue_id)
    if labeler is None or queue is None:
        raise UnknownTaskError.of("queue", queue_id)
    if labeler.state != "qualified" or (queue.cohorts and labeler.cohort not in queue.cohorts):
        return None
    length = _lease_ms(session, queue)
    mine = session.scalars(_mine(labeler_id, queue_id, "leased").with_for_update(key_share=True)).one_or_none()
    if mine is not None:
        task = session.get_one(Task, mine.task_id)
        if task.state != "withdrawn":
            mine.expires_at = max(mine.expires_at, now + length)
            return lease_of(mine, task, queue, resumed=True)
        _free(session, mine, "released", now)
    if queue.state != "open":
        return None
    _expire(session, now, queue_id=queue_id, limit=_FREED_AT_ONCE)
    return (
        _again(session, labeler, queue, "expired", now, length)
        or _gold(session, labeler, queue, now, length)
        or _fresh(session, labeler, queue, now, length)
        or _again(session, labeler, queue, "released", now, length)
    )


def _mine(labeler_id: str, queue_id: str, state: str) -> Select[Assignment]:
    return select(Assignment).where(Assignment.labeler_id == labeler_id, Assignment.queue_id == queue_id, Assignment.state == state)


def lease_of(assignment: Assignment, task: Task, queue: Queue, *, resumed: bool) -> Lease:
    """The lease that an assignment's row describes."""
    return Lease(
        assignment_id=assignment.id,
        task_id=task.id,
        queue_id=queue.id,
        kind=queue.kind,
        idem_key=assignment.idem_key,
        expires_at=assignment.expires_at,
        k=task.k,
        display_order=tuple(assignment.display_order),
        resumed=resumed,
    )


def _lease_ms(session: Session, queue: Queue) -> int:
    recent = session.scalars(
        select(Assignment.wall_ms)
        .where(Assignment.queue_id == queue.id, Assignment.state == "submitted")
        .order_by(Assignment.ended_at.desc())
        .limit(MEDIAN_OF)
    ).all()
    return max(queue.lease_seconds * 1000, 3 * int(statistics.median(recent)) if recent else 0)


def _again(session: Session, labeler: Labeler, queue: Queue, state: str, now: int, length: int) -> Lease | None:
    """A task the labeler had in hand before, if it still wants an answer; the draft is still there."""
    query = (
        _mine(labeler.id, queue.id, state)
        .join(Task, Task.id == Assignment.task_id)
        .where(Task.state == "open", or_(Task.gold_id.is_not(None), Task.taken < Task.wanted))
        .order_by(Assignment.leased_at.desc(), Assignment.id)
        .limit(5)
        .with_for_update(of=Assignment, key_share=True)
    )
    for assignment in session.scalars(query).all():
        task = lock_task(session, assignment.task_id, skip_locked=True)
        if task is not None and take(session, task):
            assignment.state, assignment.ended_at = "leased", None
            assignment.leased_at = assignment.heartbeat_at = now
            assignment.expires_at = now + length
            assignment.guideline_id = queue.guideline_id
            session.flush()
            return lease_of(assignment, task, queue, resumed=True)
    return None


def _gold(session: Session, labeler: Labeler, queue: Queue, now: int, length: int) -> Lease | None:
    """A gold item the labeler has not had, at the queue's rate; nothing tells it apart from any other task."""
    if queue.gold_rate <= 0 or _chance(session, labeler, queue).random() >= queue.gold_rate:
        return None
    query = (
        select(Task)
        .join(Gold, Gold.id == Task.gold_id)
        .where(Task.queue_id == queue.id, Task.state == "open", Task.gold_id.is_not(None), Gold.active.is_(True), ~_had(labeler))
        .order_by(Task.priority.desc(), Task.id)
        .limit(1)
    )
    task = session.scalar(_comfortable(query, labeler))
    return None if task is None else _hand_out(session, task, labeler, queue, now, length)


def _fresh(session: Session, labeler: Labeler, queue: Queue, now: int, length: int) -> Lease | None:
    """The most urgent task that wants an answer. Looks beyond the labeler's last one first: before it lie those they had."""
    # literals, not parameters: only so does SQLite see that the partial index ix_task_next fits
    query = (
        select(Task)
        .where(Task.queue_id == queue.id, Task.state == literal_column("'open'"), Task.gold_id.is_(None), Task.taken < Task.wanted)
        .where(~_had(labeler))
        .order_by(Task.priority.desc(), Task.id)
        .limit(1)
    )
    query = _comfortable(query, labeler)
    if queue.kind == "adjudicate":
        query = query.where(~exists().where(Assignment.task_id == Task.adjudicates, Assignment.labeler_id == labeler.id))
    waiting = query.with_for_update(of=Task, key_share=True)
    query = query.with_for_update(of=Task, skip_locked=True, key_share=True)
    searches = [query]
    last = session.execute(
        select(Task.priority, Task.id)
        .join(Assignment, Assignment.task_id == Task.id)
        .where(Assignment.labeler_id == labeler.id, Assignment.queue_id == queue.id, Task.gold_id.is_(None))
        .order_by(Assignment.id.desc())
        .limit(1)
    ).one_or_none()
    if last is not None:
        searches = [query.where(Task.priority > last.priority), query.where(Task.priority == last.priority, Task.id > last.id), query]
    # at the end of a queue all tasks left may be locked for a moment by others at work: then wait for one
    for search in [*searches, waiting]:
        for _ in range(_TRIES):
            task = session.scalars(search, execution_options={"populate_existing": True}).one_or_none()
            if task is None:
                break
            if take(session, task):
                return _hand_out(session, task, labeler, queue, now, length)
            session.flush()  # the counter was behind the rows; take() has mended it, so the query finds another task now
    return None


def _had(labeler: Labeler) -> Exists:
    return exists().where(Assignment.task_id == Task.id, Assignment.labeler_id == labeler.id)


def _comfortable(query: Select[Task], labeler: Labeler) -> Select[Task]:
    """Leave out the categories the labeler opted out of."""
    for category in labeler.preferences.get("opt_out", ()):
        query = query.where(or_(Task.sensitive.is_(None), Task.sensitive.not_like(f"%,{category},%")))
    return query


def _hand_out(session: Session, task: Task, labeler: Labeler, queue: Queue, now: int, length: int) -> Lease:
    assignment = Assignment(
        task_id=task.id,
        queue_id=queue.id,
        labeler_id=labeler.id,
        display_order=_display_order(session, task, labeler, queue),
        guideline_id=queue.guideline_id,
        idem_key=secrets.token_urlsafe(24),
        leased_at=now,
        heartbeat_at=now,
        expires_at=now + length,
        client={},
    )
    session.add(assignment)
    session.flush()
    return lease_of(assignment, task, queue, resumed=False)


def _chance(session: Session, labeler: Labeler, queue: Queue) -> random.Random:
    """Chance that nobody can foresee; a rehearsal whose queue states a ``seed`` gets the same one every time."""
    if "seed" not in queue.settings:
        return random.SystemRandom()
    count = select(func.count()).select_from(Assignment).where(Assignment.labeler_id == labeler.id, Assignment.queue_id == queue.id)
    return stream(int(queue.settings["seed"]), "lease", queue.name, labeler.code, session.scalars(count).one())


def _display_order(session: Session, task: Task, labeler: Labeler, queue: Queue) -> list[int]:
    """A shuffled order; two outputs are swapped every other time, so that both sides come up equally often for every labeler."""
    if "seed" in queue.settings:
        sha = session.scalars(select(PromptRow.sha256).where(PromptRow.id == task.prompt_id)).one()
        chance: random.Random = stream(int(queue.settings["seed"]), "display", sha, labeler.code)
    else:
        chance = random.SystemRandom()
    order = list(range(task.k))
    if task.k == 2:
        before = session.execute(
            select(func.count(), func.max(Assignment.id)).where(Assignment.labeler_id == labeler.id, Assignment.queue_id == queue.id)
        ).one()
        if before[0] % 2 == 1:
            last = session.get_one(Assignment, before[1])
            if len(last.display_order) == 2:
                return [last.display_order[1], last.display_order[0]]
    chance.shuffle(order)
    return order


def owned(session: Session, assignment_id: str, labeler_id: str, *, lock: bool = True) -> Assignment:
    """The labeler's own assignment, or UnknownTaskError."""
    assignment = session.get(Assignment, assignment_id, with_for_update=_LOCK if lock else None)
    if assignment is None or assignment.labeler_id != labeler_id:
        raise UnknownTaskError.of("task", assignment_id)
    return assignment


def heartbeat(db: Database, assignment_id: str, labeler_id: str, *, active_ms: int = 0, wall_ms: int = 0, now: int | None = None) -> int:
    """The labeler is still at it: extend the lease, and take it up again if it ran out while the task still wants an answer.

    Args:
        db: the store.
        active_ms: time on the task so far with the page visible and input within 30 s (a total, not a difference).
        wall_ms: time since it was opened (a total).

    Returns:
        When the lease ends, UTC ms. In the past = it is over and the task may be full; submitting is possible all the same.

    Raises:
        UnknownTaskError: not the labeler's.
    """
    at = now_ms() if now is None else now

    def beat(session: Session) -> int:
        assignment = owned(session, assignment_id, labeler_id)
        assignment.active_ms = max(assignment.active_ms, active_ms)
        assignment.wall_ms = max(assignment.wall_ms, wall_ms)
        queue = session.get_one(Queue, assignment.queue_id)
        if assignment.state == "expired" and not session.scalar(_mine(labeler_id, queue.id, "leased").limit(1)):
            task = lock_task(session, assignment.task_id)
            if task is not None and task.state == "open" and take(session, task):
                assignment.state, assignment.ended_at = "leased", None
        if assignment.state == "leased":
            longest = int(queue.settings.get("longest_lease_minutes", LONGEST_LEASE_MINUTES)) * 60_000
            wanted = min(at + _lease_ms(session, queue), assignment.leased_at + longest)
            assignment.heartbeat_at, assignment.expires_at = at, max(assignment.expires_at, wanted)
        return assignment.expires_at

    return db.transact(beat)


def release(db: Database, assignment_id: str, by: str, *, labeler_id: str | None = None, now: int | None = None) -> None:
    """Give a leased task back: by its labeler (``labeler_id`` given) or by an admin, whose doing is written into the audit log.

    Raises:
        UnknownTaskError: no such assignment, or not the labeler's.
    """
    at = now_ms() if now is None else now

    def work(session: Session) -> None:
        assignment = session.get(Assignment, assignment_id, with_for_update=_LOCK)
        if assignment is None or labeler_id not in {None, assignment.labeler_id}:
            raise UnknownTaskError.of("task", assignment_id)
        if assignment.state == "leased":
            _free(session, assignment, "released", at)
            if labeler_id is None:
                audit.append(session, actor=by, action="lease.release", object=f"assignment/{assignment_id}", now=at)

    db.transact(work)


def skip(db: Database, assignment_id: str, labeler_id: str, reason: str, note: str = "", *, now: int | None = None) -> None:
    """Put a task aside for good, with a reason (spec B15); never held against the labeler. Skipping twice is skipping once.

    Reason ``pii`` quarantines the prompt at once.

    Raises:
        UnknownTaskError: not the labeler's.
        DataError: unknown reason.
        NotEditableError: it was submitted already.
    """
    if reason not in SKIP_REASONS:
        raise DataError(f"reason: {reason!r} is not known", hint=f"choose one of {', '.join(SKIP_REASONS)}")
    at = now_ms() if now is None else now

    def work(session: Session) -> None:
        assignment = owned(session, assignment_id, labeler_id)
        if assignment.state in {"submitted", "surplus"}:
            raise NotEditableError("this task was answered already", hint="edit the answer instead")
        if assignment.state == "skipped":
            return
        if assignment.state == "leased":
            _free(session, assignment, "skipped", at)
        else:
            _end(assignment, "skipped", at)
        assignment.skip_reason, assignment.skip_note = reason, note[:4000] or None
        if reason == "pii":
            set_aside(session, assignment, at)

    db.transact(work)


def set_aside(session: Session, assignment: Assignment, now: int) -> None:
    """A labeler says that the prompt holds personal information: quarantine it within this very transaction."""
    task = session.get_one(Task, assignment.task_id)
    quarantine_prompt(session, task.prompt_id, {"labeler_flag": assignment.id, "at": now})
    audit.append(session, actor=f"labeler/{assignment.labeler_id}", action="prompt.quarantine", object=f"prompt/{task.prompt_id}", now=now)


def _end(assignment: Assignment, state: str, now: int) -> None:
    assignment.state, assignment.ended_at = state, now


def _free(session: Session, assignment: Assignment, state: str, now: int) -> None:
    """End a lease and give its slot back."""
    task = lock_task(session, assignment.task_id)
    _end(assignment, state, now)
    if task is not None:
        give_back(task)
    session.flush()


def expire(db: Database, now: int | None = None) -> int:
    """Free every lease that ran out; returns how many. ``next_lease`` does so for its own queue on the way."""
    at = now_ms() if now is None else now
    total = 0
    while freed := db.transact(lambda session: _expire(session, at, queue_id=None, limit=_FREED_AT_ONCE)):
        total += freed
    return total


def _expire(session: Session, now: int, *, queue_id: str | None, limit: int) -> int:
    query = (
        select(Assignment)
        .where(Assignment.state == "leased", Assignment.expires_at <= now)
        .order_by(Assignment.expires_at)
        .limit(limit)
        .with_for_update(skip_locked=True, key_share=True)
    )
    if queue_id is not None:
        query = query.where(Assignment.queue_id == queue_id)
    ended = sorted(session.scalars(query).all(), key=lambda assignment: assignment.task_id)
    for assignment in ended:
        _free(session, assignment, "expired", now)
    return len(ended)
