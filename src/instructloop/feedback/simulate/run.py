"""A pool at work: everybody leases and submits through the store, in simulated time, each at their own pace.

Nothing goes past the store's own doors (``next_lease``, ``submit``, ``skip``), so overlap, expiry, surplus, idempotency and gold
are exercised exactly as with people. Time is simulated: it begins in the past, so that nobody's real lease runs out early.
"""

import heapq
import logging
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import func, select

from instructloop.core.errors import ConfigError
from instructloop.core.records import Prompt
from instructloop.core.seeds import stream
from instructloop.feedback.assignment import Lease, heartbeat, next_lease, skip
from instructloop.feedback.database import Database
from instructloop.feedback.ids import now_ms
from instructloop.feedback.labelers import create_labeler
from instructloop.feedback.records import prompt_of
from instructloop.feedback.schema import CompletionRow, Labeler, PromptRow, Queue, Task, TaskItem
from instructloop.feedback.simulate.labeler import SimulatedLabeler
from instructloop.feedback.simulate.pool import Pool
from instructloop.feedback.simulate.utility import Candidate
from instructloop.feedback.submissions import submit

logger = logging.getLogger(__name__)
UI_VERSION = "simulated-1"
SKIP_REASONS = ("cannot_judge", "uncomfortable", "too_long", "broken")
_BEAT_MS = 240_000
_AWAY_MS = 60_000
"""Who finds nothing to do, while others still hold tasks, looks again after a minute."""


@dataclass(kw_only=True, slots=True)
class RunReport:
    """What a pool did."""

    answers: Counter[str] = field(default_factory=Counter)
    """Submissions by queue kind."""
    by_labeler: Counter[str] = field(default_factory=Counter)
    skipped: int = 0
    left: int = 0
    """Went away in the middle of a task."""
    late: int = 0
    """Of these, came back after the lease had run out and submitted."""
    surplus: int = 0
    """Late answers that found their slot filled."""
    simulated_hours: float = 0.0
    """From the first lease to the last answer."""
    labeler_hours: float = 0.0
    """Time on tasks, over all labelers: what people would be paid for."""
    seconds: float = 0.0
    """Real time it took."""

    @property
    def total(self) -> int:
        """All submissions."""
        return self.answers.total()

    def as_json(self) -> dict[str, Any]:
        """Plain values for result.json and the command line."""
        return {
            "answers": dict(sorted(self.answers.items())),
            "by_labeler": dict(sorted(self.by_labeler.items())),
            "skipped": self.skipped,
            "left": self.left,
            "late": self.late,
            "surplus": self.surplus,
            "labeler_hours": round(self.labeler_hours, 2),
            "simulated_hours": round(self.simulated_hours, 2),
            "seconds": round(self.seconds, 2),
        }


@dataclass(frozen=True, slots=True)
class Work:
    """A leased task with all that the labeler's utility may read (more than a person is shown: the rows' meta)."""

    kind: str
    prompt: Prompt
    candidates: tuple[Candidate, ...]


def enrol(db: Database, pool: Pool) -> list[str]:
    """The pool's labelers in the store, made where they are missing; identifiers in the pool's order.

    Raises:
        ConfigError: a code belongs to a person.
    """
    found: list[str] = []
    for index, labeler in enumerate(pool):
        with db.read() as session:
            row = session.scalar(select(Labeler).where(Labeler.code == labeler.code))
        if row is not None and row.kind != "simulated":
            raise ConfigError(f"the labeler {labeler.code} of this project is a person", hint="give the simulated ones another prefix")
        if row is not None:
            found.append(row.id)
        else:
            found.append(create_labeler(db, kind="simulated", cohort=pool.cohort(index), code=labeler.code, state="qualified"))
    return found


def run_pool(
    db: Database,
    queue_ids: Sequence[str],
    pool: Pool,
    seed: int,
    *,
    start: int | None = None,
    most: int | None = None,
    turns: Iterable[str] | None = None,
) -> RunReport:
    """Let the pool work until no queue has anything left for anybody.

    Args:
        db: the store; everything is answered through its leases and submissions.
        queue_ids: queues in the order in which everybody prefers them; kinds that a labeler cannot answer are passed over.
        pool: who works.
        seed: of judgements, pace and absences. Who gets which task follows from the pace, so it is the same for the same seed.
        start: UTC milliseconds at which the simulated time begins; by default so that it ends at about now.
        most: stop after so many submissions.
        turns: codes in the order in which they take one task each and answer at once, instead of everybody's own pace.

    Raises:
        ConfigError: an unknown queue or code.
    """
    ids = enrol(db, pool)
    kinds = _kinds(db, queue_ids)
    began = time.monotonic()
    shift = _Shift(db, pool, ids, kinds, seed, most)
    first = shift.begin(start)
    end = shift.in_turns(turns, first) if turns is not None else shift.at_own_pace(first)
    shift.report.simulated_hours = (end - first) / 3_600_000
    shift.report.seconds = time.monotonic() - began
    logger.info("%d answers by %d simulated labelers in %.1f s", shift.report.total, len(pool), shift.report.seconds)
    return shift.report


def _kinds(db: Database, queue_ids: Sequence[str]) -> dict[str, str]:
    with db.read() as session:
        known = {row.id: row.kind for row in session.execute(select(Queue.id, Queue.kind).where(Queue.id.in_(list(queue_ids))))}
    for queue_id in queue_ids:
        if queue_id not in known:
            raise ConfigError(f"there is no queue {queue_id!r}", hint="list the queues first")
    return {queue_id: known[queue_id] for queue_id in queue_ids}


class _Shift:
    """One call of :func:`run_pool`."""

    def __init__(self, db: Database, pool: Pool, ids: Sequence[str], kinds: dict[str, str], seed: int, most: int | None) -> None:
        self.db, self.pool, self.ids, self.kinds, self.seed, self.most = db, pool, ids, kinds, seed, most
        self.report = RunReport()

    def begin(self, start: int | None) -> int:
        """So long ago that all the work fits in between then and now."""
        if start is not None:
            return start
        with self.db.read() as session:
            wanted = select(func.sum(Task.wanted - Task.taken), func.max(Task.k)).where(
                Task.queue_id.in_(list(self.kinds)), Task.state == "open"
            )
            waiting, k = session.execute(wanted).one()
        slowest = max(labeler.habits.seconds_per_output for labeler in self.pool)
        return now_ms() - int(2000 * slowest * ((k or 0) + 1) * ((waiting or 0) / len(self.pool) + 20))

    @property
    def enough(self) -> bool:
        """Whether the wanted number of submissions is reached."""
        return self.most is not None and self.report.total >= self.most

    def in_turns(self, turns: Iterable[str], now: int) -> int:
        """One task each, in the given order, answered before the next one asks; ends with the turns."""
        place = {labeler.code: index for index, labeler in enumerate(self.pool)}
        for code in turns:
            if code not in place:
                raise ConfigError(f"no labeler of the pool is called {code!r}", hint=f"it has {', '.join(sorted(place))}")
            if self.enough:
                break
            index = place[code]
            lease = self.lease(index, now)
            if lease is not None:
                work, takes = self.open(index, lease)
                now += takes
                self.submit(index, lease, work, takes, now)
        return now

    def at_own_pace(self, now: int) -> int:
        """Events in simulated time: free to take a task, done with one, back from an absence."""
        events: list[tuple[int, int, int, str, Any]] = []
        count = 0

        def at(when: int, index: int, what: str, of: Any = None) -> None:
            nonlocal count
            count += 1
            heapq.heappush(events, (when, count, index, what, of))

        for index in range(len(self.pool)):
            at(now + 1000 * index, index, "free")
        busy = 0
        last = now
        while events and not self.enough:
            when, _, index, what, held = heapq.heappop(events)
            if what == "free":
                lease = self.lease(index, when)
                if lease is None:
                    if busy:  # somebody may go away or skip: then there is work again
                        at(when + _AWAY_MS, index, "free")
                    continue
                busy += 1
                last = when
                work, takes = self.open(index, lease)
                self.decide(index, lease, work, takes, when, at)
                continue
            lease, work, takes = held
            last = when
            if what == "beat":
                heartbeat(self.db, lease.assignment_id, self.ids[index], active_ms=takes, wall_ms=takes, now=when)
                continue
            busy -= 1
            if what == "finish":
                self.submit(index, lease, work, takes, when)
            elif what == "skip":
                reason = stream(self.seed, "skip", self.pool[index].code, self.key(index, work)).choice(SKIP_REASONS)
                skip(self.db, lease.assignment_id, self.ids[index], reason, "", now=when)
                self.report.skipped += 1
            elif what == "late":
                self.report.late += 1
                self.submit(index, lease, work, takes, when)
            at(when + 1000, index, "free")
        return last

    def decide(self, index: int, lease: Lease, work: Work, takes: int, when: int, at: Any) -> None:
        """Finish, skip, or go away: drawn once per labeler and task. Who gets the same task again finishes it."""
        labeler = self.pool[index]
        habits = labeler.habits
        random = stream(self.seed, "habits", labeler.code, self.key(index, work))
        fate, returns = random.random(), random.random()
        if lease.resumed:
            fate = 1.0
        if fate < habits.skip_rate:
            at(when + takes // 3, index, "skip", (lease, work, takes))
        elif fate < habits.skip_rate + habits.leave_rate:
            self.report.left += 1
            back = lease.expires_at + random.randrange(60_000, 3_600_000)
            at(back, index, "late" if returns < habits.late_share else "gone", (lease, work, takes))
        else:
            for beat in range(_BEAT_MS, takes, _BEAT_MS):  # the page of a person at work says so now and then
                at(when + beat, index, "beat", (lease, work, beat))
            at(when + takes, index, "finish", (lease, work, takes))

    def lease(self, index: int, now: int) -> Lease | None:
        """The next task of the first queue that has one for this labeler."""
        for queue_id, kind in self.kinds.items():
            if kind in self.pool[index].kinds:
                lease = next_lease(self.db, self.ids[index], queue_id, now=now)
                if lease is not None:
                    return lease
        return None

    def open(self, index: int, lease: Lease) -> tuple[Work, int]:
        """The task's texts, and how long this labeler takes over them in milliseconds."""
        work = self.work(lease)
        labeler = self.pool[index]
        habits = labeler.habits
        factor = stream(self.seed, "pace", labeler.code, self.key(index, work)).lognormvariate(0.0, habits.time_spread)
        return work, max(1000, int(1000 * habits.seconds_per_output * (1 + len(work.candidates)) * factor))

    def key(self, index: int, work: Work) -> str:
        """What names this look in all random streams, whatever identifiers the database gave."""
        return f"{work.kind}/{self.pool[index].key(work.prompt, work.candidates)}"

    def work(self, lease: Lease) -> Work:
        """Prompt and completions in slot order, with their rows' meta."""
        with self.db.read() as session:
            prompt = session.execute(
                select(PromptRow).join(Task, Task.prompt_id == PromptRow.id).where(Task.id == lease.task_id)
            ).scalar_one()
            items = (
                select(CompletionRow)
                .join(TaskItem, TaskItem.completion_id == CompletionRow.id)
                .where(TaskItem.task_id == lease.task_id)
                .order_by(TaskItem.slot)
            )
            candidates = tuple(Candidate(text=row.text or "", meta=row.meta) for row in session.scalars(items))
            meta = {**prompt.meta, **({"use_case": prompt.use_case} if prompt.use_case else {})}
            return Work(lease.kind, Prompt(prompt=prompt_of(prompt), meta=meta), candidates)

    def submit(self, index: int, lease: Lease, work: Work, takes: int, now: int) -> None:
        """Answer, with the time it took."""
        labeler: SimulatedLabeler = self.pool[index]
        felt = labeler.feel(work.prompt, work.candidates, lease.display_order, self.seed) if work.candidates else ()
        answer = labeler.answer(work.kind, work.prompt, work.candidates, lease.display_order, self.seed, felt=felt)
        receipt = submit(
            self.db,
            lease.assignment_id,
            self.ids[index],
            lease.idem_key,
            answer,
            active_ms=takes,
            wall_ms=takes,
            confidence=labeler.confidence(felt),
            ui_version=UI_VERSION,
            now=now,
        )
        self.report.answers[work.kind] += 1
        self.report.by_labeler[labeler.code] += 1
        self.report.labeler_hours += takes / 3_600_000
        self.report.surplus += receipt.surplus
