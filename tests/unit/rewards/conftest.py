"""Rollouts built by hand from texts: one token a byte, so that lengths can be counted."""

from collections.abc import Callable, Sequence

import pytest
import torch

from instructloop.core.records import Prompt
from instructloop.data import TokenSequence, collate
from instructloop.generation.rollouts import FinishReason, Rollouts
from instructloop.testing import tiny_codec

MakeRollouts = Callable[..., Rollouts]


@pytest.fixture
def rollouts() -> MakeRollouts:
    codec = tiny_codec()

    def make(completions: Sequence[str], *, prompt: str = "Hi", ended: Sequence[bool] | None = None) -> Rollouts:
        stops = [True] * len(completions) if ended is None else list(ended)
        sequences = []
        for text, stop in zip(completions, stops, strict=True):
            head = codec.encode_prompt(prompt)
            tail = codec.encode_completion(text) if text else [codec.eos_id]
            ids = head + (tail if stop else tail[:-1])
            sequences.append(TokenSequence(tuple(ids), len(head)))
        batch = collate(sequences, codec.pad_id)
        return Rollouts(
            batch=batch,
            logprobs=torch.zeros(batch.completion_mask.shape),
            entropies=None,
            finish_reasons=tuple(FinishReason.STOP if stop else FinishReason.LENGTH for stop in stops),
            prompts=tuple(Prompt(prompt=prompt) for _ in completions),
            completions=tuple(completions),
        )

    return make
