"""Small stores for tests: prompts, completions, queues and labelers with one call each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from instructloop.core.hashing import hash_bytes
from instructloop.feedback.answers import (
    AdjudicationAnswer,
    Answer,
    CritiqueAnswer,
    DemonstrationAnswer,
    InstructionAnswer,
    OutputRating,
    OutputToxicity,
    PairwiseAnswer,
    RankingAnswer,
    RatingAnswer,
    ToxicityAnswer,
)
from instructloop.feedback.database import Database
from instructloop.feedback.flags import COMPLETION_FLAGS, PROMPT_FLAGS
from instructloop.feedback.guidelines import seed
from instructloop.feedback.labelers import create_labeler
from instructloop.feedback.queues import NewTask, add_tasks, create_queue
from instructloop.feedback.records import add_checkpoint, add_completion, add_prompt
from instructloop.feedback.schema import User


@dataclass(frozen=True, slots=True)
class SeededQueue:
    """What :func:`seed_queue` made; ``completions`` by task, in slot order."""

    queue_id: str
    task_ids: tuple[str, ...]
    prompt_ids: tuple[str, ...]
    completions: tuple[tuple[str, ...], ...]


def seed_queue(
    db: Database, *, kind: str = "rank", prompts: int = 3, k: int | None = None, name: str = "", words: int = 6, **options: Any
) -> SeededQueue:
    """A queue of any kind with one task a prompt, each from an owner of its own.

    Args:
        db: a migrated store.
        kind: the queue's kind; ``k`` None takes 6 for rankings and ratings, else what the kind needs.
        words: length of every text.
        options: go to ``create_queue``; gold and extra overlap are off unless asked for.
    """
    seed(db)
    k = {"demonstration": 0, "instruction": 0, "adjudicate": 0, "edit": 1, "pairwise": 2}.get(kind, 6) if k is None else k
    name = name or f"{kind} queue"
    prompt_ids, completions = [], []
    with db.write() as session:
        checkpoint = add_checkpoint(session, model="secret-model-name", path_or_sha=hash_bytes(b"weights"), stage="sft")
        for number in range(prompts):
            prompt_id, _ = add_prompt(
                session,
                prompt=f"{name} prompt {number}: " + " ".join(f"word{i}" for i in range(words)),
                source="api",
                owner=hash_bytes(f"{name} owner {number}".encode()),
                split="train",
                pii_status="clean",
                use_case="generation",
            )
            prompt_ids.append(prompt_id)
            completions.append(
                tuple(
                    add_completion(
                        session,
                        prompt_id=prompt_id,
                        text=f"{name} prompt {number} output {slot}: " + " ".join(f"text{i}" for i in range(words)),
                        checkpoint_id=checkpoint,
                        sampling={"temperature": 1.0, "seed": 7},
                        draw=slot,
                    )
                    for slot in range(k)
                )
            )
    queue_id = create_queue(db, name=name, kind=kind, **{"gold_rate": 0.0, "extra_overlap_fraction": 0.0, **options})
    tasks = [NewTask(prompt_id=p, completion_ids=c) for p, c in zip(prompt_ids, completions, strict=True)]
    return SeededQueue(queue_id, tuple(add_tasks(db, queue_id, tasks)), tuple(prompt_ids), tuple(completions))


def seed_ranking_queue(db: Database, prompts: int = 3, k: int = 6, **options: Any) -> SeededQueue:
    """A queue of rankings; see :func:`seed_queue`."""
    return seed_queue(db, kind="rank", prompts=prompts, k=k, **options)


def add_labeler(db: Database, code: str = "L001", cohort: str = "training", state: str = "qualified", user: str | None = None) -> str:
    """A labeler who may work; ``user`` is an account's identifier."""
    return create_labeler(db, user_id=user, kind="human", cohort=cohort, code=code, state=state)


def add_user(db: Database, email: str, role: str = "labeler", password_hash: str | None = None) -> str:
    """An account; returns its identifier."""
    with db.write() as session:
        user = User(email=email.lower(), name=email.split("@", maxsplit=1)[0], role=role, password_hash=password_hash)
        session.add(user)
        session.flush()
        return user.id


def ranking(*tiers: int | None) -> RankingAnswer:
    """``ranking(1, 2, 2)``."""
    return RankingAnswer(tiers=tiers, left_out=frozenset(slot for slot, tier in enumerate(tiers) if tier is None))


def prompt_flags(**changed: str) -> dict[str, str]:
    """All twelve fields of an instruction answered harmlessly, with changes."""
    return {flag.key: "generation" if flag.key == "use_case" else "no" for flag in PROMPT_FLAGS} | changed


def output_flags(asked: Mapping[str, str], **changed: str) -> dict[str, str]:
    """All fields of an output that apply under the instruction's, answered harmlessly, with changes."""
    return {flag.key: flag.good_value or "no" for flag in COMPLETION_FLAGS if flag.applies(asked)} | changed


def rating(*overall: int, tiers: Sequence[int | None] | None = None, flags: Mapping[str, str] | None = None) -> RatingAnswer:
    """Ratings of all outputs, with a ranking if ``tiers`` are given."""
    asked = dict(flags or prompt_flags())
    return RatingAnswer(
        prompt_flags=asked,
        outputs=tuple(OutputRating(overall=number, flags=output_flags(asked)) for number in overall),
        ranking=None if tiers is None else ranking(*tiers),
    )


def any_answer(kind: str, k: int) -> Answer:
    """A valid answer for a task of any kind (an adjudication that leaves the matter open)."""
    tiers = tuple(range(1, k + 1))
    match kind:
        case "demonstration" | "edit":
            return DemonstrationAnswer(text="A helpful answer.", edited_from=0 if kind == "edit" else None)
        case "rank":
            return ranking(*tiers)
        case "rate":
            return rating(*([5] * k))
        case "rate_and_rank":
            return rating(*([5] * k), tiers=tiers)
        case "instruction":
            return InstructionAnswer(prompt_flags=prompt_flags())
        case "pairwise":
            return PairwiseAnswer(winner="1", strength=2)
        case "toxicity":
            outputs = tuple(OutputToxicity(toxicity=0, relative=0, continuity=5) for _ in range(k))
            return ToxicityAnswer(input_toxicity=1, outputs=outputs, ranking=ranking(*tiers))
        case "critique":
            return CritiqueAnswer(texts=tuple(f"Output {slot} forgets half of the question." for slot in range(k)))
        case _:
            return AdjudicationAnswer(decision=None, taxonomy="subjective", note="both readings are fair")
