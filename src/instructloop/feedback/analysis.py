"""Answers of the store in the form that ``stats`` reads: newest revisions only, gold and screening apart, erased work left out."""

from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from sqlalchemy import Select, select
from sqlalchemy.orm import aliased

from instructloop.feedback.database import Database
from instructloop.feedback.schema import (
    Assignment,
    Checkpoint,
    CompletionRow,
    Flag,
    Labeler,
    Model,
    PairwiseVote,
    PromptRow,
    Queue,
    RankingItem,
    Rating,
    Submission,
    Task,
    TaskItem,
)
from instructloop.stats import (
    Agreement,
    Concordance,
    Reliability,
    Resampling,
    SameOrder,
    SideTest,
    SlotTest,
    cohort_agreement,
    gwet_ac1,
    krippendorff_alpha,
    mean_tau_b,
    ratings,
    same_order,
    side_test,
    slot_test,
)

Ranks: TypeAlias = tuple[int | None, ...]
AnySelect = TypeVar("AnySelect", bound=Select[*tuple[Any, ...]])
SAMPLES = 1000
"""Bootstrap resamples of a page: quick, and the third digit does not matter there."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RankedAnswer:
    """One labeler's ranking of one task."""

    submission_id: str
    task_id: str
    prompt_id: str
    labeler_id: str
    code: str
    cohort: str
    use_case: str | None
    ranks: Ranks
    """By slot; None = left out."""
    shown: Ranks
    """The same in the order in which the outputs were shown."""
    created_at: int
    gold: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class VoteAnswer:
    """One labeler's blind vote. Models are named here: this never goes to a labeler."""

    submission_id: str
    task_id: str
    prompt_id: str
    labeler_id: str
    code: str
    cohort: str
    use_case: str | None
    model_a: str
    model_b: str
    outcome: str
    """a, b, tie or both_bad."""
    left_is_a: bool
    created_at: int


@dataclass(frozen=True, kw_only=True, slots=True)
class FieldAnswer:
    """One labeler's answer to one field about one output, or about the instruction (``completion_id`` None)."""

    task_id: str
    prompt_id: str
    completion_id: str | None
    code: str
    cohort: str
    key: str
    value: Any


def _newest(
    query: AnySelect,
    *,
    queue_id: str | None,
    labeler_id: str | None = None,
    gold: bool | None = False,
    shared: bool = False,
    beside: str | None = None,
) -> AnySelect:
    newer = aliased(Submission)
    query = query.where(~select(newer.id).where(newer.supersedes == Submission.id).exists(), Submission.erased_at.is_(None))
    if queue_id is not None:
        query = query.where(Task.queue_id == queue_id)
    if labeler_id is not None:
        query = query.where(Submission.labeler_id == labeler_id)
    if gold is not None:
        query = query.where(Task.gold_id.is_not(None) if gold else Task.gold_id.is_(None))
    if shared:
        query = query.where(Task.done >= 2)
    if beside is not None:
        query = query.where(Task.id.in_(select(Assignment.task_id).where(Assignment.labeler_id == beside)))
    return query


def ranked_answers(
    db: Database,
    *,
    queue_id: str | None = None,
    labeler_id: str | None = None,
    gold: bool | None = False,
    shared: bool = False,
    beside: str | None = None,
) -> list[RankedAnswer]:
    """Rankings of every kind of task that has one, oldest first.

    Args:
        db: the open store.
        queue_id: of one queue only.
        labeler_id: of one labeler only.
        gold: False leaves gold items out, True takes only those, None both.
        shared: only tasks with two answers or more.
        beside: only tasks that this labeler had, everybody's answers to them.
    """
    head = _newest(
        select(
            Submission.id,
            Submission.task_id,
            Task.prompt_id,
            Submission.labeler_id,
            Labeler.code,
            Labeler.cohort,
            PromptRow.use_case,
            Submission.display_order,
            Submission.created_at,
            Task.gold_id,
        )
        .join(Labeler, Labeler.id == Submission.labeler_id)
        .join(Task, Task.id == Submission.task_id)
        .join(PromptRow, PromptRow.id == Task.prompt_id)
        .order_by(Submission.id),
        queue_id=queue_id,
        labeler_id=labeler_id,
        gold=gold,
        shared=shared,
        beside=beside,
    )
    places = _newest(
        select(RankingItem.submission_id, TaskItem.slot, RankingItem.rank)
        .join(Submission, Submission.id == RankingItem.submission_id)
        .join(Task, Task.id == Submission.task_id)
        .join(TaskItem, (TaskItem.task_id == Submission.task_id) & (TaskItem.completion_id == RankingItem.completion_id)),
        queue_id=queue_id,
        labeler_id=labeler_id,
        gold=gold,
        shared=shared,
        beside=beside,
    )
    by_submission: dict[str, dict[int, int | None]] = defaultdict(dict)
    with db.read() as session:
        for submission_id, slot, rank in session.execute(places):
            by_submission[submission_id][slot] = rank
        rows = session.execute(head).all()
    return [_ranked(row, by_submission[row.id]) for row in rows if len(by_submission.get(row.id, ())) > 1]


def _ranked(row: Any, places: Mapping[int, int | None]) -> RankedAnswer:
    k = max(places) + 1
    ranks = tuple(places.get(slot) for slot in range(k))
    order = [slot for slot in row.display_order.get("slots", range(k)) if slot < k]
    return RankedAnswer(
        submission_id=row.id,
        task_id=row.task_id,
        prompt_id=row.prompt_id,
        labeler_id=row.labeler_id,
        code=row.code,
        cohort=row.cohort,
        use_case=row.use_case,
        ranks=ranks,
        shown=tuple(ranks[slot] for slot in order),
        created_at=row.created_at,
        gold=row.gold_id is not None,
    )


def vote_answers(
    db: Database, *, queue_id: str | None = None, labeler_id: str | None = None, evaluation_id: str | None = None, shared: bool = False
) -> list[VoteAnswer]:
    """Blind votes, oldest first, with the models behind both sides (``human`` where a person wrote it)."""
    first, second = aliased(CompletionRow), aliased(CompletionRow)
    query = _newest(
        select(
            Submission.id,
            Submission.task_id,
            Task.prompt_id,
            Submission.labeler_id,
            Labeler.code,
            Labeler.cohort,
            PromptRow.use_case,
            first.checkpoint_id,
            second.checkpoint_id,
            PairwiseVote.outcome,
            PairwiseVote.left_is_a,
            Submission.created_at,
        )
        .join(PairwiseVote, PairwiseVote.submission_id == Submission.id)
        .join(Labeler, Labeler.id == Submission.labeler_id)
        .join(Task, Task.id == Submission.task_id)
        .join(PromptRow, PromptRow.id == Task.prompt_id)
        .join(first, first.id == PairwiseVote.completion_a)
        .join(second, second.id == PairwiseVote.completion_b)
        .order_by(Submission.id),
        queue_id=queue_id,
        labeler_id=labeler_id,
        shared=shared,
    )
    if evaluation_id is not None:
        query = query.join(Queue, Queue.id == Task.queue_id).where(Queue.evaluation_id == evaluation_id)
    names = model_names(db)
    with db.read() as session:
        rows = session.execute(query).all()
    return [
        VoteAnswer(
            submission_id=row[0],
            task_id=row[1],
            prompt_id=row[2],
            labeler_id=row[3],
            code=row[4],
            cohort=row[5],
            use_case=row[6],
            model_a=names.get(row[7] or "", "human"),
            model_b=names.get(row[8] or "", "human"),
            outcome=row[9],
            left_is_a=row[10],
            created_at=row[11],
        )
        for row in rows
    ]


def model_names(db: Database) -> dict[str, str]:
    """A name for every checkpoint: the model's, with stage, run or hash added where one model has several."""
    query = select(Checkpoint.id, Model.name, Checkpoint.stage, Checkpoint.step, Checkpoint.sha256).join(
        Model, Model.id == Checkpoint.model_id
    )
    with db.read() as session:
        rows = session.execute(query).all()
    short = [name for _, name, *_ in rows]
    named = {}
    for identifier, name, stage, step, sha in rows:
        several = short.count(name) > 1
        named[identifier] = f"{name} {stage}{'' if step is None else f'@{step}'} {sha[7:13]}" if several else name
    return named


def field_answers(db: Database, *, queue_id: str | None = None, labeler_id: str | None = None, shared: bool = False) -> list[FieldAnswer]:
    """Flags and Likert answers (key ``overall``) about outputs and instructions."""
    flags = (
        select(Submission.task_id, Task.prompt_id, Flag.completion_id, Labeler.code, Labeler.cohort, Flag.key, Flag.value)
        .join(Flag, Flag.submission_id == Submission.id)
        .join(Labeler, Labeler.id == Submission.labeler_id)
        .join(Task, Task.id == Submission.task_id)
    )
    overall = (
        select(Submission.task_id, Task.prompt_id, Rating.completion_id, Labeler.code, Labeler.cohort, Rating.overall)
        .join(Rating, Rating.submission_id == Submission.id)
        .join(Labeler, Labeler.id == Submission.labeler_id)
        .join(Task, Task.id == Submission.task_id)
    )
    with db.read() as session:
        flagged = session.execute(_newest(flags, queue_id=queue_id, labeler_id=labeler_id, shared=shared)).all()
        rated = session.execute(_newest(overall, queue_id=queue_id, labeler_id=labeler_id, shared=shared)).all()
    found = [
        FieldAnswer(task_id=a, prompt_id=b, completion_id=c, code=d, cohort=e, key=key, value=value)
        for a, b, c, d, e, key, value in flagged
    ]
    return found + [
        FieldAnswer(task_id=a, prompt_id=b, completion_id=c, code=d, cohort=e, key="overall", value=value) for a, b, c, d, e, value in rated
    ]


def by_task(answers: Sequence[RankedAnswer]) -> dict[Hashable, list[RankedAnswer]]:
    """Rankings of the same completions together: only tasks with two answers or more."""
    found: dict[Hashable, list[RankedAnswer]] = defaultdict(list)
    for answer in answers:
        found[answer.task_id].append(answer)
    return {task: given for task, given in found.items() if len(given) > 1}


@dataclass(frozen=True, kw_only=True, slots=True)
class FieldReliability:
    """How far labelers agree on one field."""

    key: str
    answers: int
    yes: float | None
    """Share of "yes" among the answers; the mean for Likert."""
    alpha: Reliability
    ac1: Reliability | None
    """None for Likert, which has an order."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AgreementReport:
    """Everything of the agreement page. A task counts as the prompt it is about; intervals resample tasks."""

    cohorts: Mapping[tuple[str, str], Agreement]
    tau: Concordance | None
    fields: tuple[FieldReliability, ...]
    slots: SlotTest | None
    untouched: SameOrder | None
    sides: SideTest | None
    rankings: int
    doubly: int
    """Tasks with two rankings or more."""


def agreement_report(db: Database, *, queue_id: str | None = None, samples: int = SAMPLES) -> AgreementReport:
    """Agreement, chance-corrected agreement and position tests, of one queue or of the project."""
    ranked = ranked_answers(db, queue_id=queue_id)
    shared = by_task(ranked)
    votes = vote_answers(db, queue_id=queue_id)
    cohorts = cohort_agreement({task: [(one.cohort, one.ranks) for one in given] for task, given in shared.items()}, samples=samples)
    full = [_strict_ints(one.shown) for one in ranked]
    complete = [ranks for ranks in full if ranks is not None]
    return AgreementReport(
        cohorts=cohorts,
        tau=mean_tau_b({task: [one.ranks for one in given] for task, given in shared.items()}, samples=samples) if shared else None,
        fields=field_reliability(field_answers(db, queue_id=queue_id), samples=samples),
        slots=slot_test(complete) if complete else None,
        untouched=same_order(complete) if complete else None,
        sides=sides(votes) if votes else None,
        rankings=len(ranked),
        doubly=len(shared),
    )


def sides(votes: Sequence[VoteAnswer]) -> SideTest:
    """Left against right over votes."""
    return side_test([_side(vote) for vote in votes])


def _side(vote: VoteAnswer) -> str:
    if vote.outcome in {"tie", "both_bad"}:
        return "tie"
    return "left" if (vote.outcome == "a") == vote.left_is_a else "right"


def _strict_ints(ranks: Ranks) -> tuple[int, ...] | None:
    """Ranks without gaps, or None if something was left out."""
    found = tuple(rank for rank in ranks if rank is not None)
    return found if len(found) == len(ranks) and len(found) > 1 else None


def complete_shown(answers: Sequence[RankedAnswer]) -> list[tuple[int, ...]]:
    """Rankings in shown order that rank everything."""
    return [ranks for answer in answers if (ranks := _strict_ints(answer.shown)) is not None]


def field_reliability(answers: Sequence[FieldAnswer], *, samples: int = SAMPLES) -> tuple[FieldReliability, ...]:
    """Krippendorff's alpha (ordinal for Likert, nominal for flags) and Gwet's AC1 for every field; "not applicable" counts as missing."""
    by_key: dict[str, list[FieldAnswer]] = defaultdict(list)
    for answer in answers:
        by_key[answer.key].append(answer)
    return tuple(_field(key, given, samples) for key, given in sorted(by_key.items(), key=lambda item: (item[0] != "overall", item[0])))


def _field(key: str, given: Sequence[FieldAnswer], samples: int) -> FieldReliability:
    likert = key == "overall"
    usable = [one for one in given if one.value != "na"]
    rows = [((one.task_id, one.completion_id), one.code, one.value) for one in usable]
    # both answers are named, so that a flag that nobody ever set has AC1 = 1 and not one category without a value
    flag = ("yes", "no") if {one.value for one in usable} <= {"yes", "no"} else None
    table = ratings(rows, categories=range(1, 8) if likert else flag)
    resampling = Resampling(clusters={(one.task_id, one.completion_id): one.prompt_id for one in usable}, samples=samples)
    values = [one.value for one in usable]
    share = None
    if values and (likert or set(values) <= {"yes", "no"}):
        share = sum(values) / len(values) if likert else values.count("yes") / len(values)
    return FieldReliability(
        key=key,
        answers=len(values),
        yes=share,
        alpha=krippendorff_alpha(table, metric="ordinal" if likert else "nominal", resampling=resampling),
        ac1=None if likert else gwet_ac1(table, resampling=resampling),
    )
