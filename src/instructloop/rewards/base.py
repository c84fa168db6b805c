"""What a reward is: a function from rollouts to one score a row, whatever stands behind it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from jaxtyping import Float
from torch import Tensor

from instructloop.core.registry import Registry
from instructloop.generation.rollouts import Rollouts


@dataclass(frozen=True, kw_only=True, slots=True)
class RewardOutput:
    """Scores of B rollouts; higher is better, in the reward's own unit."""

    scores: Float[Tensor, "batch"]
    """One score a completion."""
    parts: Mapping[str, Float[Tensor, "batch"]] = field(default_factory=dict)
    """Named components (helpful, truthful, length...), for tables and metrics; they need not add up to ``scores``."""
    token_scores: Float[Tensor, "batch response"] | None = None
    """Further rewards on single tokens, completion-aligned; they come on top of ``scores``."""


class Reward(Protocol):
    """Learned models, rules and judges are the same thing to a trainer."""

    def __call__(self, rollouts: Rollouts, /) -> RewardOutput:
        """Score every row of the rollouts."""
        ...


rewards: Registry[Reward] = Registry("rewards")
"""Rewards by name; a factory takes plain arguments and returns a Reward (entry-point group ``instructloop.rewards``)."""
