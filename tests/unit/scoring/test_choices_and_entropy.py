"""Choosing by likelihood or by what an answer names, and the entropy of a pair of sentences."""

import gzip
import json
import math
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instructloop.core.errors import DataError
from instructloop.scoring.choices import accuracy, byte_lengths, contained, letter, pick
from instructloop.scoring.entropy import mean_entropy, pair_entropy, preference


def test_the_option_with_the_highest_mean_log_probability_per_token_is_picked() -> None:
    logprobs, tokens = [-6.0, -8.0, -5.0], [2, 4, 1]  # per token: -3, -2, -5
    assert pick(logprobs, tokens) == 1
    assert pick(logprobs, norm="sum") == 2
    assert pick(logprobs, byte_lengths(["ab", "abcd", "é日"]), norm="bytes") == 2  # -3, -2, -1: é takes two bytes, 日 three
    assert pick([-1.0, -1.0], [1, 1]) == 0


def test_log_probabilities_that_cannot_be_compared_are_refused() -> None:
    for logprobs, lengths in (([], []), ([math.nan, -1.0], [1, 1]), ([-1.0, -2.0], [1]), ([-1.0, -2.0], [1, 0])):
        with pytest.raises(DataError):
            pick(logprobs, lengths)
    assert pick([-math.inf, -3.0], [1, 1]) == 1  # an impossible option is never the answer, and no error


def test_an_answer_that_names_no_option_is_wrong() -> None:
    assert accuracy([0, None, 2, 1], [0, 1, 2, 2]) == 0.5
    with pytest.raises(DataError, match="1 picks for 2 answers"):
        accuracy([0], [0, 1])


def test_the_option_named_first_counts_whole_words_in_any_case() -> None:
    options = ["Yes", "No"]
    assert contained("no, yes would be wrong", options) == 1
    assert contained("Nobody knows, notably", options) is None
    assert contained("It lies in the NORTH SEA.", ["North", "North Sea"]) == 1
    assert contained("", options) is None
    assert contained("anything", [""]) is None


@pytest.mark.parametrize(
    ("text", "chosen"),
    [
        ("B", 1),
        (" (c) garden", 2),
        ("A. tin", 0),
        ("Answer: D", 3),
        ("the correct answer is b.", 1),
        ("A dog", None),
        ("Because", None),
        ("E)", None),
    ],
)
def test_a_letter_is_read_only_where_it_stands_for_an_option(text: str, chosen: int | None) -> None:
    assert letter(text, 4) == chosen


def test_entropy_of_equal_sentences_is_one_bit_and_of_a_sure_one_nothing() -> None:
    assert pair_entropy(-30.0, -30.0) == 1.0
    # P = (3/4, 1/4): H = 2 - 3/4 log2 3
    assert pair_entropy(math.log(3) - 50, -50) == pytest.approx(2 - 0.75 * math.log2(3), abs=1e-12)
    assert pair_entropy(-1000.0, -10000.0) == 0.0
    # far apart there is no cancellation: H is about (d + 1) exp(-d) nats
    assert pair_entropy(0.0, -60.0) == pytest.approx(61 * math.exp(-60) / math.log(2), rel=1e-9)
    with pytest.raises(DataError, match="finite"):
        pair_entropy(-math.inf, -1.0)


@given(st.floats(-500, 0), st.floats(-500, 0))
def test_entropy_lies_between_0_and_1_and_does_not_depend_on_the_order(a: float, b: float) -> None:
    assert pair_entropy(a, b) == pair_entropy(b, a)
    assert 0 <= pair_entropy(a, b) <= 1
    assert preference(a, b) + preference(b, a) == pytest.approx(1)


def test_entropy_of_crows_pairs_equals_a_hand_computation_with_a_unigram_model(shared: Path) -> None:
    """Probabilities as exact fractions from word counts, and H = -sum P log2 P written out."""
    with gzip.open(shared / "data" / "bias" / "crows_pairs.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file][:40]
    words = [word for row in rows for side in ("more", "less") for word in row[side].split()]
    counts = {word: words.count(word) for word in set(words)}
    pairs, by_hand = [], []
    for row in rows:
        chances = [
            math.prod((Fraction(counts[word], len(words)) for word in row[side].split()), start=Fraction(1)) for side in ("more", "less")
        ]
        shares = [float(chance / sum(chances)) for chance in chances]
        by_hand.append(-sum(share * math.log2(share) for share in shares))
        pairs.append(
            (
                sum(math.log(counts[w] / len(words)) for w in row["more"].split()),
                sum(math.log(counts[w] / len(words)) for w in row["less"].split()),
            )
        )
    assert [pair_entropy(*pair) for pair in pairs] == pytest.approx(by_hand, abs=1e-9)
    assert mean_entropy(pairs) == pytest.approx(sum(by_hand) / len(rows), abs=1e-9)
    with pytest.raises(DataError, match="no pairs"):
        mean_entropy([])
