"""Tables of pair verdicts and votes: who is asked what, weights, leaderboard, equal length, Holm, cohorts, positions; by hand."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest

from instructloop.core.errors import ConfigError, DataError
from instructloop.core.records import Prompt
from instructloop.evaluation import PairVerdict, compare, compare_pairs, compare_votes, pair_verdicts, read_votes
from instructloop.evaluation.ballots import Ballot, Tally, model_pairs

Rows = list[dict[str, Any]]


def rows(model: str, texts: Sequence[str]) -> Rows:
    return [
        {
            "prompt_id": n,
            "prompt": f"question {n}",
            "use_case": "chat" if n % 2 else "open_qa",
            "model": model,
            "draw": 0,
            "completion": text,
        }
        for n, text in enumerate(texts)
    ]


class Longer:
    """Prefers the longer text and remembers what it was shown."""

    def __init__(self) -> None:
        self.shown: list[tuple[str, str, str]] = []

    def vote(self, prompts: Sequence[Prompt], firsts: Sequence[str], seconds: Sequence[str], /) -> list[PairVerdict]:
        texts = [prompt.prompt for prompt in prompts]
        self.shown += [(str(text), first, second) for text, first, second in zip(texts, firsts, seconds, strict=True)]
        return [
            PairVerdict(win_first=0.5 + 0.5 * ((len(a) > len(b)) - (len(a) < len(b))), note=f"{len(a)} against {len(b)}")
            for a, b in zip(firsts, seconds, strict=True)
        ]


class AlwaysFirst:
    """The voter that only has one opinion."""

    def vote(self, prompts: Sequence[Prompt], firsts: Sequence[str], seconds: Sequence[str], /) -> list[PairVerdict]:
        return [PairVerdict(win_first=1.0) for _ in prompts]


def win(table: dict[str, Any], a: str, b: str) -> dict[str, Any]:
    found: dict[str, Any] = next(row for row in table["wins"] if (row["a"], row["b"]) == (a, b))
    return found


def test_a_pair_voter_decides_by_texts_whichever_is_shown_first() -> None:
    table = compare_pairs([*rows("old", ["a", "aaa", "aa", "a"]), *rows("new", ["bb", "bb", "bb", "bb"])], Longer(), samples=100)
    # two wins, a loss, a tie
    assert win(table, "new", "old")["win_rate"] == 2.5 / 4
    assert win(table, "new", "old")["ties"] == 1
    assert table["samples"][0]["verdicts"][0]["note"] in {"2 against 1", "1 against 2"}
    assert compare([*rows("old", ["a"]), *rows("new", ["bb"])], Longer(), samples=100)["wins"][0]["win_rate"] == 1


def test_each_model_is_shown_first_in_half_of_its_comparisons_and_equal_texts_are_not_asked_about() -> None:
    voter = Longer()
    old, new = [f"old {n}" for n in range(20)], [f"new {n}" for n in range(20)]
    new[7] = old[7]
    found = pair_verdicts([*rows("old", old), *rows("new", new)], voter, seed=1)
    assert len(voter.shown) == 19
    assert sum(first.startswith("new") for _, first, _ in voter.shown) == 10
    assert (found[7]["win_a"], found[7]["a_first"], found[7]["winner"]) == (0.5, None, "tie")


def test_a_voter_who_likes_what_comes_first_is_seen_in_the_positions_and_not_in_the_win_rate() -> None:
    table = compare_pairs([*rows("old", ["a"] * 40), *rows("new", ["b"] * 40)], AlwaysFirst(), samples=100)
    assert win(table, "new", "old")["win_rate"] == 0.5
    assert table["positions"]["first_rate"]["value"] == 1.0
    assert table["positions"]["p"] == pytest.approx(2 * 0.5**40)


def test_with_a_baseline_only_its_pairs_are_asked_about() -> None:
    voter = Longer()
    everything = [*rows("a", ["x"]), *rows("b", ["xx"]), *rows("c", ["xxx"])]
    table = compare_pairs(everything, voter, baseline="b", samples=100)
    assert {frozenset(shown[1:]) for shown in voter.shown} == {frozenset(("x", "xx")), frozenset(("xxx", "xx"))}
    assert [(row["a"], row["b"]) for row in table["wins"]] == [("a", "b"), ("b", "a"), ("c", "b"), ("b", "c")]
    assert table["baseline"] == "b"
    with pytest.raises(ConfigError, match="'d' is none of the models"):
        compare_pairs(everything, voter, baseline="d")


def test_scores_compare_all_pairs_and_put_the_baseline_first() -> None:
    assert model_pairs(["a", "b", "c"]) == [("b", "a"), ("c", "a"), ("c", "b")]
    assert model_pairs(["a", "b", "c"], "b") == [("a", "b"), ("c", "b"), ("c", "a")]
    table = compare(
        [*rows("a", ["x"]), *rows("b", ["xx"]), *rows("c", ["xxx"])], lambda _, texts: [float(len(t)) for t in texts], baseline="b"
    )
    assert len(table["wins"]) == 6
    assert (table["wins"][0]["a"], table["wins"][0]["b"]) == ("a", "b")


def test_the_leaderboard_orders_three_models_and_two_need_none() -> None:
    texts = {"a": ["x", "xx", "x", "x"], "b": ["xx", "x", "xx", "xx"], "c": ["xxx"] * 3 + ["x"]}
    table = compare_pairs([row for name, own in texts.items() for row in rows(name, own)], Longer(), samples=100)
    assert [line["model"] for line in table["leaderboard"]] == ["c", "b", "a"]
    assert all(one["strength"] >= two["strength"] for one, two in pairwise(table["leaderboard"]))
    assert table["leaderboard"][0]["votes"] == 8
    assert "leaderboard" not in compare_pairs([*rows("a", ["x"]), *rows("b", ["xx"])], Longer(), samples=100)


def test_weights_count_as_they_are() -> None:
    ballots = [Ballot(prompt=n, a="new", b="old", win_a=weight) for n, weight in enumerate((1.0, 0.75, 0.5, 0.0))]
    row = Tally(models=["old", "new"], samples=100).wins(ballots)[0]
    assert (row["win_rate"], row["ties"]) == (2.25 / 4, 1)


def test_use_cases_are_tested_with_holms_correction_over_the_use_cases_of_a_pair() -> None:
    ballots = [Ballot(prompt=("one", n), a="new", b="old", win_a=1.0, use_case="one") for n in range(7)]
    ballots += [Ballot(prompt=("two", n), a="old", b="new", win_a=1.0, use_case="two") for n in range(5)]
    groups = Tally(models=["old", "new"], samples=100).use_cases(ballots)
    one, two = groups["one"]["wins"][0], groups["two"]["wins"][0]
    # two-sided sign tests of 7 and 5 prompts: 2 / 128 and 2 / 32; Holm doubles the smaller
    assert (one["p"], one["p_holm"], one["significant"]) == (2 / 128, 4 / 128, True)
    assert (two["p"], two["p_holm"], two["significant"]) == (2 / 32, 2 / 32, False)


def test_cohorts_are_told_apart_and_both_bad_is_counted_in_every_row() -> None:
    def vote(n: int, labeler: str, cohort: str, winner: str) -> dict[str, Any]:
        return {"prompt": f"p{n}", "model_a": "old", "model_b": "new", "winner": winner, "labeler": labeler, "cohort": cohort}

    given = [
        vote(0, "L1", "training", "b"),
        vote(1, "L1", "training", "both_bad"),
        vote(0, "H1", "heldout", "a"),
        vote(1, "H2", "heldout", "a"),
    ]
    table = compare_votes(read_votes(given), samples=100)
    assert win(table["cohorts"]["training"], "new", "old")["win_rate"] == 0.75
    assert win(table["cohorts"]["heldout"], "new", "old")["win_rate"] == 0
    assert (table["cohorts"]["heldout"]["n_labelers"], table["cohorts"]["heldout"]["n_prompts"]) == (2, 2)
    assert list(table["cohorts"]) == ["training", "heldout"]
    # held-out 0 minus training 3/4, on both prompts
    assert table["cohort_differences"][0]["value"] == -0.75
    assert win(table, "new", "old")["both_bad"] == 0.25
    assert "cohorts" not in compare_votes(read_votes(given[:2]), samples=100)


def test_from_five_labelers_on_the_table_says_what_other_labelers_would_do_to_it() -> None:
    def votes(labelers: int) -> list[dict[str, Any]]:
        # everybody prefers the new model but L0, who votes on every prompt too
        return [
            {"prompt": f"p{n}", "model_a": "old", "model_b": "new", "winner": "b" if who else "a", "labeler": f"L{who}"}
            for n in range(6)
            for who in range(labelers)
        ]

    row = compare_votes(read_votes(votes(5)), samples=100)["labelers_matter"][0]
    assert (row["a"], row["win_rate"], row["labelers"]) == ("new", 0.8, 5)
    assert (row["without"]["labeler"], row["without"]["win_rate"]) == ("L0", 1.0)
    assert row["low"] < 0.5, "four people against one leave open what people in general think"
    assert "labelers_matter" not in compare_votes(read_votes(votes(4)), samples=100)


def test_length_control_needs_texts_and_is_seen_from_the_later_model() -> None:
    texts = {"completion_a": "short", "completion_b": "a good deal longer"}
    given = [{"prompt": f"p{n}", "model_a": "old", "model_b": "new", "winner": "b" if n else "a", **texts} for n in range(4)]
    row = compare_votes(read_votes(given), samples=100)["length_controlled"][0]
    assert (row["a"], row["b"], row["longer"], row["extrapolated"]) == ("new", "old", 1.0, True)
    bare = [{key: value for key, value in one.items() if key not in texts} for one in given]
    assert "length_controlled" not in compare_votes(read_votes(bare), samples=100)


def test_ratings_in_a_file_of_votes_make_means_by_model() -> None:
    given = [
        {"prompt": "p", "model_a": "old", "model_b": "new", "winner": "b", "likert_a": 3, "likert_b": 6},
        {"prompt": "q", "model_a": "new", "model_b": "old", "winner": "a", "likert_a": 7, "likert_b": 4},
    ]
    likert = compare_votes(read_votes(given), samples=100)["likert"]
    assert (likert["old"]["value"], likert["new"]["value"], likert["new"]["n"]) == (3.5, 6.5, 2)
    with pytest.raises(DataError, match="likert_a: 8 is no number from 1 to 7"):
        read_votes([{**given[0], "likert_a": 8}])


def test_verdicts_read_back_as_votes_give_the_same_win_rate() -> None:
    everything = [*rows("old", ["a", "aaa", "aa", "a"]), *rows("new", ["bb", "bb", "bb", "bb"])]
    table = compare_pairs(everything, Longer(), samples=100)
    again = compare_votes(read_votes(pair_verdicts(everything, Longer())), samples=100)
    assert win(again, "new", "old")["win_rate"] == win(table, "new", "old")["win_rate"]
    assert again["positions"] == table["positions"]


def test_too_few_verdicts_and_impossible_ones_are_refused() -> None:
    class Lazy:
        def vote(self, prompts: Sequence[Prompt], firsts: Sequence[str], seconds: Sequence[str], /) -> list[PairVerdict]:
            return []

    with pytest.raises(DataError, match="0 verdicts for 1 pairs"):
        compare_pairs([*rows("a", ["x"]), *rows("b", ["y"])], Lazy())
    with pytest.raises(DataError, match=r"must be in \[0, 1\], got 2"):
        PairVerdict(win_first=2)
