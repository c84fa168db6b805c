"""Completions to rank: different from each other, from every model in turn, and nothing dropped without being counted."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instructloop.config import SampleConfig
from instructloop.core.errors import ConfigError
from instructloop.core.records import Prompt
from instructloop.recipes.sample import distinct_row

PROMPT = Prompt(prompt="ask", meta={"use_case": "chat"})


def test_identical_and_empty_completions_are_dropped_and_counted() -> None:
    counts: Counter[str] = Counter()
    row = distinct_row(PROMPT, [["a", "a ", "", "b", "c", "d"]], ["m"], 3, counts)
    assert row == {"prompt": "ask", "use_case": "chat", "completions": ["a", "b", "c"], "models": ["m", "m", "m"]}
    assert counts == {"drawn": 6, "identical": 1, "empty": 1}


def test_models_take_turns() -> None:
    row = distinct_row(PROMPT, [["a1", "a2", "a3"], ["b1", "a2", "b3"]], ["a", "b"], 4, Counter())
    assert row is not None
    assert list(zip(row["completions"], row["models"], strict=True)) == [("a1", "a"), ("b1", "b"), ("a2", "a"), ("a3", "a")]


def test_a_prompt_with_one_answer_only_is_left_out_and_counted() -> None:
    counts: Counter[str] = Counter()
    assert distinct_row(PROMPT, [["yes", "yes", "yes"]], ["m"], 4, counts) is None
    assert counts["too_few_distinct"] == 1


@given(st.lists(st.sampled_from(["a", "b", "c", "d", " a", ""]), min_size=1, max_size=14), st.integers(2, 9))
def test_what_is_kept_and_what_is_counted_add_up(drawn: list[str], k: int) -> None:
    counts: Counter[str] = Counter()
    row = distinct_row(PROMPT, [drawn], ["m"], k, counts)
    distinct = len({text.strip() for text in drawn} - {""})
    assert counts["drawn"] == len(drawn)
    if row is None:
        assert distinct < 2
        return
    kept = row["completions"]
    assert len(kept) == len(set(kept)) == min(k, distinct)
    assert "" not in kept


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"min_completions": 1}, "min_completions must be >= 2"),
        ({"min_completions": 9, "max_completions": 4}, "below min_completions"),
        ({"draws": 3}, "below max_completions"),
    ],
)
def test_impossible_numbers_are_refused(changes: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SampleConfig(**changes)  # type: ignore[arg-type]


def test_by_default_a_third_more_is_drawn_than_the_largest_k() -> None:
    assert SampleConfig().samples_per_prompt == 12
