"""How much memory a training stage will need, term by term, before anything is loaded.

Weights, gradients, moments, averages and the key-value cache follow from shapes. What a pass keeps for its backward pass depends on the
architecture, on its attention, on the batch's layout and on the precision, and is measured on tensors without content (``models.probe``).
"""

from collections.abc import Mapping
from dataclasses import dataclass

from instructloop.config import PPOConfig, PretrainConfig, RewardModelConfig, SFTConfig
from instructloop.models.memory_advice import advice_for
from instructloop.models.memory_phases import PASSING, Workload, ppo, supervised
from instructloop.models.probe import Row
from instructloop.models.shapes import ROLLOUT_ROWS, ModelShape, kv_width, rollout_rows, shape_of

__all__ = [
    "ROLLOUT_ROWS",
    "Estimate",
    "ModelShape",
    "Row",
    "StageConfig",
    "Workload",
    "estimate_memory",
    "kv_width",
    "readable",
    "rollout_rows",
    "shape_of",
]

StageConfig = PretrainConfig | SFTConfig | RewardModelConfig | PPOConfig


@dataclass(frozen=True, slots=True)
class Estimate:
    """Bytes by term, by phase of a step, and what to do about the largest term."""

    parts: Mapping[str, int]
    """The most that each term takes in any phase."""
    phases: Mapping[str, int]
    """Most bytes held in each phase; permanent terms are in all of them."""
    peak: int
    """The largest phase."""
    biggest: str
    """The largest term of that phase."""
    advice: str

    @property
    def phase(self) -> str:
        """The phase that needs most."""
        return max(self.phases, key=lambda name: self.phases[name])

    def lines(self) -> list[str]:
        """Readable rows, largest first."""
        rows = [f"{name:<12}{size / 2**30:8.2f} GiB" for name, size in self._sorted()]
        return [*rows, f"{'peak':<12}{self.peak / 2**30:8.2f} GiB", f"largest: {self.biggest}; to shrink it: {self.advice}"]

    def summary(self) -> str:
        """Two lines for the log."""
        terms = ", ".join(f"{name} {readable(size)}" for name, size in self._sorted())
        return (
            f"memory: about {readable(self.peak)} at most, in the {self.phase} ({terms})\n"
            f"largest term: {self.biggest}; to shrink it: {self.advice}"
        )

    def _sorted(self) -> list[tuple[str, int]]:
        return sorted(((name, size) for name, size in self.parts.items() if size), key=lambda item: -item[1])


def readable(size: float) -> str:
    """Bytes in MiB or GiB."""
    return f"{size / 2**30:.2f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"


def estimate_memory(
    config: StageConfig,
    shape: ModelShape,
    workload: Workload | None = None,
    *,
    reward: ModelShape | None = None,
    value: ModelShape | None = None,
    ranks: int = 1,
) -> Estimate:
    """Memory of a stage on the device of one process, the library's own needs (some 0.4 GiB on a CPU) not counted.

    Args:
        config: the stage.
        shape: the model; for PPO the policy and its reference.
        workload: the lengths of the data; without it the longest rows that the configuration allows are counted.
        reward: PPO's reward model, where it differs.
        value: PPO's value network, where it differs from the reward model.
        ranks: processes that share the batch, and with ``compute.sharding = "fsdp"`` the decoder layers.
    """
    if isinstance(config, PPOConfig):
        parts, phases = ppo(config, shape, reward or shape, value or reward or shape, workload, ranks)
    else:
        parts, phases = supervised(config, shape, workload, ranks)
    phase = max(phases, key=lambda name: phases[name].total)
    there = {name: size for name, size in parts.items() if name not in PASSING} | dict(phases[phase].terms)
    biggest = max(there, key=lambda name: there[name])
    for needs in phases.values():
        for name, size in needs.terms.items():
            parts[name] = max(parts.get(name, 0), size)
    return Estimate(
        parts=parts,
        phases={name: needs.total for name, needs in phases.items()},
        peak=phases[phase].total,
        biggest=biggest,
        advice=advice_for(config, biggest, row_tokens=workload.longest if workload else shape.context),
    )
