"""The decoding loop for any model: left-padded rows that all write the same column, retired as they end.

What cannot decode over slots (``refilling``) decodes here: recurrent layers, sliding windows, unusual caches.
"""

from collections.abc import Iterator

import torch
from jaxtyping import Bool
from torch import Tensor
from transformers import Cache

from instructloop.generation.kv_cache import new_cache, rearrange
from instructloop.generation.library import Library
from instructloop.generation.requests import Request, SeenTokens, Step
from instructloop.generation.sampling import draw, row_noise
from instructloop.models import device_of

RETIRE_BELOW = 0.8
"""Rows are moved together when fewer than this share of them still runs; moving them at every end would cost more."""


class PaddedDecoder:
    """Decodes a set of rows together.

    Args:
        library: the model, in evaluation mode.
        request: what to decode.
    """

    def __init__(self, library: Library, request: Request) -> None:
        self._library, self._request = library, request
        self._device = device_of(library.model)
        self._rows = torch.arange(len(request.prompt_of), device=self._device)
        self._going = torch.ones(len(request.prompt_of), dtype=torch.bool, device=self._device)
        self._shown = torch.zeros(0, dtype=torch.long)

    def steps(self) -> Iterator[Step]:
        """Sample until every row has ended."""
        request, device = self._request, self._device
        prompt_of = torch.tensor(request.prompt_of, device=device)
        longest = max(map(len, request.prompts))
        capacity = longest + request.sampling.max_new_tokens - 1  # the last token is never read again
        padding = torch.tensor([longest - len(prompt) for prompt in request.prompts], device=device)
        logits, cache = self._read_prompts(longest, padding)
        logits, padding = logits[prompt_of], padding[prompt_of]
        rearrange(cache, prompt_of, capacity)
        columns = torch.arange(capacity, device=device)
        mask = (columns >= padding[:, None]).long() if bool(padding.any()) else None
        noise = row_noise(request.seed, list(request.streams), request.sampling.max_new_tokens).to(device)
        forbidden, seen = request.forbidden_on(device), SeenTokens(request.sampling)
        count = len(prompt_of)
        seen.start(range(count), [request.prompts[prompt] for prompt in request.prompt_of], count, logits.shape[1], device)
        for position in range(request.sampling.max_new_tokens):
            drawn = draw(logits, noise[self._rows, position], request.sampling, forbidden, seen.of(len(self._rows)))
            seen.add(drawn.tokens)
            self._shown = self._going.nonzero()[:, 0]
            chosen = type(drawn)(*(one[self._shown] for one in drawn))
            yield Step(self._rows[self._shown], torch.full_like(self._shown, position), chosen)
            tokens, left = drawn.tokens, int(self._going.sum())
            if left == 0:
                return
            if left < RETIRE_BELOW * len(self._rows):
                kept = self._going.nonzero()[:, 0]
                self._rows, self._going, tokens, padding = self._rows[kept], self._going[kept], tokens[kept], padding[kept]
                mask = None if mask is None else mask[kept]
                seen.move(kept, torch.arange(left, device=device))
                rearrange(cache, kept, capacity)
            column = longest + position
            seen_columns = None if mask is None else mask[:, : column + 1]
            logits = self._library.logits(tokens[:, None], cache, seen_columns, (column - padding)[:, None])

    def retire(self, ended: Bool[Tensor, "n"]) -> None:
        """Rows of the last step that are complete."""
        self._going[self._shown[ended]] = False

    def _read_prompts(self, longest: int, padding: Tensor) -> tuple[Tensor, Cache]:
        """The distinct prompts in one pass: logits after each, and their keys and values."""
        prompts = self._request.prompts
        ids = torch.tensor([[prompt[0]] * (longest - len(prompt)) + list(prompt) for prompt in prompts], device=self._device)
        places = torch.arange(longest, device=self._device) - padding[:, None]
        mask = (places >= 0).long() if bool(padding.any()) else None
        cache = new_cache(self._library.model.config, longest)
        return self._library.logits(ids, cache, mask, places.clamp(min=0)), cache
