"""One labeler's numbers: how much, how fast, how they agree with others, with researchers and with gold (spec B21).

These numbers are for talking with people and for better guidelines. Filtering labelers by agreement did not help (spec B21), so
nothing here changes what anybody may do.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from instructloop.feedback.analysis import SAMPLES, RankedAnswer, by_task, complete_shown, ranked_answers, sides, vote_answers
from instructloop.feedback.database import Database
from instructloop.feedback.labelers import require_labeler, today_start
from instructloop.feedback.progress import skip_reasons
from instructloop.feedback.schema import Assignment, GoldResult, Labeler, Submission
from instructloop.stats import (
    Agreement,
    Drift,
    Interval,
    SameOrder,
    SideTest,
    SlotTest,
    drift,
    labeler_agreement,
    same_order,
    slot_test,
    tie_rates,
    wilson,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class GoldAccuracy:
    """Gold items passed, with Wilson's 95 % interval."""

    passed: int
    n: int
    low: float
    high: float

    @property
    def share(self) -> float:
        """Passed of all answered."""
        return self.passed / self.n


@dataclass(frozen=True, kw_only=True, slots=True)
class KindOfWork:
    """Answers of one kind and the median active time of one, in seconds."""

    kind: str
    answers: int
    median_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Quality:
    """Everything of a labeler's quality page. None = nothing to measure yet."""

    work: tuple[KindOfWork, ...]
    answers: int
    too_fast: int
    surplus: int
    skipped: int
    expired: int
    skip_reasons: Mapping[str, int]
    gold: GoldAccuracy | None
    gold_drift: Drift | None
    others: Agreement | None
    researchers: Agreement | None
    ties: Interval | None
    slots: SlotTest | None
    untouched: SameOrder | None
    sides: SideTest | None


def quality(db: Database, labeler_id: str, *, samples: int = SAMPLES) -> Quality:
    """A labeler's numbers, over all queues.

    Raises:
        UnknownLabelerError: there is none.
    """
    with db.read() as session:
        labeler = require_labeler(session, labeler_id)
        work = _work(session, labeler_id)
        too_fast = _count(session, labeler_id, too_fast=True)
        states = select(Assignment.state, func.count()).where(Assignment.labeler_id == labeler_id).group_by(Assignment.state)
        ended = {row[0]: row[1] for row in session.execute(states)}
        golden = session.execute(
            select(GoldResult.passed, Submission.created_at, GoldResult.gold_id)
            .join(Submission, Submission.id == GoldResult.submission_id)
            .where(Submission.labeler_id == labeler_id)
            .order_by(Submission.created_at)
        ).all()
    everybody = ranked_answers(db, beside=labeler_id)
    mine = [answer for answer in everybody if answer.labeler_id == labeler_id]
    shown = complete_shown(mine)
    votes = vote_answers(db, labeler_id=labeler_id)
    return Quality(
        work=work,
        answers=sum(kind.answers for kind in work),
        too_fast=too_fast,
        surplus=ended.get("surplus", 0),
        skipped=ended.get("skipped", 0),
        expired=ended.get("expired", 0),
        skip_reasons=skip_reasons(db, labeler_id=labeler_id),
        gold=gold_accuracy([row[0] for row in golden]),
        gold_drift=drift([float(row[0]) for row in golden], [row[1] for row in golden], samples=samples) if len(golden) >= 8 else None,
        others=_agreement(everybody, labeler, researchers=False, samples=samples),
        researchers=_agreement(everybody, labeler, researchers=True, samples=samples),
        ties=_ties(mine, samples),
        slots=slot_test(shown) if shown else None,
        untouched=same_order(shown) if shown else None,
        sides=sides(votes) if votes else None,
    )


def gold_accuracy(passed: Sequence[bool]) -> GoldAccuracy | None:
    """The share passed with its interval, or None without gold."""
    if not passed:
        return None
    low, high = wilson(sum(passed), len(passed))
    return GoldAccuracy(passed=sum(passed), n=len(passed), low=low, high=high)


def _work(session: Session, labeler_id: str) -> tuple[KindOfWork, ...]:
    times: dict[str, list[int]] = defaultdict(list)
    query = select(Submission.kind, Submission.active_ms).where(Submission.labeler_id == labeler_id, Submission.rev == 1)
    for kind, active in session.execute(query):
        times[kind].append(active)
    return tuple(KindOfWork(kind=kind, answers=len(given), median_s=median(given) / 1000) for kind, given in sorted(times.items()))


def _count(session: Session, labeler_id: str, *, too_fast: bool) -> int:
    query = select(func.count()).select_from(Submission).where(Submission.labeler_id == labeler_id, Submission.rev == 1)
    return session.scalar(query.where(Submission.too_fast.is_(too_fast))) or 0


def _agreement(everybody: Sequence[RankedAnswer], labeler: Labeler, *, researchers: bool, samples: int) -> Agreement | None:
    """The labeler's rankings against each other one of the same completions; intervals resample tasks."""
    shared = {}
    for task, given in by_task(everybody).items():
        others = [one for one in given if one.labeler_id != labeler.id and (not researchers or one.cohort == "researcher")]
        if others and len(others) < len(given):
            shared[task] = [
                ("mine" if one.labeler_id == labeler.id else "theirs", one.ranks)
                for one in given
                if one in others or one.labeler_id == labeler.id
            ]
    return labeler_agreement(shared, samples=samples).get("mine") if shared else None


def _ties(mine: Sequence[RankedAnswer], samples: int) -> Interval | None:
    usable = [(one.prompt_id, tuple(rank for rank in one.ranks if rank is not None)) for one in mine]
    return tie_rates({"mine": usable}, samples=samples).get("mine") if usable else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One labeler in the list: counts only, so that the list is quick."""

    labeler_id: str
    code: str
    kind: str
    cohort: str
    state: str
    answers: int
    too_fast: int
    skipped: int
    gold_passed: int
    gold_n: int
    last_at: int | None


def lines(db: Database) -> list[Line]:
    """All labelers with their counts, by code."""
    done = (
        select(
            Submission.labeler_id,
            func.count(),
            func.count().filter(Submission.too_fast.is_(True)),
            func.max(Submission.created_at),
        )
        .where(Submission.rev == 1)
        .group_by(Submission.labeler_id)
    )
    skipped = select(Assignment.labeler_id, func.count()).where(Assignment.state == "skipped").group_by(Assignment.labeler_id)
    golden = (
        select(Submission.labeler_id, func.count(), func.count().filter(GoldResult.passed.is_(True)))
        .join(GoldResult, GoldResult.submission_id == Submission.id)
        .group_by(Submission.labeler_id)
    )
    with db.read() as session:
        people = session.scalars(select(Labeler).order_by(Labeler.code)).all()
        counts = {row[0]: row[1:] for row in session.execute(done)}
        skips = {row[0]: row[1] for row in session.execute(skipped)}
        gold = {row[0]: row[1:] for row in session.execute(golden)}
    return [
        Line(
            labeler_id=one.id,
            code=one.code,
            kind=one.kind,
            cohort=one.cohort,
            state=one.state,
            answers=counts.get(one.id, (0, 0, None))[0],
            too_fast=counts.get(one.id, (0, 0, None))[1],
            skipped=skips.get(one.id, 0),
            gold_passed=gold.get(one.id, (0, 0))[1],
            gold_n=gold.get(one.id, (0, 0))[0],
            last_at=counts.get(one.id, (0, 0, None))[2],
        )
        for one in people
    ]


@dataclass(frozen=True, kw_only=True, slots=True)
class OwnNumbers:
    """What a labeler sees of themselves: no ranking against others."""

    today: int
    total: int
    active_today_s: float
    gold: GoldAccuracy | None
    """Up to yesterday: a figure that moved with every answer would show which items are known ones."""


def own_numbers(db: Database, labeler_id: str, *, now: int | None = None) -> OwnNumbers:
    """Today's and all answers, and how many known answers were met ("acceptance")."""
    start = today_start(now)
    mine = select(func.count(), func.sum(Submission.active_ms)).where(Submission.labeler_id == labeler_id, Submission.rev == 1)
    met = (
        select(GoldResult.passed)
        .join(Submission, Submission.id == GoldResult.submission_id)
        .where(Submission.labeler_id == labeler_id, Submission.created_at < start)
    )
    with db.read() as session:
        total = session.execute(mine).one()[0]
        today, active = session.execute(mine.where(Submission.created_at >= start)).one()
        passed = session.scalars(met).all()
    return OwnNumbers(today=today, total=total, active_today_s=int(active or 0) / 1000, gold=gold_accuracy(passed))
