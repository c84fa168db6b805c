"""Best-of-n from the reference as the curve to beat: the cheapest way to spend KL on a reward (spec I12, I13).

No draw is wasted: from n samples a prompt, the expected winner of every k <= n follows exactly (``stats.winning_chances``).
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from instructloop.evaluation.observatory import answers as of
from instructloop.evaluation.observatory.answers import Answer, Look, Measure
from instructloop.evaluation.observatory.document import Cell, Chart, Findings, Section, Series, Table, estimate
from instructloop.objectives import best_of_n_kl, best_of_n_probabilities
from instructloop.stats import mean_interval, winning_chances

NAME = "best_of_n"


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
    measures = _measures(reference)
    rows: list[list[Cell]] = []
    bound: dict[str, list[list[float]]] = {name: [] for name in measures}
    lower: list[list[float]] = []
    for k in sizes(n):
        kl = best_of_n_kl(k)
        plug_in = float(np.mean([plug_in_kl(group, k) for group in groups]))
        cells: list[Cell] = []
        for name, (measure, scale) in measures.items():
            pairs = zip(winner_means(groups, k, measure), winner_means(groups, 1, measure), strict=True)
            found = mean_interval([(best - mean) / scale for best, mean in pairs], samples=1000)
            cells.append(estimate(found))
            bound[name].append([kl, found.value, found.low, found.high])
            if name == "proxy":
                lower.append([plug_in, found.value])
        rows.append([k, kl, plug_in, *cells])
    series = [Series(name=f"{name}, best of n", points=points) for name, points in bound.items()]
    series.append(Series(name="proxy, best of n at the KL of the samples seen (not the bound)", points=lower))
    series += _policy(looks, policy_path)
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
                        columns=["n", "KL bound (nats)", "KL, samples seen (nats)", *(f"{name} gain (sd)" for name in measures)],
                        rows=rows,
                        note="Intervals resample prompts. The sampled KL is an underestimate for n near the number of samples.",
                    )
                ],
            ),
        )
    )


def _measures(reference: Sequence[Answer]) -> Mapping[str, tuple[Measure, float]]:
    """Name to (measure, its spread over the reference's samples)."""
    found: dict[str, tuple[Measure, float]] = {}
    named: list[tuple[str, Measure]] = [("proxy", of.proxy), ("gold", of.gold)]
    named += [(f"judge {place + 1}", of.judge(place)) for place in range(of.judges(reference))]
    for name, measure in named:
        values, _ = of.measured(reference, measure)
        if len(values) == len(reference):
            found[name] = (measure, of.spread(reference, measure))
    return found


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
