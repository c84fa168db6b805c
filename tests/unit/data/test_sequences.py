"""Token batches: masks come from lengths alone, so PAD = EOS (T1) and empty completions (T10) do no harm."""

import pytest
import torch

from instructloop.core.errors import DataError
from instructloop.data.sequences import TokenBatch, TokenSequence, collate

ROWS = [TokenSequence((5, 6, 7, 8, 2), 2), TokenSequence((9, 2), 1), TokenSequence((4, 4, 4), 3)]


def test_rows_are_padded_on_the_right() -> None:
    batch = collate(ROWS, pad_id=0)
    assert batch.tokens.tolist() == [[5, 6, 7, 8, 2], [9, 2, 0, 0, 0], [4, 4, 4, 0, 0]]
    assert batch.lengths.tolist() == [5, 2, 3]
    assert batch.tokens.dtype == torch.int64


def test_completion_aligned_matrices_follow_the_lengths() -> None:
    batch = collate(ROWS, pad_id=0)
    assert batch.completion_lengths.tolist() == [3, 1, 0]
    assert batch.completion_mask.tolist() == [[True, True, True], [True, False, False], [False, False, False]]
    assert batch.completion_tokens[batch.completion_mask].tolist() == [7, 8, 2, 2]
    assert batch.last_positions.tolist() == [4, 1, 2]


@pytest.mark.parametrize("pad", [0, 2, 7])
def test_no_mask_depends_on_the_filler(pad: int) -> None:
    """T1 and T8: filler 2 is the end token, 7 a token of a prompt, 0 falsy."""
    batch, reference = collate(ROWS, pad_id=pad), collate(ROWS, pad_id=99)
    assert torch.equal(batch.attention_mask, reference.attention_mask)
    assert torch.equal(batch.completion_mask, reference.completion_mask)
    assert torch.equal(batch.completion_tokens, reference.completion_tokens)


def test_an_empty_completion_points_at_the_last_prompt_token() -> None:
    """T10: never column -1, also where the whole batch is empty or there is no padding at all."""
    batch = collate([TokenSequence((4, 4, 4), 3), TokenSequence((4,), 1)], pad_id=0)
    assert batch.completion_positions.tolist() == [[2], [0]]
    assert batch.completion_mask.tolist() == [[False], [False]]
    full = collate([TokenSequence((4, 5), 1), TokenSequence((6, 7), 1)], pad_id=0)
    assert full.completion_positions.tolist() == [[1], [1]]


def test_select_cuts_to_the_longest_row_left() -> None:
    batch = collate(ROWS, pad_id=0).select([2, 1])
    assert batch.tokens.tolist() == [[4, 4, 4], [9, 2, 0]]
    assert batch.prompt_lengths.tolist() == [3, 1]


def test_sequences_gives_the_rows_back() -> None:
    assert collate(ROWS, pad_id=0).sequences() == ROWS


def test_to_keeps_the_values() -> None:
    moved = collate(ROWS, pad_id=0).to("cpu")
    assert isinstance(moved, TokenBatch)
    assert moved.sequences() == ROWS


@pytest.mark.parametrize(("ids", "prompt"), [((), 0), ((1, 2), 3), ((1, 2), -1)])
def test_impossible_lengths_are_refused(ids: tuple[int, ...], prompt: int) -> None:
    with pytest.raises(DataError, match="cannot have a prompt"):
        TokenSequence(ids, prompt)


def test_an_empty_batch_is_refused() -> None:
    with pytest.raises(DataError, match="at least one sequence"):
        collate([], pad_id=0)
