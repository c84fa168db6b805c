"""Reward against KL: what a run paid in distance from its reference for each unit of reward (spec E4, H)."""

from collections.abc import Iterable, Mapping
from typing import Any


def reward_against_kl(metrics: Iterable[Mapping[str, Any]], *, stage: str = "ppo") -> list[dict[str, float]]:
    """The path of a run through the (KL, reward) plane, from the rows of its ``metrics.jsonl``.

    Returns:
        ``{"step", "kl", "reward"}`` per iteration that logged both; kl in nats a sequence, reward in the reward's unit.
    """
    kl, reward = f"{stage}/kl", f"{stage}/reward"
    return [
        {"step": float(row["step"]), "kl": float(row[kl]), "reward": float(row[reward])} for row in metrics if kl in row and reward in row
    ]


def reward_per_sqrt_kl(points: Iterable[Mapping[str, float]], *, start: float) -> list[float]:
    """(reward - start) / sqrt(KL) of each point with KL > 0: constant while the first term of Gao et al.'s law holds, falling after."""
    return [(point["reward"] - start) / point["kl"] ** 0.5 for point in points if point["kl"] > 0]
