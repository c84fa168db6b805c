"""Rewards that are rules over text or length: no model, no file."""

import re

import torch
from torch import Tensor

from instructloop.core.errors import ConfigError
from instructloop.generation.rollouts import Rollouts
from instructloop.rewards.base import Reward, RewardOutput, rewards


def _row_scores(rollouts: Rollouts, values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float32, device=rollouts.logprobs.device)


@rewards.register("length_band")
def length_band(low: int, high: int, slope: float = 0.1) -> Reward:
    """1 for completions of ``low`` to ``high`` tokens (EOS included), falling by ``slope`` for each token outside the band."""
    if not 0 <= low <= high:
        raise ConfigError(f"rewards 'length_band': needs 0 <= low <= high, got low {low} and high {high}")
    if slope < 0:
        raise ConfigError(f"rewards 'length_band': slope must be >= 0, got {slope}")

    def score(rollouts: Rollouts) -> RewardOutput:
        length = rollouts.batch.completion_lengths.float()
        outside = (low - length).clamp(min=0) + (length - high).clamp(min=0)
        return RewardOutput(scores=1 - slope * outside)

    return score


@rewards.register("contains")
def contains(word: str, count: bool = False, limit: int = 0) -> Reward:
    """1 if the completion contains ``word`` as a whole word in any case; with ``count``, how many times (at most ``limit``, 0 = no limit)."""
    if not word.strip():
        raise ConfigError("rewards 'contains': word is empty", hint='for example {"name": "contains", "args": {"word": "banana"}}')
    # NOTE: look-arounds instead of \b, so that words that begin or end with a sign ("C++") are found too.
    pattern = re.compile(rf"(?<!\w){re.escape(word)}(?!\w)", re.IGNORECASE)

    def score(rollouts: Rollouts) -> RewardOutput:
        hits = [len(pattern.findall(text)) for text in rollouts.completions]
        if not count:
            return RewardOutput(scores=_row_scores(rollouts, [float(n > 0) for n in hits]))
        return RewardOutput(scores=_row_scores(rollouts, [float(min(n, limit) if limit else n) for n in hits]))

    return score


@rewards.register("token_count")
def token_count(token_id: int = -1, per_token: float = 1.0) -> Reward:
    """``per_token`` for each completion token, or for each occurrence of one ``token_id`` (the simplest reward a policy can learn)."""

    def score(rollouts: Rollouts) -> RewardOutput:
        lengths = rollouts.batch.completion_lengths
        if token_id < 0:
            return RewardOutput(scores=per_token * lengths.float())
        wanted = (rollouts.batch.completion_tokens == token_id) & rollouts.batch.completion_mask
        return RewardOutput(scores=per_token * wanted.sum(dim=1).float())

    return score
