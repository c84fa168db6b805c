"""How unsteady labelers must be to agree as often as wanted: found by simulation on the project's own completions.

Agreement depends on the completions (close ones are hard) as much as on people, so no noise level is right for all projects. The
convention is that of the headline everywhere else: strict pairs only, the mean within a prompt first, then over prompts (spec B4).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from instructloop.core.errors import ConfigError, DataError
from instructloop.core.records import Prompt
from instructloop.core.seeds import derive
from instructloop.feedback.simulate.pool import Pool
from instructloop.feedback.simulate.utility import Candidate

PAPER_AGREEMENT = 0.726
"""Training labelers of the paper with each other (spec B4)."""
_LOOKS = 20_000
"""Prompts times repetitions simulated for one estimate: its standard error is about a fifth of a point."""
_PROMPTS = 1500
_STEPS = 18


@dataclass(frozen=True, slots=True)
class Group:
    """A prompt with the completions that are to be ranked."""

    prompt: Prompt
    candidates: tuple[Candidate, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """A pool whose labelers agree as wanted, and what that took."""

    pool: Pool
    factor: float
    """By which every labeler's noise was multiplied."""
    agreement: float
    """Expected strict agreement of two labelers of the pool."""
    tie_rate: float
    """Expected share of ties among single answers."""


def calibrate_noise(
    pool: Pool, groups: Sequence[Group], agreement: float = PAPER_AGREEMENT, *, tie_rate: float | None = None, seed: int = 0
) -> Calibration:
    """Scale the noise of all labelers until two of them agree on ``agreement`` of the pairs that both rank strictly.

    Args:
        pool: the people; their biases and differences in steadiness are kept.
        groups: prompts and completions of the project; a random part of them if there are many.
        agreement: wanted, in (0.5, 1).
        tie_rate: wanted share of ties: the tie width is set too; None keeps the labelers' own.
        seed: of the simulation.

    Raises:
        ConfigError: ``agreement`` outside (0.5, 1), or out of reach: the labelers' own tastes differ more than that.
        DataError: nothing to rank, or a utility that sees no difference anywhere.
    """
    if not 0.5 < agreement < 1:
        raise ConfigError(f"an agreement of {agreement} cannot be asked for", hint="between 0.5 (chance) and 1, e.g. 0.726 (the paper)")
    trial = _Trial(pool, groups, seed)
    width = None
    low, high = 0.0, trial.spread
    for _ in range(3 if tie_rate is not None else 1):
        ceiling = trial.measure(0.0, width)[0]
        if ceiling <= agreement:
            raise ConfigError(
                f"the labelers would agree on {ceiling:.1%} even without noise, {agreement:.1%} is out of reach",
                hint="lower the wanted agreement, or the differences in taste and the position bias",
            )
        low, high = 0.0, max(high, trial.spread)
        while trial.measure(high, width)[0] > agreement:
            low, high = high, 2 * high
        for _ in range(_STEPS):
            middle = (low + high) / 2
            low, high = (middle, high) if trial.measure(middle, width)[0] > agreement else (low, middle)
        if tie_rate is not None:
            width = trial.width_for(tie_rate, (low + high) / 2)
    factor = (low + high) / 2
    reached, ties = trial.measure(factor, width)
    chosen = pool.with_noise(factor)
    if width is not None:
        chosen = chosen.with_ties(width)
    values = trial.values[trial.shown]
    return Calibration(
        pool=chosen.with_scale(float(values.mean()), float(values.std()) or 1.0), factor=factor, agreement=reached, tie_rate=ties
    )


class _Trial:
    """Two labelers look at each prompt, again and again with the same random numbers, so that agreement falls smoothly with noise."""

    def __init__(self, pool: Pool, groups: Sequence[Group], seed: int) -> None:
        usable = [group for group in groups if len(group.candidates) >= 2]
        if not usable or len(pool) < 2:
            raise DataError(
                f"agreement needs two labelers and a prompt with two completions, got {len(pool)} and {len(usable)}",
                hint="sample completions into a queue first: instructloop sample --project DIR --queue NAME",
            )
        draw = np.random.default_rng(derive(seed, "calibrate"))
        if len(usable) > _PROMPTS:
            usable = [usable[index] for index in sorted(draw.choice(len(usable), _PROMPTS, replace=False))]
        repeats = max(2, _LOOKS // len(usable))
        sizes = np.array([len(group.candidates) for group in usable]).repeat(repeats)
        most = int(sizes.max())
        self.shown = np.arange(most) < sizes[:, None]
        rows = len(sizes)
        who = np.stack([draw.choice(len(pool), 2, replace=False) for _ in range(rows)]) if len(pool) > 2 else np.tile([0, 1], (rows, 1))
        appeal = _appeals(pool, usable, most)
        group_of = np.arange(len(usable)).repeat(repeats)
        self.values = appeal[who[:, 0], group_of]
        self.spread = float(self.values[self.shown].std())
        if self.spread == 0:
            raise DataError("the utility sees no difference between any two completions", hint="choose another utility")
        self._felt = np.stack([appeal[who[:, side], group_of] for side in (0, 1)])
        bias = np.array([labeler.position_bias for labeler in pool])[who.T]
        self._felt = self._felt + bias[:, :, None] * _places(draw, self.shown, sizes)
        self._noise = draw.standard_normal((2, rows, most)) * np.array([labeler.noise for labeler in pool])[who.T][:, :, None]
        self._widths = np.array([labeler.tie_width for labeler in pool])[who.T][:, :, None]
        if not (np.array([labeler.noise for labeler in pool]) > 0).any():
            raise ConfigError("a pool without any noise cannot be made noisier", hint="noise=1.0 for every labeler; it is scaled")
        self._first, self._second = np.triu_indices(most, 1)
        self._pairs = self.shown[:, self._first] & self.shown[:, self._second]

    def measure(self, factor: float, width: float | None) -> tuple[float, float]:
        """Strict agreement and tie rate at ``factor`` times the noise."""
        felt = self._felt + factor * self._noise
        widths = self._widths if width is None else np.full_like(self._widths, width)
        steps = np.where(widths > 0, np.round(felt / np.where(widths > 0, widths, 1.0)), felt)
        signs = np.sign(steps[:, :, self._first] - steps[:, :, self._second])
        strict = self._pairs & (signs[0] != 0) & (signs[1] != 0)
        counted = strict.sum(1)
        some = counted > 0
        shares = (strict & (signs[0] == signs[1])).sum(1)[some] / counted[some]
        ties = float(((signs == 0) & self._pairs).sum() / (2 * self._pairs.sum()))
        return (float(shares.mean()) if some.any() else 1.0), ties

    def width_for(self, tie_rate: float, factor: float) -> float:
        """The tie width that gives a share of ties at a noise."""
        if tie_rate <= 0:
            return 0.0
        low, high = 0.0, self.spread
        while self.measure(factor, high)[1] < tie_rate and high < 1e6 * self.spread:
            high *= 2
        for _ in range(_STEPS):
            middle = (low + high) / 2
            low, high = (middle, high) if self.measure(factor, middle)[1] < tie_rate else (low, middle)
        return (low + high) / 2


def _appeals(pool: Pool, groups: Sequence[Group], most: int) -> "np.ndarray[tuple[int, int, int], np.dtype[np.float64]]":
    """Appeal of every completion to every labeler, (labeler, group, slot); labelers who share tastes are asked once."""
    known: dict[tuple[object, float, float], np.ndarray[tuple[int, int], np.dtype[np.float64]]] = {}
    rows = []
    for labeler in pool:
        taste = (labeler.utility, labeler.length_bias, labeler.agreement_bias)
        if taste not in known:
            table = np.zeros((len(groups), most))
            for place, group in enumerate(groups):
                table[place, : len(group.candidates)] = labeler.appeal(group.prompt, group.candidates)
            known[taste] = table
        rows.append(known[taste])
    return np.stack(rows)


def _places(
    draw: np.random.Generator, shown: "np.ndarray[tuple[int, int], np.dtype[np.bool_]]", sizes: "np.ndarray[tuple[int], np.dtype[np.int64]]"
) -> "np.ndarray[tuple[int, int, int], np.dtype[np.float64]]":
    """From 1 (shown first) to -1 (shown last) for two independent random orders of each row."""
    order = np.where(shown, draw.random((2, *shown.shape)), np.inf).argsort(axis=2).argsort(axis=2)
    return np.where(shown, 1 - 2 * order / np.maximum(1, sizes - 1)[:, None], 0.0)
