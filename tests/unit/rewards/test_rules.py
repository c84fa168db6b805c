"""Rules score what they say they score."""

import pytest

from instructloop.core.errors import ConfigError
from instructloop.rewards import contains, length_band, rewards, sentiment, token_count


def test_length_band_is_one_inside_and_falls_with_each_token_outside(rollouts) -> None:
    # completions of 1 + EOS, 3 + EOS and 6 + EOS tokens; the band is 3..5
    scores = length_band(3, 5, slope=0.25)(rollouts(["a", "abc", "abcdef"])).scores
    assert scores.tolist() == [0.75, 1.0, 0.5]


def test_contains_looks_for_whole_words_in_any_case(rollouts) -> None:
    scores = contains("cat")(rollouts(["A Cat.", "concatenate", "cats", "dog cat"])).scores
    assert scores.tolist() == [1.0, 0.0, 0.0, 1.0]


def test_contains_counts_up_to_its_limit(rollouts) -> None:
    texts = rollouts(["cat", "cat cat cat", "dog"])
    assert contains("cat", count=True)(texts).scores.tolist() == [1.0, 3.0, 0.0]
    assert contains("cat", count=True, limit=2)(texts).scores.tolist() == [1.0, 2.0, 0.0]


def test_contains_finds_words_that_end_in_a_sign(rollouts) -> None:
    assert contains("C++")(rollouts(["I like C++ most", "C+"])).scores.tolist() == [1.0, 0.0]


def test_token_count_counts_completion_tokens_and_single_ids(rollouts) -> None:
    texts = rollouts(["aba", "bb"], prompt="aaaa", ended=[True, False])
    assert token_count()(texts).scores.tolist() == [4.0, 2.0]
    a = int(texts.batch.completion_tokens[0, 0])
    assert token_count(a, per_token=0.5)(texts).scores.tolist() == [1.0, 0.0]  # the prompt's own a's do not count


def test_padding_that_equals_the_counted_token_is_not_counted(rollouts) -> None:
    texts = rollouts(["abcdef", "a"])
    pad = int(texts.batch.tokens[1, -1])
    assert token_count(pad)(texts).scores.tolist() == [0.0, 0.0]


def test_sentiment_ranks_bright_over_neutral_over_dark(rollouts) -> None:
    pytest.importorskip("vaderSentiment")
    bright, neutral, dark = sentiment()(rollouts(["I love this happy day", "The door is brown", "He was sad and hated it"])).scores.tolist()
    assert 1 >= bright > 0.5
    assert neutral == 0.0
    assert -1 <= dark < -0.5


def test_sentiment_can_read_the_prompt_too(rollouts) -> None:
    pytest.importorskip("vaderSentiment")
    texts = rollouts(["The door is brown"], prompt="I love happy days. ")
    assert sentiment()(texts).scores.item() == 0.0
    assert sentiment(with_prompt=True)(texts).scores.item() > 0.5


@pytest.mark.parametrize(
    ("name", "args"),
    [("length_band", {"low": 5, "high": 2}), ("length_band", {"low": 0, "high": 2, "slope": -1}), ("contains", {"word": " "})],
)
def test_senseless_arguments_are_refused(name: str, args: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=name):
        rewards.build(name, args)


def test_an_unknown_reward_names_its_nearest_neighbour() -> None:
    with pytest.raises(ConfigError) as caught:
        rewards.build("contain", {"word": "x"})
    assert caught.value.hint == "did you mean 'contains'?"


def test_every_built_in_reward_says_what_it_is() -> None:
    described = rewards.describe()
    assert set(described) >= {"model", "length_band", "contains", "token_count", "sentiment", "python", "mix"}
    assert all(described.values())
