"""A project in which people have worked: three queues, three cohorts, gold, disagreements, votes between two models."""

from dataclasses import dataclass

from instructloop.core.hashing import hash_bytes
from instructloop.core.seeds import stream
from instructloop.feedback.answers import Answer, PairwiseAnswer, RankingAnswer
from instructloop.feedback.assignment import next_lease
from instructloop.feedback.database import Database
from instructloop.feedback.gold import add_gold
from instructloop.feedback.queues import NewTask, add_tasks, create_queue
from instructloop.feedback.records import add_checkpoint, add_completion, add_prompt
from instructloop.feedback.submissions import submit
from instructloop.testing.feedback import SeededQueue, add_labeler, prompt_flags, rating, seed_queue

USE_CASES = ("generation", "open_qa", "brainstorming", "summarization")


@dataclass(frozen=True, slots=True)
class Worked:
    """What :func:`work` made."""

    ranking: SeededQueue
    rating: SeededQueue
    votes: str
    labelers: tuple[str, ...]
    gold_id: str


def work(db: Database, *, prompts: int = 12, noise: float = 0.15, seed: int = 7) -> Worked:
    """Let two training labelers, one held-out labeler and a researcher answer every task of three queues.

    Quality falls with the slot: slot 0 is best. A labeler swaps neighbours with chance ``noise``; ``models good and plain`` meet
    in the votes, good wins three times of four.
    """
    labelers = tuple(
        add_labeler(db, code, cohort=cohort)
        for code, cohort in (("T001", "training"), ("T002", "training"), ("H001", "heldout"), ("R001", "researcher"))
    )
    ranked = seed_queue(db, kind="rank", prompts=prompts, k=4, name="rankings", overlap=4, gold_rate=1.0)
    rated = seed_queue(db, kind="rate_and_rank", prompts=max(2, prompts // 3), k=3, name="ratings", overlap=4)
    votes = _votes(db, prompts)
    gold_id = add_gold(db, kind="rank", expected={"tiers": [1, 2, 3, 4]}, k=4, explanation="The first one answers the question.")
    add_tasks(db, ranked.queue_id, [NewTask(prompt_id=ranked.prompt_ids[0], completion_ids=ranked.completions[0], gold_id=gold_id)])
    for labeler in labelers:
        for queue in (ranked.queue_id, rated.queue_id, votes):
            _answer_all(db, labeler, queue, noise, seed)
    return Worked(ranked, rated, votes, labelers, gold_id)


def _votes(db: Database, prompts: int) -> str:
    queue = create_queue(
        db, name="comparisons", kind="pairwise", guideline="evaluation", overlap=4, gold_rate=0.0, extra_overlap_fraction=0.0
    )
    tasks = []
    with db.write() as session:
        models = [
            add_checkpoint(session, model=name, path_or_sha=hash_bytes(name.encode()), stage="ppo")
            for name in ("good model", "plain model")
        ]
        for number in range(prompts):
            prompt_id, _ = add_prompt(
                session,
                prompt=f"Question {number}: what would you say?",
                source="api",
                owner=hash_bytes(f"voter {number}".encode()),
                split="test",
                pii_status="clean",
                use_case=USE_CASES[number % len(USE_CASES)],
            )
            pair = [
                add_completion(session, prompt_id=prompt_id, text=f"answer {number} of {model}", checkpoint_id=model, sampling={"seed": 1})
                for model in models
            ]
            tasks.append(NewTask(prompt_id=prompt_id, completion_ids=tuple(pair)))
    add_tasks(db, queue, tasks)
    return queue


def _answer_all(db: Database, labeler: str, queue: str, noise: float, seed: int) -> None:
    while (lease := next_lease(db, labeler, queue)) is not None:
        chance = stream(seed, lease.kind, lease.task_id[-6:], labeler[-6:])
        order = list(range(1, lease.k + 1))
        for place in range(lease.k - 1):
            if chance.random() < noise:
                order[place], order[place + 1] = order[place + 1], order[place]
        if order[-1] == lease.k and chance.random() < noise:
            order[-1] = lease.k - 1  # a tie for the last place
        answer: Answer
        if lease.kind == "pairwise":
            answer = PairwiseAnswer(winner="0" if chance.random() < 0.75 else chance.choice(["1", "tie", "both_bad"]))
        elif lease.kind == "rank":
            answer = RankingAnswer(tiers=tuple(order))
        else:
            flags = prompt_flags(closed_domain="yes" if chance.random() < 0.5 else "no")
            answer = rating(*(max(1, 7 - tier) for tier in order), tiers=order, flags=flags)
        submit(db, lease.assignment_id, labeler, lease.idem_key, answer, active_ms=40_000, wall_ms=50_000, ui_version="test")
