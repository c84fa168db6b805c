"""The decoding loop: prompts in, one token a row and step out, finished rows retired on the way."""

import inspect
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import Cache, PreTrainedModel

from instructloop.config import SamplingConfig
from instructloop.generation.kv_cache import new_cache, rearrange
from instructloop.generation.sampling import Draw, draw
from instructloop.models import device_of, trunk_and_head

RETIRE_BELOW = 0.8
"""Rows are moved together when fewer than this share of them still runs; moving them at every end would cost more."""


class Step(NamedTuple):
    """One position: ``draw`` holds a token for each row of ``rows``, some of which may have ended before (``alive`` False)."""

    position: int
    rows: Tensor
    alive: Tensor
    draw: Draw


class Decoder:
    """Decodes a set of rows together, left-padded, so that all write the same column of the cache.

    Args:
        model: the causal LM, in evaluation mode.
        prompts: distinct prompts as ids; each is read once.
        prompt_of: for each row the index of its prompt.
        noise: [rows, columns] uniform numbers; row r at position t is drawn with ``noise[r, t]``.
        sampling: how to draw.
        forbidden: ids that are never drawn.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        prompts: Sequence[Sequence[int]],
        prompt_of: Sequence[int],
        noise: Tensor,
        sampling: SamplingConfig,
        forbidden: Sequence[int] = (),
    ) -> None:
        self.model, self.sampling = model, sampling
        self.device = device_of(model)
        self.prompts = prompts
        self.prompt_of = torch.tensor(prompt_of, device=self.device)
        self.noise = noise.to(self.device)
        self.forbidden = torch.tensor(sorted(forbidden), device=self.device) if forbidden else None
        self.alive = torch.ones(len(prompt_of), dtype=torch.bool, device=self.device)
        self._parts = trunk_and_head(model)
        accepted = inspect.signature((self._parts.trunk if self._parts else model).forward).parameters
        self._cache_name = "past_key_values" if "past_key_values" in accepted else "cache_params"
        self._takes_positions = "position_ids" in accepted
        self._keeps_logits = "logits_to_keep" in accepted

    def steps(self) -> Iterator[Step]:
        """Sample position after position. Between steps the caller sets ``alive[row] = False`` for rows that ended."""
        longest = max(map(len, self.prompts))
        capacity = longest + self.sampling.max_new_tokens - 1  # the last token is never read again
        padding = torch.tensor([longest - len(prompt) for prompt in self.prompts], device=self.device)
        logits, cache = self._read_prompts(longest, padding)
        rows = torch.arange(len(self.prompt_of), device=self.device)
        logits, padding = logits[self.prompt_of], padding[self.prompt_of]
        rearrange(cache, self.prompt_of, capacity)
        columns = torch.arange(capacity, device=self.device)
        mask = (columns >= padding[:, None]).long() if bool(padding.any()) else None
        for position in range(self.sampling.max_new_tokens):
            drawn = draw(logits, self.noise[rows, position], self.sampling, self.forbidden)
            yield Step(position, rows, self.alive[rows], drawn)
            tokens, going = drawn.tokens, self.alive[rows]
            left = int(going.sum())
            if left == 0 or position + 1 == self.sampling.max_new_tokens:
                return
            if left < RETIRE_BELOW * len(rows):
                kept = going.nonzero()[:, 0]
                rows, tokens, padding = rows[kept], tokens[kept], padding[kept]
                mask = None if mask is None else mask[kept]
                rearrange(cache, kept, capacity)
            column = longest + position
            logits = self._forward(
                tokens[:, None],
                cache,
                None if mask is None else mask[:, : column + 1],
                (column - padding)[:, None],
            )

    def _read_prompts(self, longest: int, padding: Tensor) -> tuple[Tensor, Cache]:
        """The distinct prompts in one pass: logits after each, and their keys and values."""
        ids = torch.tensor([[prompt[0]] * (longest - len(prompt)) + list(prompt) for prompt in self.prompts], device=self.device)
        places = torch.arange(longest, device=self.device) - padding[:, None]
        mask = (places >= 0).long() if bool(padding.any()) else None
        cache = new_cache(self.model.config, longest)
        return self._forward(ids, cache, mask, places.clamp(min=0)), cache

    def _forward(self, ids: Tensor, cache: Cache, mask: Tensor | None, positions: Tensor) -> Tensor:
        """Logits after the last column of ``ids``. Without padding no mask is passed, which lets attention take its fast path."""
        inputs: dict[str, Any] = {"input_ids": ids, "attention_mask": mask, self._cache_name: cache, "use_cache": True}
        if self._takes_positions:
            inputs["position_ids"] = positions
        if self._parts is not None:
            return self._parts.head(self._parts.trunk(**inputs).last_hidden_state[:, -1])
        if self._keeps_logits:
            inputs["logits_to_keep"] = 1
        return self.model(**inputs).logits[:, -1]
