"""Records into sequences: nothing is cut (T3), and all that is left out is counted."""

import pytest

from instructloop.core.errors import DataError
from instructloop.core.records import Demonstration, Prompt, Ranking, Text
from instructloop.data import keep_prompts, pack_texts, tokenize_demonstrations, tokenize_rankings
from instructloop.testing import tiny_codec

CODEC = tiny_codec()
EOS = 2


def ranking(completions: list[str], ranks: list[int | None], **further: object) -> Ranking:
    return Ranking(prompt="q", completions=tuple(completions), ranks=tuple(ranks), **further)  # type: ignore[arg-type]


def test_every_target_ends_in_eos_or_is_counted() -> None:
    """T3. BOS + "ab" + "xyz" + EOS has 7 tokens, which just fits; one byte more does not and is never cut."""
    rows = [Demonstration(prompt="ab", completion="xyz"), Demonstration(prompt="ab", completion="wxyz")]
    done = tokenize_demonstrations(rows, CODEC, max_tokens=7)
    assert [len(sequence) for sequence in done.sequences] == [7]
    assert done.sequences[0].ids[-1] == EOS
    assert done.sequences[0].prompt_length == 3
    assert done.sources == (0,)
    assert done.skipped == {"over_long": 1}


def test_demonstrations_that_all_overflow_are_an_error() -> None:
    with pytest.raises(DataError, match="none of the 1 demonstrations fits into 3 tokens"):
        tokenize_demonstrations([Demonstration(prompt="ab", completion="xyz")], CODEC, max_tokens=3)


def test_over_long_prompts_are_left_out_and_counted() -> None:
    kept = keep_prompts([Prompt(prompt="abc"), Prompt(prompt="abcd")], CODEC, max_tokens=4)
    assert [prompt.prompt for prompt in kept.prompts] == ["abc"]
    assert len(kept.ids[0]) == 4
    assert kept.over_long == 1


def test_prompts_that_all_overflow_are_an_error() -> None:
    with pytest.raises(DataError, match="none of the 1 prompts"):
        keep_prompts([Prompt(prompt="abc")], CODEC, max_tokens=2)


def test_a_group_keeps_its_completions_and_dense_ranks() -> None:
    done = tokenize_rankings([ranking(["a", "b", "c"], [7, 3, 7], labeler="w1", confidence=0.5)], CODEC, max_tokens=99)
    group = done[0]
    assert group.ranks == (1, 0, 1)
    assert [CODEC.decode(sequence.completion) for sequence in group.sequences] == ["a", "b", "c"]
    assert list(group.strict_pairs()) == [(1, 0), (1, 2)]
    assert (group.labeler, group.confidence, group.k) == ("w1", 0.5, 3)
    assert done.notes == {"pairs": 2, "ties": 1}


def test_unranked_empty_and_over_long_completions_are_left_out_and_counted() -> None:
    group = ranking(["ok", "no", "skipped", " ", "x" * 50], [0, 2, None, 1, 3])
    done = tokenize_rankings([group], CODEC, max_tokens=20)
    assert done[0].ranks == (0, 1)
    assert done.notes == {"unranked": 1, "empty": 1, "over_long": 1, "pairs": 1}


def test_identical_completions_count_once_and_contradictions_not_at_all() -> None:
    done = tokenize_rankings([ranking(["a", "a", "b", "c", "c"], [0, 0, 1, 2, 3])], CODEC, max_tokens=99)
    assert [CODEC.decode(sequence.completion) for sequence in done[0].sequences] == ["a", "b"]
    assert done.notes == {"merged": 1, "conflicting": 2, "pairs": 1}


def test_groups_without_a_pair_are_kept_and_counted() -> None:
    tied = ranking(["a", "b"], [0, 0])
    refused = ranking(["a", "b"], [0, 1], none_acceptable=True)
    done = tokenize_rankings([tied, refused], CODEC, max_tokens=99)
    assert [list(group.strict_pairs()) for group in done] == [[], []]
    assert done.notes == {"no_pair": 2, "ties": 1}


def test_groups_of_fewer_than_two_are_dropped_with_their_place_kept() -> None:
    done = tokenize_rankings([ranking(["a", "x" * 50], [0, 1]), ranking(["a", "b"], [0, 1])], CODEC, max_tokens=20)
    assert done.sources == (1,)
    assert done.notes["too_small"] == 1
    with pytest.raises(DataError, match="none of the 1 rankings"):
        tokenize_rankings([ranking(["a", "x" * 50], [0, 1])], CODEC, max_tokens=20)


def test_rows_of_one_prompt_share_a_key() -> None:
    done = tokenize_rankings([ranking(["a", "b"], [0, 1]), ranking(["c", "d"], [0, 1])], CODEC, max_tokens=99)
    assert done[0].prompt_key == done[1].prompt_key


def test_documents_are_packed_end_to_end() -> None:
    """<s>ab</s> + <s>c</s> has 7 tokens: one block of 4 and 3 left over; two blocks of 3 and 1 left over."""
    stream = [*CODEC.encode_text("ab"), *CODEC.encode_text("c")]
    texts = [Text(text="ab"), Text(text="c")]
    assert pack_texts(texts, CODEC, 4).tolist() == [stream[:4]]
    assert pack_texts(["ab", "c"], CODEC, 3).tolist() == [stream[:3], stream[3:6]]


def test_too_little_text_is_a_clear_error() -> None:
    with pytest.raises(DataError, match="7 tokens in all, fewer than one block of 8"):
        pack_texts(["ab", "c"], CODEC, 8)
    with pytest.raises(DataError, match="nothing to predict"):
        pack_texts(["ab"], CODEC, 1)
