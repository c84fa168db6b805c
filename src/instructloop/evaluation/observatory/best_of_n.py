"""Best-of-n from the reference as the curve to beat: the cheapest way to spend KL on a reward (spec I12, I13).

No draw is wasted: from n samples a prompt, the expected winner of every k <= n follows exactly (``stats.winning_chances``).
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from instructloop.evaluation.observatory import answers as of
from instructloop.evaluation.observatory.answers import Answer, Look, Measure
from instructloop.evaluation.observatory.document import Cell, Chart, Findings, Section, Series, Table, estimate
from instructloop.evaluation.observatory.laws import fit_table
from instructloop.objectives import best_of_n_kl, best_of_n_probabilities
from instructloop.stats import fit_law, mean_interval, winning_chances

NAME = "best_of_n"
_LEAST_SIZES = 3


def grouped(answers: Sequence[Answer]) -> list[list[Answer]]:
    """Answers of one prompt together, prompts in order of appearance."""
    groups: dict[str, list[Answer]] = {}
    for answer in answers:
        groups.setdefault(answer.key, []).append(answer)
    return list(groups.values())


def sizes(n: int) -> list[int]:
    """1, 2, 4... and n itself."""
    return sorted({n, *(2**power for power in range(n.bit_length()) if 2**power <= n)})


def winner_means(groups: Sequence[Sequence[Answer]], k: int, measure: Measure) -> list[float]:
    """Per prompt, the expected measure of the proxy's favourite among k of its samples.

    Args:
        groups: scored samples of each prompt, at least k each.
        k: draws.
        measure: what is wanted of the winner; prompts in which it is missing are left out.
    """
    means = []
    for group in groups:
        values = [measure(answer) for answer in group]
        scores = [answer.proxy for answer in group]
        if any(value is None for value in values + scores):
            continue
        means.append(float(winning_chances([score or 0.0 for score in scores], k) @ np.array(values, dtype=np.float64)))
    return means


def plug_in_kl(group: Sequence[Answer], k: int) -> float:
    """KL (nats) of best-of-k from the reference if the reference were exactly these samples: P_k(y) = F(y)^k - F(y-)^k.

    Well below the bound where a small model repeats itself; too low itself where k comes near the number of samples.
    """
    mass: dict[tuple[str, float], int] = {}
    for answer in group:
        outcome = (answer.completion, answer.proxy or 0.0)
        mass[outcome] = mass.get(outcome, 0) + 1
    base = torch.tensor(list(mass.values()), dtype=torch.float64) / len(group)
    best = best_of_n_probabilities(base, torch.tensor([score for _, score in mass], dtype=torch.float64), k)
    return max(0.0, float(torch.special.xlogy(best, best / base).sum()))


def best_of_n(reference: Sequence[Answer], looks: Sequence[Look] = (), *, policy_path: Sequence[tuple[float, float]] = ()) -> Findings:
    """The curve beside the policy's points.

    Args:
        reference: scored samples of the reference, several a prompt.
        looks: the policy at several steps, on any prompts; the first is the reference on them.
        policy_path: (KL, gain) of the run's iterations on its training prompts.
    """
    groups = [group for group in grouped(reference) if len(group) > 1]
    n = min((len(group) for group in groups), default=0)
    if n < 2:
        return Findings()
    ks = sizes(n)
    gains = _gains(reference, groups, ks)
    kl, seen = [best_of_n_kl(k) for k in ks], [float(np.mean([plug_in_kl(group, k) for group in groups])) for k in ks]
    found = {name: [mean_interval(column, samples=1000) for column in table.T] for name, table in gains.items()}
    series = [
        Series(name=f"{name}, best of n", points=[[x, one.value, one.low, one.high] for x, one in zip(kl, row, strict=True)])
        for name, row in found.items()
    ]
    lower = [[x, one.value] for x, one in zip(seen, found.get("proxy", ()), strict=False)]
    series.append(Series(name="proxy, best of n at the KL of the samples seen (not the bound)", points=lower))
    series += _policy(looks, policy_path)
    rows: list[list[Cell]] = [[k, kl[place], seen[place], *(estimate(row[place]) for row in found.values())] for place, k in enumerate(ks)]
    return Findings(
        sections=(
            Section(
                name=NAME,
                title="Best of n as the reference curve",
                text=f"What the reference gains when the reward picks the best of n of its own samples ({len(groups)} prompts, {n} samples each; every n exactly, "
                "from order statistics). ln n - (n-1)/n is the KL without ties between scores and an upper bound with them; a small model that repeats itself spends "
                "less, as the second column estimates. A policy whose gold lies far below this curve at equal KL has been optimized badly or against the wrong thing.",
                charts=[
                    Chart(
                        title="Gain against KL",
                        x_label="KL from the reference (nats)",
                        y_label="gain (sd of the reference's scores)",
                        series=series,
                    )
                ],
                tables=[
                    Table(
                        title="The proxy's favourite among n samples of the reference",
                        columns=["n", "KL bound (nats)", "KL, samples seen (nats)", *(f"{name} gain (sd)" for name in found)],
                        rows=rows,
                        note="Intervals resample prompts. The sampled KL is an underestimate for n near the number of samples.",
                    ),
                    *_laws(kl, gains),
                ],
            ),
        )
    )


def _gains(reference: Sequence[Answer], groups: Sequence[Sequence[Answer]], ks: Sequence[int]) -> dict[str, NDArray[np.float64]]:
    """By judge, ``[prompts, sizes]``: worth of the winner over the prompt's mean, in standard deviations of the reference's scores."""
    found: dict[str, NDArray[np.float64]] = {}
    named: list[tuple[str, Measure]] = [("proxy", of.proxy), ("gold", of.gold)]
    named += [(f"judge {place + 1}", of.judge(place)) for place in range(of.judges(reference))]
    for name, measure in named:
        if all(measure(answer) is not None for answer in reference):
            worth = np.array([winner_means(groups, k, measure) for k in ks])
            found[name] = (worth - worth[0]).T / of.spread(reference, measure)
    return found


def _laws(kl: Sequence[float], gains: Mapping[str, NDArray[np.float64]]) -> list[Table]:
    """Gao et al.'s law for best of n, by every judge; needs three sizes above one."""
    if len(kl) - 1 < _LEAST_SIZES:
        return []
    fits = {name: fit_law(kl, table, law="best_of_n") for name, table in gains.items()}
    return [fit_table("R(d) = d (alpha - beta d), d = sqrt(KL bound)", fits)]


def _policy(looks: Sequence[Look], policy_path: Sequence[tuple[float, float]]) -> list[Series]:
    series = []
    if len(looks) > 1:
        for name, measure in (("proxy", of.proxy), ("gold", of.gold)):
            table, scale = of.by_prompt(looks, measure), of.spread(looks[0].answers, measure)
            if np.isfinite(table).any(axis=0).all():
                gains = np.nanmean(table - table[:, :1], axis=0) / scale
                points = [[look.kl, float(gain)] for look, gain in zip(looks, gains, strict=True) if look.kl is not None]
                series.append(Series(name=f"{name}, policy", kind="points", points=sorted(points)))
    elif policy_path:
        series.append(Series(name="proxy, policy on training prompts", kind="points", points=sorted(list(point) for point in policy_path)))
    return series
