"""Queues with something to label in them, for tests of the task pages."""

from collections.abc import Mapping, Sequence
from typing import Any

from instructloop.core.records import Message, PromptContent
from instructloop.feedback import guidelines, records
from instructloop.feedback.answer_rows import answer_of
from instructloop.feedback.answers import Answer
from instructloop.feedback.database import Database
from instructloop.feedback.queues import COMPLETIONS, NewTask, add_tasks, create_queue
from instructloop.feedback.schema import Assignment, Submission, Task
from instructloop.feedback.submissions import latest

MODEL_NAMES = ("secret-ppo-1300m", "secret-sft-175b")
"""Names that must never reach a labeler."""
_SUBJECTS = (
    "the tide",
    "a lighthouse",
    "harbour seals",
    "the ferry timetable",
    "fog signals",
    "an old rope",
    "salt",
    "the pilot boat",
    "gulls",
)
_SENTENCES = (
    "It comes twice a day and goes as often, pulled by the moon and, less strongly, by the sun.",
    "Ask at the office on the quay; the clerk keeps a list of everything that leaves before noon.",
    "There is no single answer to this, but three things matter more than the others.",
    "First, look at the weather. Second, look at the chart. Third, look again.",
    "I would not rely on it in a storm.",
    "Most people find it easier to begin with the smaller boat and to change over after a season.",
)


def seed_queue(
    db: Database,
    kind: str,
    *,
    tasks: int = 3,
    k: int | None = None,
    name: str = "",
    prompts: Sequence[PromptContent] = (),
    completions: Sequence[str] = (),
    sensitive: Sequence[str] = (),
    flags: Mapping[str, str] | None = None,
    meta: Mapping[str, Any] | None = None,
    **queue: Any,
) -> str:
    """A queue of ``tasks`` tasks with ``k`` outputs each (as many as the kind allows, at most 6, by default).

    Args:
        db: the store.
        kind: of the queue.
        prompts: texts of the prompts, in turn; made up by default.
        completions: texts of the outputs, the same for every task; made up by default.
        sensitive: categories of every task.
        flags: what is known about every prompt.
        meta: further fields of every prompt.
        queue: arguments of ``create_queue``.

    Returns:
        The queue's identifier.
    """
    low, high = COMPLETIONS[kind]
    k = min(max(low, 6), high) if k is None else k
    guidelines.seed(db)
    label = name or f"{kind} {k}"
    queue_id = create_queue(db, name=label, kind=kind, **{"extra_overlap_fraction": 0.0, "gold_rate": 0.0, **queue})
    new = []
    with db.write() as session:
        checkpoints = [
            records.add_checkpoint(session, model=model, path_or_sha="sha256:" + f"{place}" * 64, stage="other")
            for place, model in enumerate(MODEL_NAMES, start=1)
        ]
        for number in range(tasks):
            prompt = prompts[number % len(prompts)] if prompts else _prompt(number, label)
            extra = {**(meta or {}), **({"flags": dict(flags)} if flags else {})}
            prompt_id, _ = records.add_prompt(
                session, prompt=prompt, source="labeler", owner="sha256:" + "0" * 64, split="train", meta=extra
            )
            ids = tuple(
                records.add_completion(
                    session,
                    prompt_id=prompt_id,
                    text=completions[slot] if completions else _completion(number, slot),
                    checkpoint_id=checkpoints[slot % len(checkpoints)],
                    origin="model",
                    sampling={"temperature": 1.0},
                    draw=slot,
                )
                for slot in range(k)
            )
            new.append(NewTask(prompt_id=prompt_id, completion_ids=ids, sensitive=tuple(sensitive)))
    add_tasks(db, queue_id, new)
    return queue_id


def answers_in(db: Database, queue_id: str) -> list[Answer]:
    """The newest answers to a queue's tasks, in the order in which they came."""
    with db.read() as session:
        mine = latest().join(Task, Task.id == Submission.task_id).where(Task.queue_id == queue_id)
        return [answer_of(session, row.id) for row in session.scalars(mine.order_by(Submission.created_at, Submission.id))]


def order_shown(db: Database, assignment_id: str) -> tuple[int, ...]:
    """The slot behind each letter of a task page."""
    with db.read() as session:
        return tuple(session.get_one(Assignment, assignment_id).display_order)


def _prompt(number: int, label: str) -> PromptContent:
    subject = _SUBJECTS[number % len(_SUBJECTS)]
    text = f"Explain {subject} to somebody who has never been to the sea. (question {number} of {label})"
    if number % 3 == 2:
        return (
            Message("user", "I am writing a small guide for visitors."),
            Message("assistant", "Gladly. What is in it?"),
            Message("user", text),
        )
    return text


def _completion(number: int, slot: int) -> str:
    chosen = [_SENTENCES[(number + slot + step) % len(_SENTENCES)] for step in range(1 + slot % 4)]
    return f"About {_SUBJECTS[(number + slot) % len(_SUBJECTS)]}. " + " ".join(chosen)
