"""Completions of an evaluation into blind comparisons by people, and their votes back.

Everything here is the store's side; ``instructloop.evaluation.people`` reads and writes the run directory.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from instructloop.core.errors import ConfigError, DataError
from instructloop.core.records import Prompt, PromptContent, prompt_text
from instructloop.feedback.analysis import field_answers, model_names, vote_answers
from instructloop.feedback.database import Database
from instructloop.feedback.project import Project
from instructloop.feedback.prompts.lengths import estimated_tokens
from instructloop.feedback.records import USABLE_PII, add_prompt, completions_of, nfc, prompt_of, prompt_sha256
from instructloop.feedback.sampled import ToLabel, Weights, put_to_compare, put_to_rate
from instructloop.feedback.schema import CompletionRow, Evaluation, PromptRow, Queue, Task, TaskItem

_BATCH = 500


@dataclass(frozen=True, kw_only=True, slots=True)
class PeopleVote:
    """One labeler's blind vote with everything that tables need. Models are named here: this never goes to a labeler."""

    prompt: PromptContent
    use_case: str | None
    model_a: str
    model_b: str
    completion_a: str
    completion_b: str
    winner: str
    """a, b, tie or both_bad."""
    a_first: bool
    labeler: str
    """Pseudonymous code."""
    cohort: str


@dataclass(frozen=True, kw_only=True, slots=True)
class PeopleRating:
    """One labeler's answer about one completion of a model."""

    prompt: PromptContent
    model: str
    key: str
    """``overall`` (1 to 7) or a flag (yes, no, na)."""
    value: Any
    labeler: str
    cohort: str


def keep_test_prompts(db: Database, project: Project, prompts: Sequence[Prompt]) -> tuple[list[str | None], dict[str, int]]:
    """The store's identifiers of an evaluation's prompts, added to the split ``test`` where the store lacks them.

    A prompt with personal data is not stored and not shown; neither is one that this project trains on, nor one set aside or erased.

    Returns:
        One identifier a prompt, None where it was passed over; and how many were, for which reason.

    Raises:
        MissingExtraError: the detectors of personal data are not installed.
    """
    from instructloop.feedback.prompts.pii import find_pii

    passed: dict[str, int] = {}
    hashes = [prompt_sha256(prompt.prompt) for prompt in prompts]
    known: dict[str, PromptRow] = {}
    with db.read() as session:
        for start in range(0, len(hashes), _BATCH):
            rows = session.scalars(select(PromptRow).where(PromptRow.sha256.in_(hashes[start : start + _BATCH])))
            known |= {row.sha256: row for row in rows}
    found: list[str | None] = []
    for prompt, sha in zip(prompts, hashes, strict=True):
        why = _unfit(known[sha]) if sha in known else "personal_data" if find_pii(prompt_text(nfc(prompt.prompt))) else ""
        if why:
            passed[why] = passed.get(why, 0) + 1
            found.append(None)
        elif sha in known:
            found.append(known[sha].id)
        else:
            case = prompt.meta.get("use_case")
            with db.write() as session:
                identifier, _ = add_prompt(
                    session,
                    prompt=prompt.prompt,
                    source="dataset",
                    owner=project.pseudonym("owner", f"evaluation {sha}"),
                    split="test",
                    use_case=str(case) if case else None,
                    tokens=estimated_tokens(prompt_text(prompt.prompt)),
                    pii_status="clean",
                )
            found.append(identifier)
    return found, passed


def _unfit(row: PromptRow) -> str:
    if row.text is None:
        return "erased"
    if row.pii_status not in USABLE_PII:
        return "personal_data"
    return "trained_on" if row.split == "train" else ""


def ask_for_votes(
    db: Database, *, queue: str, models: Sequence[Weights], items: Sequence[ToLabel], plan: Mapping[str, Any], overlap: int, seed: int
) -> int:
    """A comparison queue of two models' completions; returns how many tasks were made.

    Raises:
        ConfigError: the queue is there already and has tasks: its plan is frozen.
    """
    return len(put_to_compare(db, queue=queue, models=models, items=items, plan=plan, seed=seed, overlap=overlap, actor="compare ask"))


def ask_for_ratings(db: Database, *, queue: str, models: Sequence[Weights], items: Sequence[ToLabel], overlap: int) -> int:
    """A queue in which each model's completion gets an overall quality of 1 to 7 and its flags (spec G2, G3); returns how many tasks were made."""
    return len(put_to_rate(db, queue=queue, models=models, items=items, overlap=overlap, actor="compare ask"))


def people_votes(db: Database, queues: Sequence[str]) -> list[PeopleVote]:
    """The newest revision of every vote in comparison queues, oldest first, under the models' names as the comparison was planned.

    Raises:
        ConfigError: there is no such comparison.
    """
    found: list[PeopleVote] = []
    for queue in queues:
        queue_id, evaluation = _comparison(db, queue)
        named = model_names(db)
        planned = {
            named[identifier]: name
            for identifier, name in zip(evaluation.plan["checkpoints"], evaluation.plan["models"], strict=True)
            if identifier in named
        }
        given = vote_answers(db, queue_id=queue_id)
        with db.read() as session:
            items = (
                select(TaskItem.task_id, TaskItem.completion_id)
                .join(Task, Task.id == TaskItem.task_id)
                .where(Task.queue_id == queue_id)
                .order_by(TaskItem.task_id, TaskItem.slot)
            )
            pairs: dict[str, list[str]] = {}
            for task_id, completion_id in session.execute(items):
                pairs.setdefault(task_id, []).append(completion_id)
            texts = {key: row.text for key, row in completions_of(session, list({c for pair in pairs.values() for c in pair})).items()}
            prompts = _prompts(session, [vote.prompt_id for vote in given])
        for vote in given:
            a, b = (texts.get(completion) for completion in pairs[vote.task_id])
            if a is None or b is None or vote.prompt_id not in prompts:  # erased meanwhile
                continue
            found.append(
                PeopleVote(
                    prompt=prompts[vote.prompt_id],
                    use_case=vote.use_case,
                    model_a=planned.get(vote.model_a, vote.model_a),
                    model_b=planned.get(vote.model_b, vote.model_b),
                    completion_a=a,
                    completion_b=b,
                    winner=vote.outcome,
                    a_first=vote.left_is_a,
                    labeler=vote.code,
                    cohort=vote.cohort,
                )
            )
    return found


def people_ratings(db: Database, queue: str, names: Mapping[str, str]) -> list[PeopleRating]:
    """Answers about single completions in a rating queue.

    Args:
        db: the store.
        queue: name of the queue; one that does not exist has no answers.
        names: what to call each checkpoint, by ``sha256:...``.
    """
    from instructloop.feedback.schema import Checkpoint

    with db.read() as session:
        queue_id = session.scalar(select(Queue.id).where(Queue.name == queue))
    if queue_id is None:
        return []
    given = [answer for answer in field_answers(db, queue_id=queue_id) if answer.completion_id is not None]
    with db.read() as session:
        query = (
            select(CompletionRow.id, Checkpoint.sha256)
            .join(TaskItem, TaskItem.completion_id == CompletionRow.id)
            .join(Task, Task.id == TaskItem.task_id)
            .join(Checkpoint, Checkpoint.id == CompletionRow.checkpoint_id)
            .where(Task.queue_id == queue_id, CompletionRow.text.is_not(None))
        )
        models = {identifier: names.get(sha, sha) for identifier, sha in session.execute(query)}
        prompts = _prompts(session, [answer.prompt_id for answer in given])
    return [
        PeopleRating(
            prompt=prompts[answer.prompt_id],
            model=models[answer.completion_id],
            key=answer.key,
            value=answer.value,
            labeler=answer.code,
            cohort=answer.cohort,
        )
        for answer in given
        if answer.completion_id in models and answer.prompt_id in prompts
    ]


def _comparison(db: Database, queue: str) -> tuple[str, Evaluation]:
    with db.read() as session:
        row = session.execute(
            select(Queue.id, Evaluation).join(Evaluation, Evaluation.id == Queue.evaluation_id).where(Queue.name == queue)
        ).first()
    if row is None:
        raise ConfigError(f"there is no comparison queue {queue!r} in this project", hint="instructloop compare ask makes one")
    if not {"checkpoints", "models"} <= set(row[1].plan):
        raise DataError(f"the comparison {queue!r} does not name its models", hint="it was not made by compare ask or sample")
    return row[0], row[1]


def _prompts(session: Any, identifiers: Sequence[str]) -> dict[str, PromptContent]:
    wanted = list(dict.fromkeys(identifiers))
    found: dict[str, PromptContent] = {}
    for start in range(0, len(wanted), _BATCH):
        rows = session.scalars(select(PromptRow).where(PromptRow.id.in_(wanted[start : start + _BATCH]), PromptRow.text.is_not(None)))
        found |= {row.id: prompt_of(row) for row in rows}
    return found
