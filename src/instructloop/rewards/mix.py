"""A weighted sum of rewards, each kept as a named part."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from instructloop.core.errors import ConfigError
from instructloop.generation.rollouts import Rollouts
from instructloop.rewards.base import Reward, RewardOutput, rewards
from instructloop.rewards.checked import CheckedReward, as_reward


class MixedReward:
    """sum_i w_i r_i. Parts of a part are named ``part/inner``."""

    def __init__(self, parts: Sequence[tuple[str, CheckedReward, float]]) -> None:
        self.parts = tuple(parts)

    def __call__(self, rollouts: Rollouts, /) -> RewardOutput:
        """Score with every part and add up; token scores are weighted alike."""
        total = torch.zeros(len(rollouts.completions), device=rollouts.logprobs.device)
        token_total: torch.Tensor | None = None
        named: dict[str, torch.Tensor] = {}
        for name, reward, weight in self.parts:
            output = reward(rollouts)
            total = total + weight * output.scores
            named[name] = output.scores
            named |= {f"{name}/{inner}": values for inner, values in output.parts.items()}
            if output.token_scores is not None:
                weighted = weight * output.token_scores
                token_total = weighted if token_total is None else token_total + weighted
        return RewardOutput(scores=total, parts=named, token_scores=token_total)


@rewards.register("mix")
def mix(parts: Sequence[Mapping[str, Any]]) -> Reward:
    """A weighted sum: ``parts = [{name = "model", args = {...}, weight = 1.0, label = "helpful"}, ...]``."""
    if not parts:
        raise ConfigError("rewards 'mix': parts is empty", hint='parts = [{name = "contains", args = {word = "moon"}, weight = 0.5}]')
    built: list[tuple[str, CheckedReward, float]] = []
    taken: set[str] = set()
    for number, part in enumerate(parts):
        unknown = set(part) - {"name", "args", "weight", "label"}
        if unknown or "name" not in part:
            problem = f"unknown key {min(unknown)!r}" if unknown else "no name"
            raise ConfigError(f"rewards 'mix': part {number}: {problem}", hint="a part has name, args, weight and label")
        label = str(part.get("label", part["name"]))
        while label in taken:
            label += "'"
        taken.add(label)
        built.append((label, as_reward({"name": part["name"], "args": part.get("args", {})}, name=label), float(part.get("weight", 1.0))))
    return MixedReward(built)
