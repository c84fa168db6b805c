"""Submitting and editing: what is checked, marked, said and kept; what a labeler can see; on both engines where SQL is involved."""

import dataclasses

import pytest
from sqlalchemy import func, select

from instructloop.core.errors import ConfigError, DataError
from instructloop.core.records import Message
from instructloop.feedback.answers import AdjudicationAnswer, DemonstrationAnswer, PairwiseAnswer, RankingAnswer, RatingAnswer
from instructloop.feedback.assignment import Lease, next_lease
from instructloop.feedback.database import Database
from instructloop.feedback.flags import FLAGS
from instructloop.feedback.guidelines import default_guidelines, publish, seed, versions
from instructloop.feedback.records import add_completion, add_prompt, prompt_of
from instructloop.feedback.refusals import NotEditableError, UnknownTaskError
from instructloop.feedback.schema import (
    Adjudication,
    Assignment,
    CompletionRow,
    Flag,
    FlagDefinition,
    PairwiseVote,
    PromptRow,
    RankingItem,
    Submission,
    Task,
)
from instructloop.feedback.slots import agree, tau_strict
from instructloop.feedback.submissions import contradictions, last_submission, latest, revise, submit
from instructloop.feedback.views import task_view
from instructloop.testing.feedback import add_labeler, any_answer, prompt_flags, ranking, rating, seed_queue

T0 = 1_800_000_000_000
MINUTE = 60_000


def _leased(db: Database, kind: str = "rank", **options: object) -> tuple[str, Lease]:
    queue = seed_queue(db, kind=kind, prompts=1, **options)  # type: ignore[arg-type]
    labeler = add_labeler(db)
    lease = next_lease(db, labeler, queue.queue_id, now=T0)
    assert lease is not None
    return labeler, lease


def test_ranks_are_dense_on_saving_and_the_tiers_are_kept(database: Database) -> None:
    labeler, lease = _leased(database, k=4)
    submit(database, lease.assignment_id, labeler, lease.idem_key, ranking(2, 4, 2, 1), now=T0)
    with database.read() as session:
        rows = session.execute(
            select(RankingItem.tier, RankingItem.rank)
            .join(CompletionRow, CompletionRow.id == RankingItem.completion_id)
            .order_by(CompletionRow.draw)
        ).all()
    assert [tuple(row) for row in rows] == [(2, 1), (4, 2), (2, 1), (1, 0)]


@pytest.mark.parametrize(("active_ms", "too_fast"), [(1_999, True), (4_932, True), (4_933, False)])
def test_an_answer_faster_than_anybody_reads_is_marked_and_kept(database: Database, active_ms: int, *, too_fast: bool) -> None:
    # 3 + 14 words in the prompt, 5 + 14 in each of three outputs: 74 words at 900 a minute take 4.933 s
    labeler, lease = _leased(database, k=3, name="q", words=14)
    with database.read() as session:
        texts = [*session.scalars(select(PromptRow.text)), *session.scalars(select(CompletionRow.text))]
    assert sum(len((text or "").split()) for text in texts) == 74
    receipt = submit(database, lease.assignment_id, labeler, lease.idem_key, ranking(1, 2, 3), active_ms=active_ms, now=T0)
    assert receipt.too_fast == too_fast


def test_likert_against_ranking_is_said_and_both_are_kept(database: Database) -> None:
    labeler, lease = _leased(database, kind="rate_and_rank", k=3)
    receipt = submit(database, lease.assignment_id, labeler, lease.idem_key, rating(2, 6, 2, tiers=(1, 2, 3)), now=T0)
    assert receipt.warnings == ("slot 0 is ranked above slot 1, but rated 2 against 6",)
    assert contradictions(rating(6, 6, 2, tiers=(1, 2, 2))) == ()
    assert contradictions(ranking(1, 2)) == ()


def test_an_answer_of_another_kind_or_out_of_range_changes_nothing(database: Database) -> None:
    labeler, lease = _leased(database, k=3)
    for answer, field in (
        (any_answer("pairwise", 2), "answer"),
        (ranking(1, 2), "tiers"),
        (RankingAnswer(tiers=(1, None, 2)), "tiers.1"),
        (ranking(1, 2, 4), "tiers.2"),
    ):
        with pytest.raises(DataError) as caught:
            submit(database, lease.assignment_id, labeler, lease.idem_key, answer, now=T0)
        assert caught.value.message.startswith(field)
        assert caught.value.hint
    with pytest.raises(DataError, match="confidence"):
        submit(database, lease.assignment_id, labeler, lease.idem_key, ranking(1, 2, 3), confidence=10, now=T0)
    with pytest.raises(DataError, match="idem_key"):
        submit(database, lease.assignment_id, labeler, "another key", ranking(1, 2, 3), now=T0)
    with pytest.raises(DataError, match="comment"):
        submit(database, lease.assignment_id, labeler, lease.idem_key, ranking(1, 2, 3), comment="x" * 70_000, now=T0)
    with database.read() as session:
        assert session.scalar(select(func.count()).select_from(Submission)) == 0
        assert session.get_one(Assignment, lease.assignment_id).state == "leased"


def test_a_rating_page_asks_the_instructions_fields_unless_the_queue_says_otherwise(database: Database) -> None:
    labeler, lease = _leased(database, kind="rate", k=1)
    bare = rating(4, flags={"closed_domain": "yes"})
    with pytest.raises(DataError, match="has no answer"):
        submit(database, lease.assignment_id, labeler, lease.idem_key, bare, now=T0)
    view = task_view(database, lease.assignment_id, labeler)
    assert (len(view.prompt_fields), len(view.completion_fields)) == (12, 11)

    queue = seed_queue(database, kind="rate", prompts=1, k=1, name="short", settings={"ask_prompt_flags": False})
    second = next_lease(database, labeler, queue.queue_id, now=T0)
    assert second is not None
    submit(database, second.assignment_id, labeler, second.idem_key, bare, now=T0)
    assert task_view(database, second.assignment_id, labeler).prompt_fields == ()
    with database.read() as session:
        kept = session.scalars(
            select(Flag.key).join(Submission, Submission.id == Flag.submission_id).where(Submission.task_id == second.task_id)
        )
        assert "hallucination" in (keys := set(kept))  # it applies in a closed domain
        assert "closed_domain" not in keys  # not asked here, so not an answer


def test_what_is_known_of_an_instruction_says_which_fields_apply(database: Database) -> None:
    labeler, lease = _leased(database, kind="instruction")
    with database.write() as session:
        session.scalars(select(PromptRow)).one().meta = {"flags": {"closed_domain": "yes"}}
    assert task_view(database, lease.assignment_id, labeler).prompt_flags == {"closed_domain": "yes", "use_case": "generation"}
    answer = dataclasses.replace(any_answer("instruction", 0), prompt_flags=prompt_flags(has_constraint="yes"))  # type: ignore[type-var]
    submit(database, lease.assignment_id, labeler, lease.idem_key, answer, now=T0)
    known = task_view(database, lease.assignment_id, labeler).prompt_flags
    assert (known["has_constraint"], known["closed_domain"]) == ("yes", "no")


def test_no_model_name_no_checkpoint_and_no_sampling_reach_the_labelers_view(database: Database) -> None:
    labeler, lease = _leased(database, kind="rank", k=3)
    with database.write() as session:
        session.scalars(select(PromptRow)).one().meta = {"source_model": "secret-model-name", "title": "A shown title"}
        session.get_one(Task, lease.task_id).meta = {"model": "secret-model-name"}
    view = task_view(database, lease.assignment_id, labeler)
    shown = repr(view)
    assert "secret-model-name" not in shown
    assert "temperature" not in shown
    assert view.prompt_meta_allowed == {"title": "A shown title"}
    with database.read() as session:
        by_slot = session.scalars(select(CompletionRow.text).order_by(CompletionRow.draw)).all()
    assert view.completions == tuple(by_slot[slot] for slot in lease.display_order)


def test_a_conversation_comes_back_as_a_conversation(database: Database) -> None:
    talk = (Message("system", "Be kind."), Message("user", "caf\u0065\u0301?"))
    with database.write() as session:
        identifier, _ = add_prompt(session, prompt=talk, source="api", owner="sha256:x", split="train")
        assert prompt_of(session.get_one(PromptRow, identifier)) == (Message("system", "Be kind."), Message("user", "caf\u00e9?"))


def test_an_edit_is_a_revision_and_the_first_answer_stays(database: Database) -> None:
    labeler, lease = _leased(database, k=3)
    first = submit(database, lease.assignment_id, labeler, lease.idem_key, ranking(1, 2, 3), now=T0)
    view = task_view(database, lease.assignment_id, labeler)
    assert view.lease.expires_at == T0 + 30 * MINUTE
    second = revise(database, first.submission_id, labeler, view.lease.idem_key, ranking(3, 2, 1), now=T0 + MINUTE)
    again = revise(database, first.submission_id, labeler, view.lease.idem_key, ranking(3, 2, 1), now=T0 + MINUTE)
    assert (second.rev, again.submission_id, again.repeated) == (2, second.submission_id, True)
    with database.read() as session:
        assert session.get_one(Submission, second.submission_id).supersedes == first.submission_id
        assert [row.id for row in session.scalars(latest())] == [second.submission_id]
        assert session.scalar(select(func.count()).select_from(RankingItem)) == 6
        assert session.get_one(Task, lease.task_id).done == 1
    last = last_submission(database, labeler)
    assert last is not None
    assert last.id == second.submission_id
    newest = task_view(database, lease.assignment_id, labeler)
    assert newest.previous == ranking(3, 2, 1)
    with pytest.raises(NotEditableError, match="newer revision"):
        revise(database, first.submission_id, labeler, newest.lease.idem_key, ranking(1, 1, 1), now=T0 + MINUTE)
    with pytest.raises(NotEditableError, match="time for editing"):
        revise(database, second.submission_id, labeler, newest.lease.idem_key, ranking(1, 1, 1), now=T0 + 31 * MINUTE)
    with pytest.raises(UnknownTaskError):
        revise(database, second.submission_id, add_labeler(database, "L9"), newest.lease.idem_key, ranking(1, 1, 1), now=T0)


def test_a_decision_is_kept_with_its_submission_and_closes_editing(database: Database) -> None:
    labeler, lease = _leased(database, k=3)
    answer = submit(database, lease.assignment_id, labeler, lease.idem_key, ranking(1, 2, 3), now=T0)
    judging = seed_queue(database, kind="adjudicate", prompts=1)
    with database.write() as session:
        session.get_one(Task, judging.task_ids[0]).adjudicates = lease.task_id
    judge = add_labeler(database, "L2")
    decision = next_lease(database, judge, judging.queue_id, now=T0)
    assert decision is not None
    with pytest.raises(DataError, match="decision"):
        submit(database, decision.assignment_id, judge, decision.idem_key, AdjudicationAnswer(decision="x", taxonomy="slip"), now=T0)
    settled = AdjudicationAnswer(decision=answer.submission_id, taxonomy="slip", note="the first one read it right")
    submit(database, decision.assignment_id, judge, decision.idem_key, settled, now=T0)
    with database.read() as session:
        row = session.scalars(select(Adjudication)).one()
        assert (row.task_id, row.decided_by, row.decision_submission_id) == (lease.task_id, judge, answer.submission_id)
    view = task_view(database, lease.assignment_id, labeler)
    with pytest.raises(NotEditableError, match="adjudicated"):
        revise(database, answer.submission_id, labeler, view.lease.idem_key, ranking(3, 2, 1), now=T0)


def test_a_vote_is_kept_by_slot_whatever_side_it_was_shown_on(database: Database) -> None:
    labeler, lease = _leased(database, kind="pairwise")
    submit(database, lease.assignment_id, labeler, lease.idem_key, PairwiseAnswer(winner="0"), now=T0)
    with database.read() as session:
        vote = session.scalars(select(PairwiseVote)).one()
        first = session.scalars(select(CompletionRow.id).where(CompletionRow.draw == 0)).one()
    assert (vote.completion_a, vote.outcome, vote.left_is_a) == (first, "a", lease.display_order[0] == 0)


def test_characters_that_a_database_cannot_hold_lose_no_answer(database: Database) -> None:
    labeler, lease = _leased(database, kind="demonstration")
    submit(database, lease.assignment_id, labeler, lease.idem_key, DemonstrationAnswer(text="a\0b e\u0301"), comment="c\0", now=T0)
    assert task_view(database, lease.assignment_id, labeler).previous == DemonstrationAnswer(text="a\ufffdb \u00e9")


def test_the_same_draw_is_kept_once_and_another_text_for_it_is_refused(database: Database) -> None:
    queue = seed_queue(database, prompts=1, k=2)
    with database.write() as session:
        old = session.get_one(CompletionRow, queue.completions[0][0])
        common = {"prompt_id": old.prompt_id, "checkpoint_id": old.checkpoint_id, "sampling": old.sampling, "draw": old.draw}
        assert add_completion(session, text=str(old.text), **common) == old.id
        with pytest.raises(DataError, match="with another text"):
            add_completion(session, text="something else", **common)


def test_the_default_guidelines_say_what_the_paper_says() -> None:
    training, evaluation = default_guidelines()
    assert (training.name, training.mode, evaluation.name, evaluation.mode) == ("default", "training", "evaluation", "evaluation")
    for text in (training.body, evaluation.body):
        assert text.count("\n### ") == 3  # three worked examples
        for topic in ("tie", "customer assistant", "hallucination", "genetic information", "runs on", "When to skip", "veteran"):
            assert topic.lower() in text.lower(), topic
    assert training.body.index("**Helpful.**") < training.body.index("**Truthful.**") < training.body.index("**Harmless.**")
    assert evaluation.body.index("**Truthful and harmless.**") < evaluation.body.index("**Helpful.**")
    assert "not high-stakes" in evaluation.body
    assert "not high-stakes" not in training.body


def test_a_published_guideline_gets_the_next_version_and_seeding_again_changes_nothing(database: Database) -> None:
    seed(database)
    seed(database)
    assert [(row.name, row.version) for row in versions(database)] == [("default", 1), ("evaluation", 1)]
    publish(database, "default", "training", "", "Be kinder.")
    newest = versions(database, "default")[0]
    assert (newest.version, newest.title) == (2, "default")
    with database.read() as session:
        assert session.scalar(select(func.count()).select_from(FlagDefinition)) == len(FLAGS)
    with pytest.raises(ConfigError, match="name"):
        publish(database, "two words", "training", "t", "b")
    with pytest.raises(ConfigError, match="mode"):
        publish(database, "x", "party", "t", "b")
    with pytest.raises(DataError, match="body"):
        publish(database, "x", "training", "t", "  ")


@pytest.mark.parametrize(
    ("a", "b", "tau"),
    [
        ((0, 1, 2), (0, 1, 2), 1.0),
        ((0, 1, 2), (2, 1, 0), -1.0),
        ((0, 1, 2), (0, 2, 1), 1 / 3),  # pairs 01 and 02 agree, 12 does not: (2 - 1) / 3
        ((0, 0, 1), (0, 1, 1), 1.0),  # only pair 02 is strict in both
        ((0, 0, 0), (0, 0, 0), 1.0),
        ((0, 0, 0), (0, 1, 2), 0.0),
        ((0, None, 1), (0, 1, 2), 1.0),
    ],
)
def test_rankings_are_compared_on_the_pairs_both_order(a: tuple[int | None, ...], b: tuple[int | None, ...], tau: float) -> None:
    assert tau_strict(a, b) == pytest.approx(tau)


def test_each_kind_has_its_own_rule_of_agreement() -> None:
    assert agree(PairwiseAnswer(winner="tie"), PairwiseAnswer(winner="both_bad"))
    assert not agree(PairwiseAnswer(winner="0"), PairwiseAnswer(winner="tie"))
    assert agree(rating(4, 5), rating(5, 4))  # one point apart on average
    assert not agree(rating(4, 5), rating(6, 4))
    assert agree(DemonstrationAnswer(text="a"), DemonstrationAnswer(text="b"))  # texts are not compared
    assert isinstance(rating(1, tiers=(1,)), RatingAnswer)
