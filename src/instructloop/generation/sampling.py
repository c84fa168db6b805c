"""Drawing tokens: one uniform number per row and position, and the inverse of the cumulative distribution."""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from instructloop.config import SamplingConfig


class Draw(NamedTuple):
    """Sampled tokens and how the model's own distribution saw them."""

    tokens: Int[Tensor, "B"]
    logprobs: Float[Tensor, "B"]
    entropies: Float[Tensor, "B"]


def row_noise(seed: int, rows: range | list[int], columns: int) -> Float[Tensor, "B columns"]:
    """Uniform numbers in [0, 1), float64. Row r comes from a counter-based stream keyed (seed, r): it is the same in any batch.

    A longer row starts with the shorter one, so a rollout with more room begins alike.
    """
    noise = np.empty((len(rows), columns))
    for place, row in enumerate(rows):
        key = np.array([seed % 2**64, row], dtype=np.uint64)
        noise[place] = np.random.Generator(np.random.Philox(key=key)).random(columns)
    return torch.from_numpy(noise)


def draw(
    logits: Float[Tensor, "B V"], noise: Float[Tensor, "B"], sampling: SamplingConfig, forbidden: Int[Tensor, "F"] | None = None
) -> Draw:
    """Sample one token a row; temperature 0 takes the most likely one.

    NOTE: log-probabilities and entropies are those of the model's distribution at the temperature, before forbidden tokens,
    top-k and top-p are taken out, because rescoring gives these. For a forbidden PAD the difference is its own tiny
    probability; PPO refuses top-k and top-p.

    Args:
        logits: raw logits.
        noise: uniform numbers, one a row.
        sampling: temperature, top-k, top-p.
        forbidden: token ids that are never drawn.
    """
    scaled = logits.float()
    if sampling.temperature not in {0, 1}:
        scaled = scaled / sampling.temperature
    logprobs = torch.log_softmax(scaled, dim=-1)
    probabilities = logprobs.exp()
    entropies = -(probabilities * logprobs).sum(-1)
    if forbidden is not None:
        probabilities[:, forbidden] = 0
    if sampling.temperature == 0:
        if forbidden is not None:
            scaled = scaled.index_fill(1, forbidden, -torch.inf)
        tokens = scaled.argmax(-1)
    else:
        tokens = _invert(_truncate(probabilities, sampling), noise)
    return Draw(tokens, logprobs.gather(1, tokens[:, None]).squeeze(1), entropies)


def _invert(probabilities: Float[Tensor, "B V"], noise: Float[Tensor, "B"]) -> Int[Tensor, "B"]:
    """The first token whose cumulative probability exceeds noise * total; tokens of probability 0 are never it."""
    cumulative = probabilities.cumsum(-1, dtype=torch.float64)
    # noise < 1, but its product with the total may round up to the total, past which there is no token
    target = (noise[:, None] * cumulative[:, -1:]).minimum(cumulative[:, -1:] * (1 - 2**-52))
    return torch.searchsorted(cumulative, target, right=True).squeeze(1)


def _truncate(probabilities: Float[Tensor, "B V"], sampling: SamplingConfig) -> Float[Tensor, "B V"]:
    """Zero all but the top k tokens and all but the smallest set of probability top_p."""
    if not sampling.truncated:
        return probabilities
    ordered, order = probabilities.sort(dim=-1, descending=True, stable=True)
    keep = torch.ones_like(ordered, dtype=torch.bool)
    if sampling.top_k > 0:
        keep[:, sampling.top_k :] = False
    if sampling.top_p < 1:
        total = ordered.sum(-1, keepdim=True)
        keep &= ordered.cumsum(-1) - ordered < sampling.top_p * total  # the token that crosses the border stays
    return torch.zeros_like(probabilities).scatter(1, order, ordered * keep)
