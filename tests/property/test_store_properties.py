"""The store against a model in plain Python: random sequences of leases, drafts, answers, skips, releases, expiry and edits.

The model knows nothing of SQL: dictionaries and a clock. After every step the store must agree with it.
"""

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from sqlalchemy import select

from instructloop.feedback.assignment import expire, heartbeat, next_lease, release, skip
from instructloop.feedback.drafts import load_draft, save_draft
from instructloop.feedback.reconcile import reconcile
from instructloop.feedback.refusals import NotEditableError, StaleDraftError
from instructloop.feedback.schema import Assignment, Submission, Task
from instructloop.feedback.submissions import answer_of, revise, submit
from instructloop.feedback.views import task_view
from instructloop.testing.databases import fresh_database
from instructloop.testing.feedback import add_labeler, ranking, seed_queue

T0 = 1_800_000_000_000
MINUTE = 60_000
LEASE, EDIT = 10 * MINUTE, 30 * MINUTE
LABELERS, TASKS, WANTED, K = 3, 3, 2, 3
who = st.integers(0, LABELERS - 1)
tiers = st.tuples(*[st.integers(1, K)] * K)


@dataclass
class Held:
    """What the model knows of one assignment."""

    task: str
    labeler: int
    state: str = "leased"
    leased_at: int = 0
    expires_at: int = 0
    draft: Any = field(default_factory=dict)
    draft_rev: int = 0
    answers: list[tuple[int, ...]] = field(default_factory=list)
    first_at: int = 0
    receipt: str = ""
    key: str = ""


class StoreMachine(RuleBasedStateMachine):
    """Rules are what labelers, admins and time do."""

    engine = "sqlite"

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.opened = fresh_database(self.engine, Path(self.folder.name))
        self.db = self.opened.__enter__()
        seeded = seed_queue(self.db, kind="rank", k=K, prompts=TASKS, overlap=WANTED)
        self.queue, self.tasks = seeded.queue_id, list(seeded.task_ids)
        self.labelers = [add_labeler(self.db, f"L{n}") for n in range(LABELERS)]
        self.held: dict[str, Held] = {}
        self.now = T0

    def teardown(self) -> None:
        """Close and delete the store."""
        self.opened.__exit__(None, None, None)
        self.folder.cleanup()

    # the model's own arithmetic

    def _taken(self, task: str) -> int:
        return sum(held.task == task and held.state in {"leased", "submitted"} for held in self.held.values())

    def _lapse(self) -> None:
        for held in self.held.values():
            if held.state == "leased" and held.expires_at <= self.now:
                held.state = "expired"

    def _mine(self, labeler: int, *states: str) -> list[str]:
        return [identifier for identifier, held in self.held.items() if held.labeler == labeler and held.state in states]

    @staticmethod
    def _pick(data: st.DataObject, identifiers: list[str]) -> str:
        """By place, not by name: identifiers differ from run to run, and a failure must be found again."""
        return identifiers[data.draw(st.integers(0, len(identifiers) - 1))]

    # rules

    @rule(minutes=st.sampled_from([1, 6, 11, 31]))
    def time_passes(self, minutes: int) -> None:
        """The clock moves; nothing happens by itself."""
        self.now += minutes * MINUTE

    @rule(labeler=who)
    def lease(self, labeler: int) -> None:
        """The same task again, a task of one's own that expired, a fresh one in order, or one given back."""
        got = next_lease(self.db, self.labelers[labeler], self.queue, now=self.now)
        open_one = self._mine(labeler, "leased")
        if open_one:
            assert got is not None
            assert got.assignment_id == open_one[0]
            assert got.resumed
            held = self.held[open_one[0]]
            held.expires_at = max(held.expires_at, self.now + LEASE)
            assert got.expires_at == held.expires_at
            return
        self._lapse()
        free = [task for task in self.tasks if self._taken(task) < WANTED]
        had = {held.task for held in self.held.values() if held.labeler == labeler}
        expired = [i for i in self._mine(labeler, "expired") if self.held[i].task in free]
        fresh = [task for task in free if task not in had]
        released = [i for i in self._mine(labeler, "released") if self.held[i].task in free]
        if expired:
            assert got is not None
            assert got.assignment_id in expired
        elif fresh:
            assert got is not None
            assert got.task_id in fresh
            assert got.assignment_id not in self.held
            self.held[got.assignment_id] = Held(got.task_id, labeler, key=got.idem_key)
        elif released:
            assert got is not None
            assert got.assignment_id in released
        else:
            assert got is None
            return
        held = self.held[got.assignment_id]
        held.state, held.leased_at, held.expires_at = "leased", self.now, self.now + LEASE
        assert (got.expires_at, got.idem_key) == (held.expires_at, held.key)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def beat(self, data: st.DataObject) -> None:
        """A heartbeat extends a lease, or takes it up again while there is room."""
        identifier = self._pick(data, sorted(self.held))
        held = self.held[identifier]
        ends = heartbeat(self.db, identifier, self.labelers[held.labeler], now=self.now)
        if held.state == "expired" and not self._mine(held.labeler, "leased") and self._taken(held.task) < WANTED:
            held.state = "leased"
        if held.state == "leased":
            held.expires_at = max(held.expires_at, min(self.now + LEASE, held.leased_at + 240 * MINUTE))
        assert ends == held.expires_at

    @precondition(lambda self: self.held)
    @rule(data=st.data(), number=st.integers(0, 99), behind=st.booleans())
    def draft(self, data: st.DataObject, number: int, *, behind: bool) -> None:
        """A draft is kept if it builds on the newest one, else refused with the newest number."""
        identifier = self._pick(data, sorted(self.held))
        held = self.held[identifier]
        base = held.draft_rev - 1 if behind and held.draft_rev > 0 else held.draft_rev
        labeler = self.labelers[held.labeler]
        if base == held.draft_rev:
            assert save_draft(self.db, identifier, labeler, {"n": number}, base, now=self.now).rev == base + 1
            held.draft, held.draft_rev = {"n": number}, base + 1
        elif held.draft == {"n": number}:
            assert save_draft(self.db, identifier, labeler, {"n": number}, base, now=self.now).rev == held.draft_rev
        else:
            with pytest.raises(StaleDraftError) as caught:
                save_draft(self.db, identifier, labeler, {"n": number}, base, now=self.now)
            assert caught.value.current_rev == held.draft_rev

    @precondition(lambda self: self.held)
    @rule(data=st.data(), given=tiers)
    def answer(self, data: st.DataObject, given: tuple[int, ...]) -> None:
        """An answer counts while there is room, else it is surplus; repeated, it is the same receipt."""
        identifier = self._pick(data, sorted(self.held))
        held = self.held[identifier]
        receipt = submit(
            self.db, identifier, self.labelers[held.labeler], held.key, ranking(*given), active_ms=5000, wall_ms=9000, now=self.now
        )
        if held.receipt:
            assert (receipt.submission_id, receipt.repeated, receipt.rev) == (held.receipt, True, 1)
            return
        counts = held.state == "leased" or self._taken(held.task) < WANTED
        assert (receipt.surplus, receipt.repeated) == (not counts, False)
        held.state = "submitted" if counts else "surplus"
        held.receipt, held.first_at, held.answers = receipt.submission_id, self.now, [given]
        held.draft, held.draft_rev = {}, held.draft_rev + 1

    @precondition(lambda self: any(held.receipt for held in self.held.values()))
    @rule(data=st.data(), given=tiers)
    def edit(self, data: st.DataObject, given: tuple[int, ...]) -> None:
        """An edit is a further revision, until the time for it is over."""
        identifier = self._pick(data, sorted(i for i, held in self.held.items() if held.receipt))
        held, labeler = self.held[identifier], self.labelers[self.held[identifier].labeler]
        view = task_view(self.db, identifier, labeler)
        assert view.editing
        assert view.submission_id is not None

        def attempt() -> int:
            return revise(self.db, str(view.submission_id), labeler, view.lease.idem_key, ranking(*given), now=self.now).rev

        if self.now > held.first_at + EDIT:
            with pytest.raises(NotEditableError):
                attempt()
            return
        held.answers.append(given)
        held.draft, held.draft_rev = {}, held.draft_rev + 1
        assert attempt() == len(held.answers)
        assert attempt() == len(held.answers)  # clicked twice

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def skip_one(self, data: st.DataObject) -> None:
        """A skip is for good, unless it was answered."""
        identifier = self._pick(data, sorted(self.held))
        held = self.held[identifier]
        labeler = self.labelers[held.labeler]
        if held.receipt:
            with pytest.raises(NotEditableError):
                skip(self.db, identifier, labeler, "other", now=self.now)
        else:
            skip(self.db, identifier, labeler, "other", now=self.now)
            held.state = "skipped"

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        """An admin releases a lease."""
        identifier = self._pick(data, sorted(self.held))
        release(self.db, identifier, "admin", now=self.now)
        if self.held[identifier].state == "leased":
            self.held[identifier].state = "released"

    @rule()
    def sweep(self) -> None:
        """The expiry job frees exactly the leases that ran out."""
        due = sum(held.state == "leased" and held.expires_at <= self.now for held in self.held.values())
        assert expire(self.db, self.now) == due
        self._lapse()

    # what must hold at every moment

    @invariant()
    def the_store_agrees_with_the_model(self) -> None:
        """Leases that ran out but that nobody swept yet are still leased in both."""
        with self.db.read() as session:
            rows = {row.id: row for row in session.scalars(select(Assignment))}
            assert {identifier: row.state for identifier, row in rows.items()} == {i: held.state for i, held in self.held.items()}
            for task in session.scalars(select(Task)):
                assert task.taken == self._taken(task.id) <= WANTED
                assert task.done == sum(held.task == task.id and held.state == "submitted" for held in self.held.values())
                assert (task.state == "done") == (task.done == WANTED)
            for identifier, held in self.held.items():
                found = session.scalars(select(Submission).where(Submission.assignment_id == identifier).order_by(Submission.rev)).all()
                assert [answer_of(session, row.id) for row in found] == [ranking(*given) for given in held.answers]
                assert [row.supersedes for row in found] == [None, *(row.id for row in found)][: len(found)]
        for identifier, held in self.held.items():
            assert load_draft(self.db, identifier, self.labelers[held.labeler]) == (held.draft, held.draft_rev)
        assert reconcile(self.db) == []


@pytest.mark.parametrize(
    ("engine", "examples"),
    [
        ("sqlite", 12),
        ("postgresql", 4),
        pytest.param("sqlite", 200, marks=pytest.mark.slow),
        pytest.param("postgresql", 60, marks=pytest.mark.slow),
    ],
)
def test_the_store_behaves_like_its_model(engine: str, examples: int) -> None:
    machine = type("Machine", (StoreMachine,), {"engine": engine})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=25,
            phases=[Phase.generate],
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
