"""Variety of texts, by hand and against sacrebleu."""

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instructloop.core.errors import DataError
from instructloop.scoring.diversity import (
    distinct_n,
    longest_repeat,
    mode_share,
    ngram_entropy,
    repetition,
    self_bleu,
    truncated,
)


def test_distinct_n_counts_different_runs_of_words() -> None:
    texts = ["a b a b", "a b c"]  # ab ba ab | ab bc: 3 different of 5
    assert distinct_n(texts, 2) == pytest.approx(3 / 5)
    assert distinct_n(texts, 1) == pytest.approx(3 / 7)
    assert distinct_n(["one"], 2) == 0
    assert distinct_n([], 2) == 0


def test_entropy_of_equal_shares_is_the_logarithm_of_their_number() -> None:
    assert ngram_entropy(["a b", "c d", "e f", "g h"], 2) == pytest.approx(2)
    assert ngram_entropy(["a b", "a b", "c d", "e f"], 2) == pytest.approx(1.5)  # 1/2, 1/4, 1/4
    assert ngram_entropy(["a b", "a b"], 2) == 0
    assert ngram_entropy([], 2) == 0


def test_the_mode_is_the_most_frequent_text() -> None:
    assert mode_share(["yes", "yes ", "no", "maybe"]) == 0.5
    assert mode_share(["a"]) == 1
    assert mode_share([]) == 0


def test_a_loop_repeats_itself_and_a_sentence_does_not() -> None:
    assert repetition("the cat sat on the mat") == 0
    assert repetition("a b c d a b c d") == pytest.approx(1 / 5)  # abcd bcda cdab dabc abcd
    assert repetition("go " * 100) == pytest.approx(96 / 97)
    assert repetition("short") == 0


@pytest.mark.parametrize(("text", "words"), [("a b c a b d", 2), ("a b c", 0), ("x x x x", 3), ("", 0), ("a", 0), ("a b a", 1)])
def test_the_longest_repeat(text: str, words: int) -> None:
    assert longest_repeat(text) == words


@given(st.lists(st.sampled_from("abc"), max_size=25))
def test_the_longest_repeat_equals_a_search_of_all_runs(words: list[str]) -> None:
    runs = Counter(tuple(words[start:end]) for start in range(len(words)) for end in range(start + 1, len(words) + 1))
    assert longest_repeat(" ".join(words)) == max((len(run) for run, count in runs.items() if count > 1), default=0)


def test_truncation_is_the_share_that_did_not_end() -> None:
    assert truncated([True, True, False, True]) == 0.25
    assert truncated([]) == 0


def test_self_bleu_by_hand() -> None:
    # each text against the other: 1-grams 2/3; 2-grams (1+1)/(2+1); 3-grams (0+1)/(1+1); equal lengths, so no brevity penalty
    expected = math.exp((math.log(2 / 3) + math.log(2 / 3) + math.log(1 / 2)) / 3)
    assert self_bleu(["a b c", "a b d"]) == pytest.approx(expected)
    assert self_bleu(["a b c d e", "a b c d e"]) == pytest.approx(1)
    assert self_bleu(["a b c", "d e f"]) == 0


def test_self_bleu_equals_sacrebleu() -> None:
    bleu = pytest.importorskip("sacrebleu.metrics", reason="the extra evaluation brings sacrebleu").BLEU(
        effective_order=True, smooth_method="add-k", smooth_value=1, tokenize="none"
    )
    texts = [
        "the cat sat on the mat and looked at the dog",
        "the dog sat on the mat and looked at the cat",
        "a cat sat there on a red mat",
        "nobody sat on the mat",
        "the cat",
        "the cat sat on the mat and then it slept on the mat again",
    ]
    scores = [bleu.sentence_score(text, texts[:index] + texts[index + 1 :]).score / 100 for index, text in enumerate(texts)]
    assert self_bleu(texts) == pytest.approx(sum(scores) / len(scores), abs=1e-9)


def test_self_bleu_of_many_texts_looks_at_a_seeded_sample() -> None:
    texts = [f"word{index} and word{index % 7} go home" for index in range(60)]
    assert self_bleu(texts, limit=20, seed=1) == self_bleu(texts, limit=20, seed=1)
    assert self_bleu(texts, limit=20, seed=1) != self_bleu(texts, limit=20, seed=2)


def test_self_bleu_of_one_text_is_refused() -> None:
    with pytest.raises(DataError, match="got 1 with words"):
        self_bleu(["one text", "  "])
