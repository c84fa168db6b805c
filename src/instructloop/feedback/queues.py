"""Queues: streams of tasks of one kind, with the overlap they want; and filling them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import func, insert, select
from sqlalchemy.orm import Session

from instructloop.core.errors import ConfigError, DataError
from instructloop.core.seeds import stream
from instructloop.feedback.database import Database
from instructloop.feedback.ids import new_id, now_ms
from instructloop.feedback.records import USABLE_PII
from instructloop.feedback.schema import CompletionRow, Guideline, PromptRow, Queue, Task, TaskItem
from instructloop.feedback.schema.people import COHORTS
from instructloop.feedback.schema.work import QUEUE_KINDS, QUEUE_STATES

COMPLETIONS = {
    "demonstration": (0, 0),
    "instruction": (0, 0),
    "edit": (1, 1),
    "pairwise": (2, 2),
    "rank": (2, 9),
    "rate_and_rank": (1, 9),
    "rate": (1, 9),
    "toxicity": (1, 9),
    "critique": (1, 9),
    "adjudicate": (0, 9),
}
"""Fewest and most completions of a task of each kind (K = 4..9 in the paper, spec B17)."""
CATEGORIES = ("sexual", "violent", "abuse", "denigration")
"""What a labeler may opt out of: ``labeler.preferences["opt_out"]`` lists some of these."""
_BATCH = 500


@dataclass(frozen=True, kw_only=True, slots=True)
class NewTask:
    """A task to be put into a queue.

    ``wanted`` = None takes the queue's overlap. ``sensitive`` names categories; what the prompt's own flags say is added.
    """

    prompt_id: str
    completion_ids: tuple[str, ...] = ()
    gold_id: str | None = None
    priority: int = 0
    wanted: int | None = None
    adjudicates: str | None = None
    sensitive: tuple[str, ...] = ()
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class QueueRow:
    """A queue with its guideline's name and how far it is."""

    id: str
    name: str
    kind: str
    state: str
    guideline: str
    guideline_version: int
    mode: str
    cohorts: tuple[str, ...]
    settings: Mapping[str, Any]
    tasks: int
    open: int
    done: int


def create_queue(
    db: Database,
    *,
    name: str,
    kind: str,
    guideline: str = "default",
    overlap: int = 1,
    extra_overlap_fraction: float = 0.1,
    extra_overlap: int = 1,
    stop_when_agreed: bool = False,
    max_overlap: int = 4,
    cohorts: Sequence[str] = (),
    gold_rate: float = 0.05,
    priority: int = 0,
    lease_seconds: int = 600,
    edit_minutes: int = 30,
    settings: Mapping[str, Any] | None = None,
    evaluation_id: str | None = None,
) -> str:
    """Open a queue under the newest version of a guideline; returns its identifier.

    Args:
        db: the store.
        guideline: a name, or ``name@3`` for one version.
        overlap: answers wanted for a task; a random ``extra_overlap_fraction`` wants ``extra_overlap`` more (spec B21).
        stop_when_agreed: begin with two answers and ask for a third, then a fourth, only while no two agree.
        cohorts: who may work here; empty = all.
        gold_rate: share of silent gold items.
        settings: ``seed`` makes overlap, shown order and gold reproducible (rehearsals only: a labeler could foresee them);
            ``ask_prompt_flags``, ``ask_confidence``, ``agree_tau`` (stop rule), ``longest_lease_minutes`` and what pages read.

    Raises:
        ConfigError: a value out of range, an unknown name, or a queue of that name.
    """
    _known("kind", kind, QUEUE_KINDS)
    for cohort in cohorts:
        _known("cohorts", cohort, COHORTS)
    _range("overlap", overlap, 1, 100)
    _range("extra_overlap", extra_overlap, 0, 100)
    _range("extra_overlap_fraction", extra_overlap_fraction, 0, 1)
    _range("gold_rate", gold_rate, 0, 1)
    if stop_when_agreed:
        _range("max_overlap", max_overlap, max(overlap, 2), 100)
    _range("lease_seconds", lease_seconds, 10, 86_400)
    _range("edit_minutes", edit_minutes, 0, 525_600)
    with db.write() as session:
        if session.scalar(select(Queue.id).where(Queue.name == name)) is not None:
            raise ConfigError(f"there is a queue named {name!r} already", hint="choose another name")
        queue = Queue(
            name=name,
            kind=kind,
            guideline_id=guideline_named(session, guideline).id,
            overlap=max(overlap, 2) if stop_when_agreed else overlap,
            extra_overlap_fraction=0.0 if stop_when_agreed else extra_overlap_fraction,
            extra_overlap=extra_overlap,
            stop_when_agreed=stop_when_agreed,
            max_overlap=max(max_overlap, overlap),
            gold_rate=gold_rate,
            priority=priority,
            lease_seconds=lease_seconds,
            edit_minutes=edit_minutes,
            cohorts=list(cohorts),
            settings=dict(settings or {}),
            evaluation_id=evaluation_id,
        )
        session.add(queue)
        session.flush()
        return queue.id


def _known(name: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise ConfigError(f"{name}: {value!r} is not known", hint=f"use one of {', '.join(allowed)}")


def _range(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ConfigError(f"{name}: {value} is not within {low}..{high}", hint="change the value")


def guideline_named(session: Session, name: str) -> Guideline:
    """The newest version of a guideline, or the one of ``name@version``.

    Raises:
        ConfigError: there is none.
    """
    base, _, version = name.partition("@")
    query = select(Guideline).where(Guideline.name == base).order_by(Guideline.version.desc()).limit(1)
    if version:
        query = query.where(Guideline.version == (int(version) if version.isdigit() else -1))
    found = session.scalar(query)
    if found is None:
        raise ConfigError(f"there is no guideline {name!r}", hint="publish it first; a project comes with 'default' and 'evaluation'")
    return found


def add_tasks(db: Database, queue_id: str, tasks: Sequence[NewTask]) -> list[str]:
    """Put tasks into a queue, all or none; returns their identifiers in order.

    Raises:
        DataError: an unknown queue, prompt or completion, a wrong number of completions, or a prompt set aside for personal
            information.
    """
    now = now_ms()
    with db.write() as session:
        queue = session.get(Queue, queue_id)
        if queue is None:
            raise DataError(f"there is no queue {queue_id!r}", hint="create it first")
        prompts = _prompts(session, tasks)
        owners = _owners(session, tasks)
        before = session.scalars(select(func.count()).select_from(Task).where(Task.queue_id == queue_id)).one()
        rows, items = [], []
        for number, task in enumerate(tasks):
            _check(queue, number, task, prompts, owners)
            identifier = new_id()
            rows.append(
                {
                    "id": identifier,
                    "queue_id": queue_id,
                    "prompt_id": task.prompt_id,
                    "k": len(task.completion_ids),
                    "gold_id": task.gold_id,
                    "wanted": task.wanted if task.wanted is not None else _wanted(queue, before + number),
                    "taken": 0,
                    "done": 0,
                    "priority": task.priority,
                    "state": "open",
                    "adjudicates": task.adjudicates,
                    "sensitive": _sensitive(task, prompts[task.prompt_id]),
                    "meta": dict(task.meta),
                    "created_at": now,
                }
            )
            items += [{"task_id": identifier, "slot": slot, "completion_id": c} for slot, c in enumerate(task.completion_ids)]
        if rows:
            session.execute(insert(Task), rows)
        if items:
            session.execute(insert(TaskItem), items)
        return [str(row["id"]) for row in rows]


def _prompts(session: Session, tasks: Sequence[NewTask]) -> dict[str, PromptRow]:
    wanted = list({task.prompt_id for task in tasks})
    found: dict[str, PromptRow] = {}
    for start in range(0, len(wanted), _BATCH):
        found.update({row.id: row for row in session.scalars(select(PromptRow).where(PromptRow.id.in_(wanted[start : start + _BATCH])))})
    return found


def _owners(session: Session, tasks: Sequence[NewTask]) -> dict[str, str]:
    """The prompt of every completion asked for."""
    wanted = list({c for task in tasks for c in task.completion_ids})
    found: dict[str, str] = {}
    for start in range(0, len(wanted), _BATCH):
        query = select(CompletionRow.id, CompletionRow.prompt_id).where(
            CompletionRow.id.in_(wanted[start : start + _BATCH]), CompletionRow.text.is_not(None)
        )
        found.update({row.id: row.prompt_id for row in session.execute(query)})
    return found


def _check(queue: Queue, number: int, task: NewTask, prompts: Mapping[str, PromptRow], owners: Mapping[str, str]) -> None:
    where = f"task {number} of queue {queue.name!r}"
    prompt = prompts.get(task.prompt_id)
    if prompt is None or prompt.text is None:
        raise DataError(f"{where}: there is no prompt {task.prompt_id!r}", hint="add the prompt first")
    if prompt.pii_status not in USABLE_PII:
        raise DataError(f"{where}: its prompt is {prompt.pii_status} for personal information", hint="clear the prompt or leave it out")
    low, high = COMPLETIONS[queue.kind]
    if not low <= len(task.completion_ids) <= high:
        raise DataError(f"{where}: has {len(task.completion_ids)} completions, {queue.kind} takes {low}..{high}", hint="change the number")
    if len(set(task.completion_ids)) != len(task.completion_ids):
        raise DataError(f"{where}: names a completion twice", hint="every output once")
    for completion in task.completion_ids:
        if owners.get(completion) != task.prompt_id:
            raise DataError(f"{where}: completion {completion!r} does not answer its prompt", hint="add the completion first")
    if task.wanted is not None and task.wanted < 1:
        raise DataError(f"{where}: wants {task.wanted} answers", hint="at least one")


def _wanted(queue: Queue, place: int) -> int:
    """The queue's overlap, with the extra answers that measure agreement for a random share of tasks."""
    chance = stream(int(queue.settings.get("seed", 0)), "overlap", queue.name, place).random()
    return queue.overlap + (queue.extra_overlap if chance < queue.extra_overlap_fraction else 0)


def _sensitive(task: NewTask, prompt: PromptRow) -> str | None:
    flags = prompt.meta.get("flags") or {}
    stated = {category for key, category in ASKED.items() if flags.get(key) == "yes"}
    found = sorted({*task.sensitive, *stated})
    return f",{','.join(found)}," if found else None


ASKED = {"asks_sexual": "sexual", "asks_violent": "violent", "asks_abuse": "abuse", "asks_denigration": "denigration"}
"""Fields of an instruction (spec B11) and the category each stands for."""


def set_queue_state(db: Database, queue_id: str, state: str) -> None:
    """Open, pause or close a queue; a paused one gives out nothing new, answers to what is out are still taken.

    Raises:
        ConfigError: unknown state.
        DataError: unknown queue.
    """
    _known("state", state, QUEUE_STATES)
    with db.write() as session:
        queue = session.get(Queue, queue_id)
        if queue is None:
            raise DataError(f"there is no queue {queue_id!r}", hint="list the queues first")
        queue.state = state


def queues(db: Database) -> list[QueueRow]:
    """All queues, most urgent first, with their numbers of tasks (gold items apart)."""
    with db.read() as session:
        counts: dict[str, dict[str, int]] = {}
        grouped = select(Task.queue_id, Task.state, func.count()).where(Task.gold_id.is_(None)).group_by(Task.queue_id, Task.state)
        for queue_id, state, n in session.execute(grouped):
            counts.setdefault(queue_id, {})[state] = n
        query = select(Queue, Guideline).join(Guideline, Guideline.id == Queue.guideline_id).order_by(Queue.priority.desc(), Queue.id)
        return [_queue_row(queue, guideline, counts.get(queue.id, {})) for queue, guideline in session.execute(query)]


def _queue_row(queue: Queue, guideline: Guideline, counts: Mapping[str, int]) -> QueueRow:
    return QueueRow(
        id=queue.id,
        name=queue.name,
        kind=queue.kind,
        state=queue.state,
        guideline=guideline.name,
        guideline_version=guideline.version,
        mode=guideline.mode,
        cohorts=tuple(queue.cohorts),
        settings=queue.settings,
        tasks=sum(counts.values()),
        open=counts.get("open", 0),
        done=counts.get("done", 0),
    )
