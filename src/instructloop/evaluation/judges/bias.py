"""Position bias of a judge: does the place in which an answer is shown decide, rather than the answer?"""

from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from instructloop.stats import Interval, rate_interval, side_test


@dataclass(frozen=True, kw_only=True, slots=True)
class BothOrders:
    """One pair, asked twice. 1: the answer shown first won, 0: the other, 0.5: a tie."""

    prompt: Hashable
    straight: float
    """First answer shown first."""
    swapped: float
    """Second answer shown first."""

    @property
    def win_first(self) -> float:
        """Mean verdict over both orders, for the pair's first answer: opposite verdicts make a tie."""
        return (self.straight + 1 - self.swapped) / 2

    @property
    def consistent(self) -> bool:
        """Whether both orders name the same winner, or both a tie."""
        return self.straight + self.swapped == 1


@dataclass(frozen=True, kw_only=True, slots=True)
class PositionBias:
    """What the places did."""

    first_rate: Interval
    """Win rate of the answer shown first over all asks, ties as one half. Each pair is asked in both orders, so a judge that reads gives 0.5."""
    consistent: Interval
    """Share of pairs with the same verdict in both orders."""
    p: float
    """Exact sign test over prompts: as many lean to the first place as to the second."""
    reasons: tuple[str, ...]
    """Why the judge counts as biased; empty if it does not."""

    @property
    def biased(self) -> bool:
        """Whether its verdicts are refused."""
        return bool(self.reasons)

    def as_json(self) -> dict[str, Any]:
        """The layout of ``judge.position_bias`` in a comparison's table."""
        return {
            "first_rate": estimate(self.first_rate),
            "consistent": estimate(self.consistent),
            "p": self.p,
            "biased": self.biased,
            "reasons": list(self.reasons),
        }


def position_bias(
    pairs: Sequence[BothOrders], *, margin: float, consistency_min: float, samples: int = 2000, seed: int = 0
) -> PositionBias:
    """Measure the bias; intervals resample prompts.

    Args:
        pairs: at least one, each asked in both orders.
        margin: how far from 0.5 the whole interval of the first place's win rate must lie to be called biased.
        consistency_min: fewer consistent pairs than this share are called biased.
        samples: resamples.
        seed: base seed of the resampling stream.
    """
    prompts = [pair.prompt for pair in pairs]
    asks = [value for pair in pairs for value in (pair.straight, pair.swapped)]
    first = rate_interval(asks, [prompt for prompt in prompts for _ in range(2)], samples=samples, seed=seed)
    same = rate_interval([float(pair.consistent) for pair in pairs], prompts, samples=samples, seed=seed)
    lean: dict[Hashable, float] = defaultdict(float)
    for pair in pairs:
        lean[pair.prompt] += pair.straight + pair.swapped - 1
    sides = side_test(["left" if value > 0 else "right" if value < 0 else "tie" for value in lean.values()])
    reasons = []
    if first.low > 0.5 + margin or first.high < 0.5 - margin:
        place = "first" if first.value > 0.5 else "second"
        reasons.append(
            f"the answer shown {place} wins {max(first.value, 1 - first.value):.0%} of {first.n} asks"
            f" (interval of the first place's rate {first.low:.3f} to {first.high:.3f}, allowed 0.5 ± {margin:g})"
        )
    if same.value < consistency_min:
        reasons.append(
            f"only {same.value:.0%} of {same.n} pairs get the same verdict in both orders (at least {consistency_min:.0%} are needed)"
        )
    return PositionBias(first_rate=first, consistent=same, p=sides.p_value, reasons=tuple(reasons))


def estimate(interval: Interval) -> dict[str, Any]:
    """An interval as ``{"value", "low", "high", "n", "clusters"}``."""
    return {"value": interval.value, "low": interval.low, "high": interval.high, "n": interval.n, "clusters": interval.clusters}
