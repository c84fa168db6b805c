"""The KL / reward frontier over beta: what several runs paid in KL for their reward (spec E4, H14)."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from instructloop.evaluation.observatory.document import Cell, Chart, Findings, Section, Series, Table
from instructloop.evaluation.observatory.readings import RunFiles

NAME = "frontier"
_TAIL = 5
"""Iterations averaged for a run's end point: one batch's KL and reward are noisy."""


@dataclass(frozen=True, slots=True)
class EndPoint:
    """Where a run ended."""

    name: str
    beta: float
    kl: float
    """Nats, mean of the last iterations."""
    gain: float
    """Reward over the first iteration's (which is the reference's), in standard deviations of the reference's rewards."""


def end_point(run: RunFiles, *, name: str = "") -> EndPoint | None:
    """Mean KL and reward gain of the last iterations; None where the metrics hold neither."""
    points = path(run)
    if len(points) < 2:
        return None
    last = points[1:][-_TAIL:]
    kl, gain = (sum(column) / len(last) for column in zip(*last, strict=True))
    return EndPoint(name or run.path.name, float(run.config.get("beta", math.nan)), kl, gain)


def frontier(run: RunFiles, others: Sequence[RunFiles] = ()) -> Findings:
    """Paths of all runs through the (KL, reward) plane and a row for each, in the order of beta."""
    runs = [run, *others]
    names = _names(runs)
    ends = [(one, end) for one, name in zip(runs, names, strict=True) if (end := end_point(one, name=name)) is not None]
    if not ends:
        return Findings()
    series = [Series(name=f"{end.name} (beta {end.beta:g})", points=path(one)) for one, end in ends]
    ordered = sorted((end for _, end in ends), key=lambda end: (end.beta, end.name))
    if len(ordered) > 1:
        series.append(Series(name="ends", kind="points", points=sorted([end.kl, end.gain] for end in ordered)))
    rows: list[list[Cell]] = [
        [end.name, end.beta, end.kl, end.gain, end.gain / math.sqrt(end.kl) if end.kl > 0 else None, _dominated(end, ordered)]
        for end in ordered
    ]
    table = Table(
        title=f"Where each run ended (mean of its last {_TAIL} iterations)",
        columns=["run", "beta", "KL (nats)", "reward gain (sd)", "gain per sqrt(KL)", "more reward for less KL"],
        rows=rows,
        note="Reward is the proxy, on training prompts. Gao et al.: an explicit KL penalty moves the proxy at a given KL and does not improve what gold makes of it; it stops early.",
    )
    mine = ends[0][1]
    here = f"This run ended {mine.gain:.2f} sd up at {mine.kl:.2f} nats (beta {mine.beta:g}). " if ends[0][0] is run else ""
    one = "" if len(ends) > 1 else " Give other runs with --others (the same prompts and reward, another beta) to see the frontier."
    return Findings(
        sections=(
            Section(
                name=NAME,
                title="KL and reward over beta",
                text=here
                + "What a run paid in distance from the reference for each unit of reward. The gain grows with sqrt(KL) while the reward is easy to earn; "
                "a falling gain per sqrt(KL) is the price of the last bit." + one,
                charts=[
                    Chart(
                        title="Reward against KL",
                        x_label="KL from the reference (nats)",
                        y_label="reward gain (sd of the reference's)",
                        series=series,
                    )
                ],
                tables=[table],
            ),
        )
    )


def path(run: RunFiles) -> list[tuple[float, float]]:
    """(KL, reward gain) of every iteration that logged both, the gain in standard deviations of the reference's rewards."""
    kl, reward, spread = dict(run.series("kl")), run.series("reward"), run.series("reward_std")
    if not reward:
        return []
    scale = float(run.result.get("reference_reward_std") or (spread[0][1] if spread else 0.0)) or 1.0
    known = run.result.get("reference_reward_mean")  # null where the reward is neither shifted nor scaled
    start = reward[0][1] if known is None else float(known)
    return [(max(kl[step], 0.0), (value - start) / scale) for step, value in reward if step in kl]


def _names(runs: Sequence[RunFiles]) -> list[str]:
    """Directory names; where two are the same, what their paths do not share."""
    places = [run.path.resolve() for run in runs]
    names = [place.name for place in places]
    if len(set(names)) == len(names):
        return names
    shared = Path(os.path.commonpath(places))
    return [place.relative_to(shared).as_posix() for place in places]


def _dominated(end: EndPoint, ends: Sequence[EndPoint]) -> str:
    better = [other.name for other in ends if other is not end and other.kl <= end.kl and other.gain > end.gain]
    return better[0] if better else ""
