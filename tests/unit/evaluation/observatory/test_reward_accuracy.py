"""Accuracy of a reward model in its cuts, calibration, and the baselines beside it."""

import pytest

from instructloop.core.records import Ranking
from instructloop.evaluation.observatory.reward_accuracy import (
    ScoredRanking,
    from_result,
    lexical_baseline,
    pairs_of,
    reward_accuracy,
)


def ranking(prompt: str, completions: tuple[str, ...], ranks: tuple[int | None, ...], **given) -> Ranking:
    return Ranking(prompt=prompt, completions=completions, ranks=ranks, **given)


ROWS = [
    # ranks 0, 1, 2: pairs (long, b) right, (long, c) right, (b, c) wrong
    ScoredRanking(
        ranking("p", ("a long one", "b", "c"), (0, 1, 2), labeler="L1", confidence=3, meta={"cohort": "training"}), (2.0, 0.0, 1.0)
    ),
    # one pair, indifferent; the longer one loses
    ScoredRanking(ranking("q", ("d", "a long one"), (0, 1), labeler="L2", confidence=9, meta={"cohort": "heldout"}), (1.0, 1.0)),
    ScoredRanking(ranking("r", ("x", "y"), (0, 1), labeler="L2", none_acceptable=True), (0.0, 5.0)),
]


def cells(table) -> dict[str, float]:
    return {row[0]: row[2]["value"] for row in table.rows}


def test_accuracy_by_hand_in_every_cut() -> None:
    found = reward_accuracy(ROWS)
    tables = {table.title: table for table in found.sections[0].tables}
    whole = cells(tables["Strict pairs in the labelers' order"])
    assert whole == {"reward model": pytest.approx(2.5 / 4), "the longer one wins": pytest.approx((1 + 1 + 0.5 + 0) / 4)}
    assert cells(tables["Accuracy by labeler cohort"]) == {"heldout": 0.5, "training": pytest.approx(2 / 3)}
    assert cells(tables["Accuracy by labeler"]) == {"L1": pytest.approx(2 / 3), "L2": 0.5}
    assert cells(tables["Accuracy by margin (ranks between the two)"]) == {"1": pytest.approx(1.5 / 3), "2": 1.0}
    assert cells(tables["Accuracy by K"]) == {"2": 0.5, "3": pytest.approx(2 / 3)}
    assert cells(tables["Accuracy by confidence"]) == {"3": pytest.approx(2 / 3), "9": 0.5}
    assert found.alarms[0].measured == pytest.approx(0.625)
    assert found.alarms[0].examples[0]["completion"] == "c"


def test_a_ranking_in_which_nothing_was_acceptable_has_no_pairs() -> None:
    assert len(pairs_of(ROWS)) == 4
    assert len(pairs_of(ROWS[2:])) == 0
    assert reward_accuracy(ROWS[2:]).alarms[0].state == "not measured"


def test_a_reward_model_that_exaggerates_is_called_overconfident() -> None:
    def rows(scale):  # right three times in four, at every margin
        return [ScoredRanking(ranking(str(i), ("a", "b"), (0, 1)), (scale if i % 4 else -scale, 0.0)) for i in range(200)]

    honest, loud = (reward_accuracy(rows(scale)).alarms[1] for scale in (1.0986, 8.0))  # sigma(ln 3) = .75
    assert (honest.state, loud.state) == ("ok", "alarm")
    assert honest.measured == pytest.approx(0.0, abs=1e-3)
    assert loud.measured == pytest.approx(0.25, abs=1e-2)


def test_words_alone_find_a_rule_that_words_hold() -> None:
    pytest.importorskip("sklearn")
    train = [ranking(str(i), (f"thanks number {i}", f"no number {i}"), (0, 1)) for i in range(30)]
    rows = [ScoredRanking(ranking("t", ("no way", "thanks a lot"), (1, 0)), (0.0, 0.0))]
    assert lexical_baseline(train, rows) == [1.0]
    assert lexical_baseline([], rows) is None


def test_what_the_training_measured_is_shown_where_the_model_cannot_be_asked() -> None:
    one = {"accuracy": 0.7, "low": 0.6, "high": 0.8, "pairs": 50, "prompts": 10}
    section = from_result({"held_out": {**one, "longer_wins": 0.4, "by_labeler": {"L1": one}}})
    assert [row[0] for row in section.tables[0].rows] == ["all", "labeler L1"]
    assert from_result({"held_out": {}}) is None
