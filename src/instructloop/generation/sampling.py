"""Drawing tokens: one uniform number per row and position, and the inverse of the cumulative distribution.

The probabilities of a row are summed in blocks of 64; the block is found first, then the token inside it. That reads the
[B, V] matrix a few times and writes it once, where a cumulative sum over the vocabulary in float64 or ``torch.multinomial``
takes ten times as long.
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from instructloop.config import SamplingConfig

_BLOCK = 64
_BELOW_ONE = 1 - 2**-52


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
    logits: Float[Tensor, "B V"],
    noise: Float[Tensor, "B"],
    sampling: SamplingConfig,
    forbidden: Int[Tensor, "F"] | None = None,
    seen: Bool[Tensor, "B V"] | None = None,
) -> Draw:
    """Sample one token a row; temperature 0 takes the most likely one.

    NOTE: log-probabilities and entropies are those of the model's distribution at the temperature, before the repetition
    penalty, forbidden tokens, top-k and top-p change it, because rescoring gives these. For a forbidden PAD the difference is
    its own tiny probability; PPO refuses the others.

    Args:
        logits: raw logits; minus infinity is allowed where a row has at least one finite value.
        noise: uniform numbers, one a row.
        sampling: temperature, repetition penalty, top-k, top-p.
        forbidden: token ids that are never drawn.
        seen: True at ids that the row's prompt or completion holds already; needed by the repetition penalty alone.
    """
    scaled = logits.float()
    if sampling.temperature not in {0, 1}:
        scaled = scaled / sampling.temperature
    probabilities = torch.softmax(scaled, dim=-1)
    # ln sum exp(x) = max x - ln max p, where the largest probability is at least 1/V: no second pass of exponentials
    normalizers = scaled.amax(-1) - probabilities.amax(-1).log()
    entropies = normalizers - _expectation(probabilities, scaled)
    wanted = scaled
    if seen is not None and sampling.repetition_penalty != 1:
        wanted = _penalize(scaled, seen, sampling.repetition_penalty)
        probabilities = torch.softmax(wanted, dim=-1)
    if forbidden is not None:
        probabilities[:, forbidden] = 0
    if sampling.temperature == 0:
        tokens = (wanted if forbidden is None else wanted.index_fill(1, forbidden, -torch.inf)).argmax(-1)
    elif sampling.top_k > 0:
        tokens = _among_the_top(probabilities, noise, sampling)
    elif sampling.top_p < 1:
        tokens = _invert(_nucleus(probabilities, sampling.top_p), noise)
    else:
        tokens = _invert(probabilities, noise)
    return Draw(tokens, scaled.gather(1, tokens[:, None]).squeeze(1) - normalizers, entropies)


def _expectation(probabilities: Float[Tensor, "B V"], values: Float[Tensor, "B V"]) -> Float[Tensor, "B"]:
    """Sum of p x, where 0 times minus infinity is 0."""
    result = torch.linalg.vecdot(probabilities, values)
    if bool(result.isfinite().all()):
        return result
    return torch.linalg.vecdot(probabilities, values.clamp(min=torch.finfo(values.dtype).min))


def _penalize(scaled: Float[Tensor, "B V"], seen: Bool[Tensor, "B V"], penalty: float) -> Float[Tensor, "B V"]:
    """Divide positive logits of tokens seen by the penalty and multiply negative ones (Keskar et al. 2019, as the library does)."""
    return torch.where(seen, torch.where(scaled < 0, scaled * penalty, scaled / penalty), scaled)


def _invert(probabilities: Float[Tensor, "B V"], noise: Float[Tensor, "B"]) -> Int[Tensor, "B"]:
    """The first token whose cumulative probability exceeds noise * total; tokens of probability 0 are never it."""
    vocabulary = probabilities.shape[1]
    whole = vocabulary // _BLOCK
    sums = probabilities[:, : whole * _BLOCK].unflatten(1, (whole, _BLOCK)).sum(-1)
    if whole * _BLOCK < vocabulary:
        sums = torch.cat([sums, probabilities[:, whole * _BLOCK :].sum(-1, keepdim=True)], 1)
    cumulative = sums.cumsum(-1, dtype=torch.float64)
    # noise < 1, but its product with the total may round up to the total, past which there is no token
    target = noise[:, None] * cumulative[:, -1:]
    target = target.minimum(cumulative[:, -1:] * _BELOW_ONE)
    block = torch.searchsorted(cumulative, target, right=True)
    before = cumulative.gather(1, (block - 1).clamp(min=0)).where(block > 0, 0)
    ids = block * _BLOCK + torch.arange(_BLOCK, device=probabilities.device)
    inside = probabilities.gather(1, ids.clamp(max=vocabulary - 1)).where(ids < vocabulary, 0).cumsum(-1, dtype=torch.float64)
    # the block's sum and its cumulative sum are rounded differently, so the same care again
    left = (target - before).minimum(inside[:, -1:] * _BELOW_ONE)
    # the bound matters to logits that are not numbers alone: their log-probability tells, not an index out of range
    return (block * _BLOCK + torch.searchsorted(inside, left, right=True)).squeeze(1).clamp(max=vocabulary - 1)


def _among_the_top(probabilities: Float[Tensor, "B V"], noise: Float[Tensor, "B"], sampling: SamplingConfig) -> Int[Tensor, "B"]:
    """Of the k likeliest tokens, and of those the smallest set of probability top_p."""
    ordered, order = probabilities.topk(min(sampling.top_k, probabilities.shape[1]), dim=-1)
    if sampling.top_p < 1:
        total = probabilities.sum(-1, keepdim=True)
        ordered = ordered * (ordered.cumsum(-1) - ordered < sampling.top_p * total)
    return order.gather(1, _invert(ordered, noise)[:, None]).squeeze(1)


def _nucleus(probabilities: Float[Tensor, "B V"], top_p: float) -> Float[Tensor, "B V"]:
    """Zero all but the smallest set of probability top_p."""
    ordered, order = probabilities.sort(dim=-1, descending=True, stable=True)
    keep = ordered.cumsum(-1) - ordered < top_p * ordered.sum(-1, keepdim=True)  # the token that crosses the border stays
    return torch.zeros_like(probabilities).scatter(1, order, ordered * keep)
