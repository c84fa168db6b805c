"""Rollouts as a value."""

import pytest
import torch

from instructloop.core.errors import DataError
from instructloop.core.records import Prompt
from instructloop.data import TokenSequence, collate
from instructloop.generation import FinishReason, Rollouts

STOP, LENGTH = FinishReason.STOP, FinishReason.LENGTH


def rollouts(*rows: tuple[int, ...]) -> Rollouts:
    """Prompt (1, 5), completions as given; log-probability of a token is minus a hundredth of its id."""
    batch = collate([TokenSequence((1, 5, *row), 2) for row in rows], 0)
    logprobs = batch.completion_tokens * batch.completion_mask / -100
    return Rollouts(
        batch=batch,
        logprobs=logprobs,
        entropies=-logprobs,
        finish_reasons=tuple(STOP if row[-1] == 2 else LENGTH for row in rows),
        prompts=tuple(Prompt(prompt=str(index)) for index in range(len(rows))),
        completions=tuple(str(row) for row in rows),
    )


def test_selecting_cuts_to_the_longest_row_kept() -> None:
    chosen = rollouts((7, 8, 9, 2), (6, 2), (5,)).select([2, 1])
    assert chosen.logprobs.tolist() == [pytest.approx([-0.05, 0]), pytest.approx([-0.06, -0.02])]
    assert chosen.mask.tolist() == [[True, False], [True, True]]
    assert chosen.ended.tolist() == [False, True]
    assert [prompt.prompt for prompt in chosen.prompts] == ["2", "1"]
    assert chosen.completions == ("(5,)", "(6, 2)")


def test_putting_parts_together_gives_the_whole_again() -> None:
    whole = rollouts((7, 8, 9, 2), (6, 2), (5,))
    again = Rollouts.concat([whole.select([0]), whole.select([1, 2])])
    assert torch.equal(again.logprobs, whole.logprobs)
    assert again.entropies is not None
    assert torch.equal(again.entropies, -whole.logprobs)
    assert again.batch.sequences() == whole.batch.sequences()
    assert (again.finish_reasons, again.prompts, again.completions) == (whole.finish_reasons, whole.prompts, whole.completions)


def test_unequal_parts_and_nothing_at_all_are_refused() -> None:
    whole = rollouts((7, 2), (6, 2))
    with pytest.raises(DataError, match="unequal"):
        Rollouts(whole.batch, whole.logprobs[:1], None, whole.finish_reasons, whole.prompts, whole.completions)
    with pytest.raises(DataError, match="no rollouts"):
        Rollouts.concat([])
