"""Labelers: who they are to the store (a code, a cohort, a state) and what they may work on.

Cohorts (spec B3): *training* labelers are screened and write what models learn from; *held-out* labelers are not screened and
serve evaluation only; *researchers* use the same pages; *simulated* ones rehearse. Codes are pseudonyms: L001, L002, ...
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from instructloop.core.errors import DataError
from instructloop.feedback.database import Database
from instructloop.feedback.ids import now_ms
from instructloop.feedback.schema import Assignment, Labeler, Queue, Submission, Task
from instructloop.feedback.schema.people import COHORTS, LABELER_KINDS, LABELER_STATES

_PREFIX = {"human": "L", "simulated": "S", "judge": "J"}
_CODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class UnknownLabelerError(DataError):
    """There is no labeler with that identifier, code or account."""


def add_labeler(
    session: Session, *, user_id: str | None = None, kind: str = "human", cohort: str = "training", code: str | None = None, state: str = ""
) -> Labeler:
    """Put a labeler into an open transaction; see :func:`create_labeler`."""
    for name, value, known in (("kind", kind, LABELER_KINDS), ("cohort", cohort, COHORTS), ("state", state or "applicant", LABELER_STATES)):
        if value not in known:
            raise DataError(f"labeler: {name} cannot be {value!r}", hint=f"one of {', '.join(known)}")
    if code is not None and not _CODE.fullmatch(code):
        raise DataError(f"labeler: code {code!r} has other characters than letters, digits, '.', '_' and '-'", hint="try L001")
    labeler = Labeler(
        user_id=user_id, kind=kind, cohort=cohort, code=code or _next_code(session, kind), state=state or first_state(kind, cohort)
    )
    session.add(labeler)
    session.flush()
    return labeler


def create_labeler(
    db: Database, *, user_id: str | None = None, kind: str = "human", cohort: str = "training", code: str | None = None, state: str = ""
) -> str:
    """Make a labeler.

    Args:
        db: the open store.
        user_id: their account; None for simulated labelers and judges.
        kind: human, simulated or judge.
        cohort: training, heldout, researcher or simulated.
        code: the pseudonym of exports; the next free one by default.
        state: where they begin; by default an applicant where the cohort is screened, qualified where it is not (spec B3).

    Returns:
        The labeler's identifier.

    Raises:
        DataError: an unknown kind, cohort or state, or a code or account that is taken.
    """
    for attempt in range(5):
        try:
            with db.write() as session:
                return add_labeler(session, user_id=user_id, kind=kind, cohort=cohort, code=code, state=state).id
        except IntegrityError as error:  # on PostgreSQL two processes may reach for the same next code
            if code is not None or "code" not in str(error.orig) or attempt == 4:
                raise DataError(
                    f"labeler: code {code!r} or the account is taken", hint="leave the code out for the next free one"
                ) from error
    raise AssertionError("unreachable")


def first_state(kind: str, cohort: str) -> str:
    """Where a new labeler begins: only people of the training cohort are screened (spec B2, B3)."""
    return "applicant" if kind == "human" and cohort == "training" else "qualified"


def _next_code(session: Session, kind: str) -> str:
    prefix = _PREFIX[kind]
    taken = session.scalars(select(Labeler.code).where(Labeler.code.like(f"{prefix}%")))
    numbers = [int(code[1:]) for code in taken if code[1:].isdigit()]
    return f"{prefix}{max(numbers, default=0) + 1:03d}"


def get_labeler(db: Database, labeler_id: str) -> Labeler:
    """A labeler by identifier.

    Raises:
        UnknownLabelerError: there is none.
    """
    with db.read() as session:
        return require_labeler(session, labeler_id)


def require_labeler(session: Session, labeler_id: str) -> Labeler:
    """A labeler within an open transaction, or UnknownLabelerError."""
    labeler = session.get(Labeler, labeler_id)
    if labeler is None:
        raise UnknownLabelerError(f"no labeler {labeler_id}", hint="reload the list of labelers")
    return labeler


def labeler_by_code(db: Database, code: str) -> Labeler:
    """A labeler by pseudonym, or UnknownLabelerError."""
    with db.read() as session:
        labeler = session.scalar(select(Labeler).where(Labeler.code == code))
    if labeler is None:
        raise UnknownLabelerError(f"no labeler with the code {code!r}", hint="see the list of labelers")
    return labeler


def labeler_of_user(db: Database, user_id: str) -> Labeler | None:
    """The labeler that belongs to an account, if any."""
    with db.read() as session:
        return session.scalar(select(Labeler).where(Labeler.user_id == user_id))


def all_labelers(db: Database, *, cohort: str | None = None, states: Sequence[str] = (), kinds: Sequence[str] = ()) -> list[Labeler]:
    """Labelers by code, optionally of one cohort, some states, some kinds."""
    query = select(Labeler).order_by(Labeler.code)
    if cohort:
        query = query.where(Labeler.cohort == cohort)
    if states:
        query = query.where(Labeler.state.in_(states))
    if kinds:
        query = query.where(Labeler.kind.in_(kinds))
    with db.read() as session:
        return list(session.scalars(query))


def set_state(db: Database, labeler_id: str, state: str) -> str:
    """Move a labeler to applicant, qualified, paused or retired; returns the state before.

    Raises:
        DataError: an unknown state or labeler.
    """
    if state not in LABELER_STATES:
        raise DataError(f"labeler: state cannot be {state!r}", hint=f"one of {', '.join(LABELER_STATES)}")
    with db.write() as session:
        labeler = require_labeler(session, labeler_id)
        before = labeler.state
        labeler.state = state
        return before


def set_cohort(db: Database, labeler_id: str, cohort: str) -> str:
    """Move a labeler to another cohort; returns the cohort before. Who moves from held-out to training becomes an applicant.

    An answer belongs to the cohort its labeler has, so nobody with answers moves into or out of the held-out cohort: work done
    for training would count as held-out evaluation, or held-out answers would become training data (spec B3).

    Raises:
        DataError: an unknown cohort or labeler, or such a move.
    """
    if cohort not in COHORTS:
        raise DataError(f"labeler: cohort cannot be {cohort!r}", hint=f"one of {', '.join(COHORTS)}")
    with db.write() as session:
        labeler = require_labeler(session, labeler_id)
        before = labeler.cohort
        if before == cohort:
            return before
        if "heldout" in {before, cohort} and session.scalar(select(Submission.id).where(Submission.labeler_id == labeler_id).limit(1)):
            raise DataError(
                f"labeler {labeler.code} has answered tasks as {before} and cannot become {cohort}",
                hint="invite somebody new: held-out labelers and training data stay apart",
            )
        labeler.cohort = cohort
        if before == "heldout" and cohort == "training" and labeler.kind == "human":
            labeler.state = "applicant"
        return before


@dataclass(frozen=True, kw_only=True, slots=True)
class QueueForLabeler:
    """A queue as its labeler sees it."""

    id: str
    name: str
    kind: str
    waiting: int
    """Tasks that still want answers and that the labeler has not had."""
    leased: bool
    """Whether a task of it is open in the labeler's hands."""


def eligible_queues(db: Database, labeler_id: str, *, now: int | None = None) -> list[QueueForLabeler]:
    """The open queues that a labeler may work in, most urgent first; none unless the labeler is qualified.

    ``waiting`` is an upper bound: opted-out categories and leases that run out while one looks are not counted in.
    """
    del now
    with db.read() as session:
        labeler = require_labeler(session, labeler_id)
        if labeler.state != "qualified":
            return []
        queues = session.scalars(select(Queue).where(Queue.state == "open").order_by(Queue.priority.desc(), Queue.name)).all()
        mine = [queue for queue in queues if not queue.cohorts or labeler.cohort in queue.cohorts]
        return [_for_labeler(session, queue, labeler_id) for queue in mine]


def _for_labeler(session: Session, queue: Queue, labeler_id: str) -> QueueForLabeler:
    wanting = select(func.count()).select_from(Task).where(Task.queue_id == queue.id, Task.state == "open", Task.gold_id.is_(None))
    had = (
        select(func.count())
        .select_from(Assignment)
        .join(Task, Task.id == Assignment.task_id)
        .where(Assignment.labeler_id == labeler_id, Assignment.queue_id == queue.id, Task.gold_id.is_(None))
        .where(Task.state == "open", Task.taken < Task.wanted)
    )
    leased = select(Assignment.id).where(Assignment.labeler_id == labeler_id, Assignment.queue_id == queue.id, Assignment.state == "leased")
    waiting = (session.scalar(wanting.where(Task.taken < Task.wanted)) or 0) - (session.scalar(had) or 0)
    return QueueForLabeler(
        id=queue.id, name=queue.name, kind=queue.kind, waiting=max(waiting, 0), leased=session.scalar(leased.limit(1)) is not None
    )


def today_start(now: int | None = None) -> int:
    """Midnight UTC of today in milliseconds."""
    now = now_ms() if now is None else now
    return now - now % 86_400_000
