"""From a project's prompts to tasks with models' completions: which prompts are due, and putting what was drawn into a queue.

The drawing itself needs a model and lives in ``recipes``; everything here is the store's side of it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import func, select

from instructloop.core.errors import ConfigError, DataError
from instructloop.core.records import Prompt
from instructloop.core.seeds import permutation
from instructloop.feedback import audit
from instructloop.feedback.database import Database
from instructloop.feedback.ids import now_ms
from instructloop.feedback.prompts.lengths import TRAINING_LIMIT_TOKENS
from instructloop.feedback.prompts.owners import PER_OWNER, at_most_per_owner
from instructloop.feedback.queues import NewTask, add_tasks, create_queue
from instructloop.feedback.records import add_checkpoint, add_completion, prompt_of
from instructloop.feedback.schema import Consent, Evaluation, EvaluationPair, PromptRow, Queue, Task
from instructloop.feedback.schema.prompts import SPLITS

SAFE = ("clean", "redacted")
RANKING_KINDS = ("rank", "rate", "rate_and_rank", "toxicity", "critique", "edit")
_BATCH = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class Weights:
    """A model that completions are drawn from, as the store names it."""

    name: str
    """Shown to admins and in exports, never to a labeler."""
    sha256: str
    """``sha256:...`` of its files."""
    stage: str = "other"
    run: str = ""
    """The path as it was given."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Drawn:
    """One sampled completion and what is needed to draw it again."""

    text: str
    model: int
    """Index into the models."""
    sampling: Mapping[str, Any] = field(default_factory=dict)
    draw: int = 0
    finish_reason: str | None = None
    tokens: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ToLabel:
    """A stored prompt with the completions to be labeled."""

    prompt_id: str
    completions: tuple[Drawn, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Due:
    """Prompts to complete, and how many were passed over for which reason."""

    prompts: tuple[Prompt, ...]
    """``meta`` holds ``prompt_id`` and, where known, ``use_case``."""
    passed_over: Mapping[str, int]


def due_prompts(
    db: Database, *, queue: str, split: str = "train", per_owner: int = PER_OWNER, limit: int = 0, seed: int = 0, only: Sequence[str] = ()
) -> Due:
    """The prompts whose completions a queue should get next, in a random order that ``seed`` names.

    A prompt qualifies if it is in the split, known to be free of personal data (A6), not erased, not too long (A7), under consent
    where it is a customer's (A2), and not in the queue yet. At most ``per_owner`` of one owner, those in the queue included (A4).

    Args:
        db: the store.
        queue: name of the queue to be filled; it need not exist.
        split: train, valid or test.
        per_owner: cap for each owner.
        limit: so many at most; 0 = all.
        seed: of the order and of which prompts of a big owner are drawn.
        only: hashes of the prompts to consider; empty = all.

    Raises:
        ConfigError: an unknown split.
    """
    if split not in SPLITS:
        raise ConfigError(f"sample.split {split!r} is unknown", hint=f"one of {', '.join(SPLITS)}")
    wanted = frozenset(only)
    passed: dict[str, int] = {}

    def out(why: str, count: int = 1) -> None:
        if count:
            passed[why] = passed.get(why, 0) + count

    with db.read() as session:
        there = set(session.scalars(select(Task.prompt_id).join(Queue, Queue.id == Task.queue_id).where(Queue.name == queue)))
        rows = session.execute(
            select(PromptRow, Consent.revoked_at, Consent.scope)
            .outerjoin(Consent, Consent.id == PromptRow.consent_id)
            .where(PromptRow.split == split)
            .order_by(PromptRow.sha256)
        ).all()
    fit: list[PromptRow] = []
    for row, revoked, scope in rows:
        if wanted and row.sha256 not in wanted:
            continue
        why = _problem(row, revoked, scope, split)
        if why:
            out(why)
        else:
            fit.append(row)
    capped = at_most_per_owner(fit, lambda row: row.owner_hash, cap=per_owner, seed=seed, key=lambda row: row.sha256)
    out("over_the_owner_cap", len(fit) - len(capped))
    new = [row for row in capped if row.id not in there]
    out("in_the_queue_already", len(capped) - len(new))
    ordered = [new[place] for place in permutation(len(new), seed, "prompts to sample")]
    chosen = ordered[: limit or None]
    out("beyond_the_limit", len(ordered) - len(chosen))
    return Due(prompts=tuple(_prompt(row) for row in chosen), passed_over=passed)


def _problem(row: PromptRow, revoked: int | None, scope: str | None, split: str) -> str:
    if row.text is None:
        return "erased"
    if row.pii_status not in SAFE:
        return f"personal_data_{row.pii_status}"
    if row.source == "api" and row.consent_id is None:
        return "no_consent"
    if revoked is not None:
        return "consent_revoked"
    if scope is not None and scope not in (("train",) if split != "test" else ("train", "eval")):
        return "consent_of_another_scope"
    return "too_long" if row.tokens > TRAINING_LIMIT_TOKENS else ""


def _prompt(row: PromptRow) -> Prompt:
    return Prompt(prompt=prompt_of(row), meta={"prompt_id": row.id, **({"use_case": row.use_case} if row.use_case else {})})


def put_to_label(
    db: Database, *, queue: str, kind: str, models: Sequence[Weights], items: Sequence[ToLabel], actor: str = "sample"
) -> list[str]:
    """Completions and tasks into a queue of one kind, made if it is not there; returns the tasks' identifiers.

    Running it again after it was cut off adds what is missing: a draw is kept once, a prompt is asked once per queue.

    Raises:
        ConfigError: the queue is of another kind.
    """
    if kind not in RANKING_KINDS:
        raise ConfigError(f"a queue of kind {kind!r} does not take completions to label", hint=f"one of {', '.join(RANKING_KINDS)}")
    queue_id = _queue(db, queue, kind)
    return _fill(db, queue_id, queue, models, items, actor)


def put_to_compare(
    db: Database,
    *,
    queue: str,
    models: Sequence[Weights],
    items: Sequence[ToLabel],
    plan: Mapping[str, Any],
    seed: int = 0,
    overlap: int = 0,
    actor: str = "sample",
) -> list[str]:
    """A blind comparison of two models: an evaluation whose plan is frozen now, its queue, and a task for every prompt.

    Each model stands in the first slot of half the tasks (one more for an odd number), in an order that ``seed`` names; the side on
    which a completion is shown is drawn by the store for every labeler, balanced too. Answers never become training data.
    ``overlap`` labelers vote on every task; 0 asks one, and a random tenth of the tasks twice.

    Raises:
        ConfigError: not two models, or a queue of that name with tasks: a frozen plan gets no further items.
        DataError: an item that has not one completion of each model.
    """
    if len(models) != 2:
        raise ConfigError(f"a comparison needs two models, got {len(models)}", hint="--models A B")
    for item in items:
        if sorted(drawn.model for drawn in item.completions) != [0, 1]:
            raise DataError(f"prompt {item.prompt_id}: a comparison needs one completion of each model", hint="draw one of each")
    evaluation_id = _evaluation(db, queue, models, plan, seed)
    queue_id = _queue(db, queue, "pairwise", guideline="evaluation", evaluation_id=evaluation_id, overlap=overlap)
    with db.read() as session:
        filled = session.scalar(select(func.count()).select_from(Task).where(Task.queue_id == queue_id)) or 0
    if filled:
        raise ConfigError(
            f"the comparison {queue!r} has {filled} tasks and its plan is frozen", hint="give the new one another --queue name"
        )
    first = {place: rank % 2 for rank, place in enumerate(permutation(len(items), seed, "first slot", queue))}
    ordered = [
        ToLabel(prompt_id=item.prompt_id, completions=tuple(sorted(item.completions, key=lambda drawn: (drawn.model + first[place]) % 2)))
        for place, item in enumerate(items)
    ]
    return _fill(db, queue_id, queue, models, ordered, actor, evaluation_id=evaluation_id)


def put_to_rate(
    db: Database, *, queue: str, models: Sequence[Weights], items: Sequence[ToLabel], overlap: int = 1, actor: str = "sample"
) -> list[str]:
    """Every model's completion of a prompt into one rating task under the guideline for evaluations (overall quality and flags).

    Raises:
        ConfigError: the queue is of another kind.
    """
    queue_id = _queue(db, queue, "rate", guideline="evaluation", overlap=overlap)
    return _fill(db, queue_id, queue, models, items, actor)


def _queue(db: Database, name: str, kind: str, *, guideline: str = "default", evaluation_id: str | None = None, overlap: int = 0) -> str:
    with db.read() as session:
        row = session.scalar(select(Queue).where(Queue.name == name))
    if row is None:
        extra: dict[str, Any] = {"gold_rate": 0.05 if guideline == "default" else 0.0}
        if overlap:
            extra |= {"overlap": overlap, "extra_overlap_fraction": 0.0}
        return create_queue(db, name=name, kind=kind, guideline=guideline, evaluation_id=evaluation_id, **extra)
    if row.kind != kind:
        raise ConfigError(f"the queue {name!r} is of kind {row.kind}, not {kind}", hint="choose another --queue, or that kind")
    return row.id


def _evaluation(db: Database, name: str, models: Sequence[Weights], plan: Mapping[str, Any], seed: int) -> str:
    with db.write() as session:
        row = session.scalar(select(Evaluation).where(Evaluation.name == name))
        if row is not None:
            return row.id
        checkpoints = [_checkpoint(session, model) for model in models]
        row = Evaluation(
            name=name,
            baseline_checkpoint_id=checkpoints[0],
            plan={**plan, "checkpoints": checkpoints, "models": [model.name for model in models]},
            seed=seed,
            frozen_at=now_ms(),
        )
        session.add(row)
        session.flush()
        return row.id


def _checkpoint(session: Any, model: Weights) -> str:
    return add_checkpoint(session, model=model.name, path_or_sha=model.sha256, stage=model.stage, run=model.run or None)


def _fill(
    db: Database,
    queue_id: str,
    queue: str,
    models: Sequence[Weights],
    items: Sequence[ToLabel],
    actor: str,
    *,
    evaluation_id: str | None = None,
) -> list[str]:
    with db.write() as session:
        checkpoints = [_checkpoint(session, model) for model in models]
        there = set(session.scalars(select(Task.prompt_id).where(Task.queue_id == queue_id)))
    tasks = []
    for start in range(0, len(items), _BATCH):  # short transactions: labelers may be at work
        with db.write() as session:
            for item in items[start : start + _BATCH]:
                if item.prompt_id not in there:
                    ids = [_completion(session, item.prompt_id, drawn, checkpoints[drawn.model]) for drawn in item.completions]
                    tasks.append(NewTask(prompt_id=item.prompt_id, completion_ids=tuple(dict.fromkeys(ids))))
    made = add_tasks(db, queue_id, tasks)
    with db.write() as session:
        if evaluation_id is not None:
            for task_id, task in zip(made, tasks, strict=True):
                a, b = task.completion_ids
                session.add(EvaluationPair(evaluation_id=evaluation_id, task_id=task_id, completion_a=a, completion_b=b))
        audit.append(
            session,
            actor=actor,
            action="queue.fill",
            object=f"queue/{queue_id}",
            detail={"queue": queue, "tasks": len(made), "checkpoints": [model.sha256 for model in models]},
        )
    return made


def _completion(session: Any, prompt_id: str, drawn: Drawn, checkpoint_id: str) -> str:
    return add_completion(
        session,
        prompt_id=prompt_id,
        text=drawn.text,
        checkpoint_id=checkpoint_id,
        sampling=drawn.sampling,
        draw=drawn.draw,
        finish_reason=drawn.finish_reason,
        tokens=drawn.tokens,
    )
