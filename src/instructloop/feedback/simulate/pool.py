"""A pool of simulated labelers: one stated utility, people around it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from instructloop.core.errors import ConfigError
from instructloop.core.seeds import stream
from instructloop.feedback.simulate.labeler import Habits, SimulatedLabeler, Writer
from instructloop.feedback.simulate.utility import Utility

COHORT = "training"
NOISE_SPREAD = 0.2
"""Labelers differ in steadiness by up to this share, up or down."""


@dataclass(frozen=True, slots=True)
class Pool(Sequence[SimulatedLabeler]):
    """Labelers with different codes, and the cohort each belongs to.

    In the store they are labelers of kind ``simulated``: the only trace by which their answers differ from people's.
    """

    labelers: tuple[SimulatedLabeler, ...]
    cohorts: tuple[str, ...] = ()
    """One a labeler; empty puts all into the training cohort."""

    def __post_init__(self) -> None:
        codes = [labeler.code for labeler in self.labelers]
        if not codes or len(set(codes)) < len(codes):
            raise ConfigError(f"a pool needs at least one labeler and different codes, got {codes}", hint="name them L01, L02 and so on")
        if self.cohorts and len(self.cohorts) != len(codes):
            raise ConfigError(f"{len(self.cohorts)} cohorts are given for {len(codes)} labelers", hint="one for each, or none")

    def __getitem__(self, index):  # type: ignore[no-untyped-def]  # the two overloads of Sequence say nothing more
        return self.labelers[index]

    def __len__(self) -> int:
        return len(self.labelers)

    def cohort(self, index: int) -> str:
        """Cohort of the labeler at ``index``."""
        return self.cohorts[index] if self.cohorts else COHORT

    def with_noise(self, factor: float) -> "Pool":
        """The same people, ``factor`` times as unsteady."""
        return replace(self, labelers=tuple(replace(labeler, noise=labeler.noise * factor) for labeler in self.labelers))

    def with_scale(self, center: float, scale: float) -> "Pool":
        """The same people with another scale from utility to 1..7."""
        return replace(self, labelers=tuple(replace(labeler, center=center, scale=scale) for labeler in self.labelers))

    def with_ties(self, tie_width: float) -> "Pool":
        """The same people, who cannot tell apart what lies within ``tie_width``."""
        return replace(self, labelers=tuple(replace(labeler, tie_width=tie_width) for labeler in self.labelers))


def make_pool(
    count: int,
    utility: Utility,
    *,
    seed: int = 0,
    noise: float = 1.0,
    tie_width: float = 0.0,
    length_bias: float = 0.0,
    agreement_bias: float = 0.0,
    position_bias: float = 0.0,
    habits: Habits | None = None,
    writer: Writer | None = None,
    prefix: str = "S",
    heldout: int = 0,
    researchers: int = 0,
) -> Pool:
    """``count`` labelers of the training cohort, and more of the others, who share a utility and differ in steadiness and pace.

    Args:
        count: labelers of the training cohort.
        utility: what all of them care about.
        seed: of who is steadier and who is faster.
        noise: mean standard deviation of one look, in units of utility; see :func:`calibrate_noise`.
        tie_width: see :class:`SimulatedLabeler`.
        length_bias: the same.
        agreement_bias: the same.
        position_bias: the same.
        habits: time, skips, dropouts; the median time varies between people.
        writer: writes demonstrations; None leaves queues that ask for text alone.
        prefix: of the codes: S001, S002...
        heldout: labelers of the held-out cohort (spec B3).
        researchers: labelers of the researcher cohort.
    """
    random = stream(seed, "pool")
    usual = habits or Habits()
    cohorts = ["training"] * count + ["heldout"] * heldout + ["researcher"] * researchers
    people = tuple(
        SimulatedLabeler(
            code=f"{prefix}{number:03d}",
            utility=utility,
            noise=noise * random.uniform(1 - NOISE_SPREAD, 1 + NOISE_SPREAD),
            tie_width=tie_width,
            length_bias=length_bias,
            agreement_bias=agreement_bias,
            position_bias=position_bias,
            habits=replace(usual, seconds_per_output=usual.seconds_per_output * random.uniform(0.7, 1.4)),
            writer=writer,
        )
        for number in range(1, len(cohorts) + 1)
    )
    return Pool(people, tuple(cohorts))
