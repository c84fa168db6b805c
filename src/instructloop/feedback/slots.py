"""The slots of a task: how many answers it wants, how many are out or in. Every change happens under the task's row lock."""

from itertools import combinations

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from instructloop.feedback.answer_rows import answer_of
from instructloop.feedback.answers import Answer, InstructionAnswer, PairwiseAnswer, RankingAnswer, RatingAnswer, ToxicityAnswer
from instructloop.feedback.schema import Assignment, Queue, Submission, Task

AGREE_TAU = 0.5
"""Rankings agree from here on: (concordant - discordant) / (both strict), ours; a queue may set ``agree_tau``."""
NEAR_LIKERT = 1.0
SAME_FLAGS = 0.75
HOLDING = ("leased", "submitted")


def lock_task(session: Session, task_id: str, *, skip_locked: bool = False) -> Task | None:
    """The task under its row lock (PostgreSQL; a writing SQLite transaction is alone anyway), as it is now."""
    lock = {"key_share": True, "skip_locked": skip_locked}
    return session.get(Task, task_id, with_for_update=lock, populate_existing=True)


def counted(session: Session, task_id: str) -> int:
    """Answers that are out or in, counted from the rows: a new statement, so it sees what was committed before the lock came."""
    query = select(func.count()).select_from(Assignment).where(Assignment.task_id == task_id, Assignment.state.in_(HOLDING))
    return session.scalars(query).one()


def take(session: Session, task: Task) -> bool:
    """Take a slot of a locked task if one is free. Gold items have room for everybody."""
    if task.state == "withdrawn":
        return False
    if task.gold_id is not None:
        return True
    task.taken = counted(session, task.id)
    if task.taken >= task.wanted:
        return False
    task.taken += 1
    return True


def give_back(task: Task) -> None:
    """Free a slot of a locked task."""
    if task.gold_id is None:
        task.taken = max(task.taken - 1, task.done)


def settle(session: Session, task: Task, queue: Queue) -> None:
    """After an answer that counts: close the task, or, under the stop rule, ask for one more while no two answers agree."""
    if task.gold_id is not None or task.done < task.wanted:
        return
    if queue.stop_when_agreed and task.wanted < queue.max_overlap and not agreed(session, task, queue):
        task.wanted += 1
        if task.state == "done":
            task.state = "open"
    elif task.state == "open":
        task.state = "done"


def agreed(session: Session, task: Task, queue: Queue) -> bool:
    """Whether at least two of a task's newest answers agree; kinds without a measure (texts) always do."""
    session.flush()
    newest = select(func.max(Submission.rev)).where(Submission.assignment_id == Assignment.id).correlate(Assignment).scalar_subquery()
    ids = session.scalars(
        select(Submission.id)
        .join(Assignment, Assignment.id == Submission.assignment_id)
        .where(Assignment.task_id == task.id, Assignment.state == "submitted", Submission.rev == newest)
        .order_by(Submission.id)
    ).all()
    answers = [answer_of(session, identifier) for identifier in ids]
    threshold = float(queue.settings.get("agree_tau", AGREE_TAU))
    return len(answers) < 2 or any(agree(a, b, threshold) for a, b in combinations(answers, 2))


def agree(a: Answer, b: Answer, threshold: float = AGREE_TAU) -> bool:
    """Whether two answers to one task say the same, by the rule of their kind."""
    match a, b:
        case RankingAnswer(), RankingAnswer():
            return tau_strict(a.ranks, b.ranks) >= threshold
        case RatingAnswer(), RatingAnswer():
            if a.ranking is not None and b.ranking is not None:
                return tau_strict(a.ranking.ranks, b.ranking.ranks) >= threshold
            gaps = [abs(x.overall - y.overall) for x, y in zip(a.outputs, b.outputs, strict=True)]
            return sum(gaps) / len(gaps) <= NEAR_LIKERT
        case ToxicityAnswer(), ToxicityAnswer():
            return tau_strict(a.ranking.ranks, b.ranking.ranks) >= threshold
        case PairwiseAnswer(), PairwiseAnswer():
            return a.winner == b.winner or {a.winner, b.winner} == {"tie", "both_bad"}
        case InstructionAnswer(), InstructionAnswer():
            keys = a.prompt_flags.keys() | b.prompt_flags.keys()
            same = sum(a.prompt_flags.get(key) == b.prompt_flags.get(key) for key in keys)
            return same >= SAME_FLAGS * len(keys)
        case _:
            return True


def tau_strict(a: tuple[int | None, ...], b: tuple[int | None, ...]) -> float:
    """(C - D) / (C + D) over the pairs that both rankings order; without any, 1 if they tie the same pairs, else 0."""
    same = opposite = 0
    alike = True
    for i, j in combinations(range(len(a)), 2):
        left, right = _sign(a[i], a[j]), _sign(b[i], b[j])
        alike &= left == right
        if left and right:
            same, opposite = same + (left == right), opposite + (left != right)
    if same + opposite == 0:
        return 1.0 if alike else 0.0
    return (same - opposite) / (same + opposite)


def _sign(x: int | None, y: int | None) -> int:
    if x is None or y is None:
        return 0
    return (x > y) - (x < y)
