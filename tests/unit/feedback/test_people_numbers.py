"""Progress, agreement, quality, comparisons and disagreements of a store in which people have worked, on both engines."""

from itertools import combinations

import pytest

from instructloop.core.errors import DataError
from instructloop.feedback import adjudication, analysis, browse, comparisons, progress, quality
from instructloop.feedback.answers import PairwiseAnswer, RankingAnswer
from instructloop.feedback.assignment import next_lease, skip
from instructloop.feedback.database import Database
from instructloop.feedback.gold import set_active
from instructloop.feedback.ids import now_ms
from instructloop.feedback.labelers import get_labeler
from instructloop.feedback.queues import create_queue
from instructloop.feedback.schema import Submission
from instructloop.feedback.submissions import revise, revision_key, submit
from instructloop.testing.feedback import SeededQueue, add_labeler, rating, seed_queue
from instructloop.testing.worked import work

DAY = 86_400_000
NOW = 20_000 * DAY + DAY // 2


def rank(db: Database, queue: SeededQueue, labeler: str, *tiers: int, now: int = NOW) -> str:
    """The labeler's next ranking; returns the submission."""
    lease = next_lease(db, labeler, queue.queue_id, now=now - 60_000)
    assert lease is not None
    return submit(db, lease.assignment_id, labeler, lease.idem_key, RankingAnswer(tiers=tiers), active_ms=30_000, now=now).submission_id


def test_progress_counts_answers_and_expects_the_end_at_the_pace_of_the_last_week(database: Database) -> None:
    queue = seed_queue(database, prompts=4, k=2, overlap=2)
    first, second = add_labeler(database, "T001"), add_labeler(database, "T002")
    for days in (3, 2, 1):
        rank(database, queue, first, 1, 2, now=NOW - days * DAY)
    lease = next_lease(database, second, queue.queue_id, now=NOW)
    assert lease is not None
    skip(database, lease.assignment_id, second, "too_long", now=NOW)
    assert next_lease(database, second, queue.queue_id, now=NOW) is not None
    row = progress.queue_progress(database, now=NOW)[0]
    assert (row.tasks, row.pending, row.leased, row.done, row.skipped, row.surplus) == (4, 4, 1, 3, 1, 0)
    assert row.per_day == pytest.approx(1.0)  # three answers in three days
    assert row.eta == NOW + 5 * DAY  # four pending and one in hand
    assert row.share == pytest.approx(3 / 8)
    assert progress.skip_reasons(database) == {"too_long": 1}
    assert [one.code for one in progress.open_leases(database)] == ["T002"]
    found = progress.throughput(database, days=3, now=NOW)
    assert found.answers == {"T001": (1, 1, 0)}
    assert found.hours["T001"] == pytest.approx(60 / 3600)
    assert found.days == ("2024-10-02", "2024-10-03", "2024-10-04")


def test_agreement_is_read_from_the_newest_revisions_and_by_cohort(database: Database) -> None:
    queue = seed_queue(database, prompts=1, k=3, overlap=3)
    trained, held, researcher = (
        add_labeler(database, code, cohort=cohort) for code, cohort in (("T1", "training"), ("H1", "heldout"), ("R1", "researcher"))
    )
    first = rank(database, queue, trained, 3, 2, 1)
    lease = next_lease(database, held, queue.queue_id, now=NOW)
    assert lease is not None
    submit(database, lease.assignment_id, held, lease.idem_key, RankingAnswer(tiers=(1, 3, 2)), now=NOW)
    rank(database, queue, researcher, 1, 2, 2)
    with database.read() as session:
        key = revision_key(session.get_one(Submission, first).idem_key, 2)
    revise(database, first, trained, key, RankingAnswer(tiers=(1, 2, 3)), now=NOW + 1000)
    report = analysis.agreement_report(database, samples=50)
    assert (report.rankings, report.doubly) == (3, 1)
    # slots (0,1), (0,2), (1,2): trained + + +; held-out + + -; researcher + + tie
    found = {pair: (one.strict.value if one.strict else None, one.exact.value, one.tie_half.value) for pair, one in report.cohorts.items()}
    assert found == {
        ("training", "heldout"): (pytest.approx(2 / 3), pytest.approx(2 / 3), pytest.approx(2 / 3)),
        ("training", "researcher"): (1.0, pytest.approx(2 / 3), pytest.approx(5 / 6)),
        ("heldout", "researcher"): (1.0, pytest.approx(2 / 3), pytest.approx(5 / 6)),
    }


def test_a_worked_project_gives_every_number_of_the_pages(database: Database) -> None:
    done = work(database, prompts=4)
    trained = done.labelers[0]
    numbers = quality.quality(database, trained, samples=50)
    assert {row.kind: row.answers for row in numbers.work} == {"pairwise": 4, "rank": 5, "rate_and_rank": 2}
    assert all(row.median_s == 40.0 for row in numbers.work)
    assert numbers.gold is not None
    assert numbers.gold.n == 1
    assert numbers.others is not None
    assert numbers.others.prompts == 6  # four rankings and two ratings, gold left out
    assert numbers.others.pairs == (4 * 6 + 2 * 3) * 3  # pairs of outputs times three other people
    assert numbers.researchers is not None
    assert numbers.researchers.pairs == 4 * 6 + 2 * 3
    assert numbers.slots is not None
    assert numbers.sides is not None
    assert numbers.sides.left + numbers.sides.right + numbers.sides.ties == 4
    own = quality.own_numbers(database, trained)
    assert (own.today, own.total) == (11, 11)
    assert own.gold is None  # a figure that moved today would show which task was the known one
    tomorrow = quality.own_numbers(database, trained, now=now_ms() + DAY)
    assert (tomorrow.today, tomorrow.gold is not None and tomorrow.gold.n) == (0, 1)
    lines = {line.code: line for line in quality.lines(database)}
    assert (lines["T001"].answers, lines["T001"].gold_n) == (11, 1)
    assert get_labeler(database, trained).state == "qualified"  # numbers change nothing
    items = browse.gold_items(database)
    assert [(one.answered, one.queue) for one in items] == [(4, "rankings")]
    set_active(database, done.gold_id, active=False)
    assert not browse.gold_items(database)[0].active
    assert len(browse.prompts(database, split="test")) == 4
    assert browse.prompts(database, limit=2)[-1].id < browse.prompts(database, after=browse.prompts(database, limit=2)[-1].id)[0].id


def test_a_comparison_counts_ties_as_a_half_and_both_bad_apart(database: Database) -> None:
    done = work(database, prompts=4)
    votes = analysis.vote_answers(database, queue_id=done.votes)
    assert len(votes) == 16
    found = comparisons.comparison(database, queue_id=done.votes, baseline="plain model", samples=50)
    assert found is not None
    assert (found.votes, found.prompts, found.labelers, found.baseline) == (16, 4, 4, "plain model")
    wins = sum(vote.outcome == ("a" if vote.model_a == "good model" else "b") for vote in votes)
    ties = sum(vote.outcome in {"tie", "both_bad"} for vote in votes)
    duel = found.duels[0]
    assert duel.result.rate.value == pytest.approx((wins + ties / 2) / 16)
    assert duel.result.ties + duel.result.both_bad == ties
    assert found.both_bad == sum(vote.outcome == "both_bad" for vote in votes)
    assert sum(row.result.rate.n for row in duel.use_cases) == 16
    assert duel.positions.left_share == pytest.approx(sum((vote.model_a == "good model") == vote.left_is_a for vote in votes) / 16)
    assert comparisons.comparison(database, queue_id=done.ranking.queue_id) is None


def test_disagreements_come_with_the_furthest_apart_first_and_decisions_take_them_off(database: Database) -> None:
    queue = seed_queue(database, prompts=3, k=2, overlap=2)
    first, second, judge = (add_labeler(database, code) for code in ("T1", "T2", "R1"))
    for tiers in ((1, 2), (1, 2), (1, 2)):
        rank(database, queue, first, *tiers)
    for tiers in ((2, 1), (1, 1), (1, 2)):  # opposite, half, alike
        rank(database, queue, second, *tiers)
    found = adjudication.disagreements(database)
    assert [(one.task_id, one.distance) for one in found] == [(queue.task_ids[0], 1.0), (queue.task_ids[1], 0.5)]
    case = adjudication.case(database, queue.task_ids[0])
    assert case.provenance == "unresolved"
    assert {column.letter for column in case.columns} == {"A", "B"}
    assert adjudication.case(database, queue.task_ids[2]).provenance == "unanimous"
    with pytest.raises(DataError, match="answered this task yourself"):
        adjudication.decide(database, queue.task_ids[0], by=first, actor="cli", decision=None, taxonomy="slip")
    with pytest.raises(DataError, match="not an answer to this task"):
        adjudication.decide(database, queue.task_ids[1], by=judge, actor="cli", decision=case.columns[0].submission_id, taxonomy="slip")
    adjudication.decide(
        database, queue.task_ids[0], by=judge, actor="cli", decision=case.columns[1].submission_id, taxonomy="guideline_gap"
    )
    decided = adjudication.case(database, queue.task_ids[0])
    assert (decided.provenance, decided.decisions[0].letter, len(decided.columns)) == ("adjudicated", "B", 2)  # the raw answers stay
    assert [one.task_id for one in adjudication.disagreements(database)] == [queue.task_ids[1]]
    assert [one.task_id for one in adjudication.disagreements(database, decided=True)] == [queue.task_ids[0]]


def test_likert_distances_and_flags_make_a_disagreement_too(database: Database) -> None:
    queue = seed_queue(database, kind="rate", prompts=1, k=1, overlap=2)
    for code, overall in (("T1", 7), ("T2", 4)):
        labeler = add_labeler(database, code)
        lease = next_lease(database, labeler, queue.queue_id)
        assert lease is not None
        submit(database, lease.assignment_id, labeler, lease.idem_key, rating(overall))
    # one Likert answer three of six apart beside flags that all agree
    flags = {answer.key for answer in analysis.field_answers(database) if answer.key != "overall"}
    assert [one.distance for one in adjudication.disagreements(database)] == [pytest.approx(0.5 / (len(flags) + 1))]


def test_votes_of_two_labelers_lie_a_half_apart_where_one_sees_a_tie(database: Database) -> None:
    queue = seed_queue(database, kind="pairwise", prompts=3, overlap=2)
    answers = (("0", "0", "tie"), ("1", "tie", "both_bad"))
    for code, given in zip(("T1", "T2"), answers, strict=True):
        labeler = add_labeler(database, code)
        for winner in given:
            lease = next_lease(database, labeler, queue.queue_id)
            assert lease is not None
            submit(database, lease.assignment_id, labeler, lease.idem_key, PairwiseAnswer(winner=winner))
    assert [one.distance for one in adjudication.disagreements(database)] == [1.0, 0.5, 0.25]


@pytest.mark.parametrize(
    ("first", "second", "distance"),
    [
        ((0, 1, 2), (0, 1, 2), 0.0),
        ((0, 1, 2), (2, 1, 0), 1.0),
        ((0, 0, 0), (0, 1, 2), 0.5),
        ((0, None, 1), (0, 1, 2), 0.0),
        ((None, 0), (0, None), None),
    ],
)
def test_the_distance_of_rankings_is_one_minus_agreement_with_ties_as_a_half(
    first: tuple[int | None, ...], second: tuple[int | None, ...], distance: float | None
) -> None:
    assert adjudication.ranking_distance(first, second) == distance


def test_the_distance_of_rankings_is_symmetric_over_all_pairs_of_three() -> None:
    ranks = [(0, 1, 2), (0, 2, 1), (1, 0, 2), (0, 0, 1), (0, 1, 1), (0, 0, 0)]
    for a, b in combinations(ranks, 2):
        assert adjudication.ranking_distance(a, b) == adjudication.ranking_distance(b, a)


def test_a_queue_is_filled_with_prompts_that_have_enough_completions(database: Database) -> None:
    source = seed_queue(database, prompts=3, k=3)
    seed_queue(database, kind="demonstration", prompts=2, name="bare")

    fresh = create_queue(database, name="fresh", kind="pairwise")
    found = browse.prompts_without_task(database, fresh, splits=("train",), completions=2, limit=10)
    assert [prompt for prompt, _ in found] == list(source.prompt_ids)
    assert all(len(completions) == 2 for _, completions in found)
    assert len(browse.prompts_without_task(database, fresh, splits=("train",), completions=0, limit=10)) == 5
    assert browse.prompts_without_task(database, source.queue_id, splits=("train",), completions=2, limit=10) == []
