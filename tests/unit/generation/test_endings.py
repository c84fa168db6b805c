"""When a completion has ended: one rule for every engine. Ids of the byte tokenizer: PAD 0, BOS 1, EOS 2, turn marker 3."""

import pytest

from instructloop.config import SamplingConfig
from instructloop.core.errors import ConfigError, DataError
from instructloop.data import TextCodec
from instructloop.generation.endings import Endings, check_room, row_limits
from instructloop.testing import tiny_codec, tiny_tokenizer


def spelled(text: str) -> list[int]:
    return tiny_codec().encode_completion(text)[:-1]


def endings(*stop: str) -> Endings:
    return Endings(tiny_codec(), SamplingConfig(stop=stop))


def test_without_stop_texts_only_the_end_token_ends() -> None:
    tokens = spelled("go.")
    assert endings().length(tokens) is None
    assert endings().length([*tokens, 2]) == 4
    assert endings().length([2, *tokens]) == 1


def test_a_completion_ends_in_the_token_that_completes_a_stop_text() -> None:
    """``on. s`` lies across six tokens: the end is the token of its last letter."""
    tokens = spelled("go on. stop")
    assert endings("on. s").length(tokens) == 8
    assert endings("?").length(tokens) is None
    assert endings("op", ".").length(tokens) == 6


def test_a_stop_text_far_down_a_long_completion_is_found_in_its_own_token() -> None:
    """500 letters before it, one of them of three bytes right in front."""
    tokens = spelled("x" * 500 + "€END")
    assert endings("END").length(tokens) == 500 + 3 + 3


def test_a_stop_text_that_names_a_special_token_ends_by_its_id() -> None:
    assert endings("<|turn|>").length([*spelled("a"), 3, *spelled("b")]) == 2
    assert endings().length([*spelled("a"), 3, *spelled("b")]) is None


def test_the_text_stops_before_the_first_stop_text() -> None:
    assert endings("stop", ".").text(spelled("go on. stop")) == "go on"
    assert endings("?").text([*spelled("go"), 2]) == "go"


def test_padding_is_forbidden_unless_it_is_the_end_token() -> None:
    assert endings().forbidden == (0,)
    shared = TextCodec(tiny_tokenizer(pad_is_eos=True))
    assert Endings(shared, SamplingConfig()).forbidden == ()


def test_the_context_holds_prompt_and_completion_or_says_what_would_fit() -> None:
    check_room(24, SamplingConfig(max_new_tokens=8), 32)
    with pytest.raises(ConfigError, match="25 tokens and max_new_tokens = 8 do not fit") as refused:
        check_room(25, SamplingConfig(max_new_tokens=8), 32)
    assert refused.value.hint is not None
    assert "max_new_tokens to 7" in refused.value.hint


def test_rows_without_limits_of_their_own_share_max_new_tokens() -> None:
    assert row_limits(None, 3, SamplingConfig(max_new_tokens=8)) == [8, 8, 8]
    assert row_limits([1, 8, 3], 3, SamplingConfig(max_new_tokens=8)) == [1, 8, 3]


@pytest.mark.parametrize("limits", [[1, 2], [0, 1, 2], [1, 2, 9]])
def test_limits_that_fit_neither_rows_nor_maximum_are_refused(limits: list[int]) -> None:
    with pytest.raises(DataError, match=r"3 numbers of 1\.\.8"):
        row_limits(limits, 3, SamplingConfig(max_new_tokens=8))
