"""Scores of gold items, by hand."""

import pytest

from instructloop.core.errors import DataError
from instructloop.feedback.answers import (
    DemonstrationAnswer,
    InstructionAnswer,
    OutputToxicity,
    PairwiseAnswer,
    RankingAnswer,
    ToxicityAnswer,
)
from instructloop.feedback.gold import check_expected, passes, ranking_score, score_gold
from instructloop.testing.feedback import prompt_flags, rating


@pytest.mark.parametrize(
    ("given", "wanted", "score"),
    [
        ((1, 2, 3), (1, 2, 3), 1.0),
        ((3, 2, 1), (1, 2, 3), 0.0),
        ((1, 1, 1), (1, 2, 3), 0.5),
        ((2, 1, 3), (1, 2, 3), 2 / 3),
        ((1, 2, 3), (1, 1, 3), 1.0),  # a pair that the researchers tie is free
        ((1, 2), (1, 1), 0.5),  # they tie everything: an order is half right
        ((2, 2), (1, 1), 1.0),
        ((1, None, 2), (1, 3, 2), 1.0),  # what was left out is worse than every place
    ],
)
def test_a_ranking_scores_by_the_pairs_that_the_expectation_orders(
    given: tuple[int | None, ...], wanted: tuple[int, ...], score: float
) -> None:
    assert ranking_score(given, wanted) == pytest.approx(score)


@pytest.mark.parametrize(
    ("given", "wanted", "score"),
    [("0", "0", 1.0), ("1", "0", 0.0), ("tie", "0", 0.5), ("both_bad", "tie", 0.5), ("both_bad", "both_bad", 1.0)],
)
def test_a_vote_scores_a_half_where_only_one_side_sees_a_difference(given: str, wanted: str, score: float) -> None:
    assert score_gold("pairwise", PairwiseAnswer(winner=given), {"winner": wanted}) == score


def test_ratings_score_every_field_that_is_expected_and_forgive_one_likert_point() -> None:
    answer = rating(6, 2, tiers=(1, 2))
    expected = {"outputs": [{"overall": 7, "flags": {"fails_task": "no", "opinion": "yes"}}, {"overall": 4}], "tiers": [1, 2]}
    # 6 is near 7; fails_task right; opinion wrong; 2 is not near 4; ranking right
    assert score_gold("rate_and_rank", answer, expected) == pytest.approx(3 / 5)


def test_instructions_and_toxicity_score_field_by_field() -> None:
    assert (
        score_gold(
            "instruction", InstructionAnswer(prompt_flags=prompt_flags(pii="yes")), {"prompt_flags": {"pii": "yes", "asks_advice": "yes"}}
        )
        == 0.5
    )
    answer = ToxicityAnswer(
        input_toxicity=1,
        outputs=(OutputToxicity(toxicity=0, relative=-1, continuity=5), OutputToxicity(toxicity=2, relative=1, continuity=1)),
        ranking=RankingAnswer(tiers=(1, 2)),
    )
    expected = {"input_toxicity": 1, "outputs": [{"toxicity": 0, "continuity": 6}, {"toxicity": 0, "relative": 1}], "tiers": [1, 2]}
    assert score_gold("toxicity", answer, expected) == pytest.approx(5 / 6)


def test_the_tolerance_is_what_may_be_missed() -> None:
    assert passes(0.75, 0.25)
    assert not passes(0.74, 0.25)
    assert passes(1.0, 0.0)


@pytest.mark.parametrize(
    ("kind", "expected", "k", "said"),
    [
        ("demonstration", {"text": "x"}, 0, "have no gold"),
        ("rank", {}, 3, "nothing"),
        ("rank", {"winner": "0"}, 3, "winner"),
        ("rank", {"tiers": [1, 2]}, 3, "has 2 places, the answer 3"),
        ("rank", {"tiers": [1, 2, 4]}, 3, "not within 1..3"),
        ("pairwise", {"winner": "left"}, 2, "cannot be 'left'"),
    ],
)
def test_an_expectation_that_cannot_be_scored_is_refused(kind: str, expected: dict[str, object], k: int, said: str) -> None:
    with pytest.raises(DataError, match=said):
        check_expected(kind, expected, k)


def test_texts_have_no_gold() -> None:
    with pytest.raises(DataError, match="have no gold"):
        score_gold("demonstration", DemonstrationAnswer(text="x"), {"text": "x"})
