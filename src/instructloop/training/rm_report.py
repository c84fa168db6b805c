"""How well scores agree with held-out rankings: overall, by K, by labeler, by confidence, beside "the longer one wins"."""

import math
from collections.abc import Callable, Sequence
from typing import Any

from instructloop.data import RankedGroup
from instructloop.stats.winrate import outcome, win_rate

_FEW_VALUES = 9
_RESAMPLES = 1000


def ranking_loss_of(groups: Sequence[RankedGroup], scores: Sequence[Sequence[float]]) -> float:
    """Mean over prompts of the mean over strict pairs of -ln sigma(r_w - r_l); nan without a strict pair."""
    losses = []
    for group, values in zip(groups, scores, strict=True):
        terms = [_softplus(values[loser] - values[winner]) for winner, loser in group.strict_pairs()]
        if terms:
            losses.append(sum(terms) / len(terms))
    return sum(losses) / len(losses) if losses else math.nan


def pair_accuracy_of(groups: Sequence[RankedGroup], scores: Sequence[Sequence[float]]) -> float:
    """Share of strict pairs in which the winner scores higher, equal scores as one half; nan without a strict pair."""
    wins = [win for group, values in zip(groups, scores, strict=True) for win in _wins(group, values)]
    return sum(wins) / len(wins) if wins else math.nan


def accuracy_report(groups: Sequence[RankedGroup], scores: Sequence[Sequence[float]], *, seed: int) -> dict[str, Any]:
    """The table that ``result.json`` holds.

    ``accuracy`` (equal scores count one half) with a 95 % interval from resampled prompts, ``loss``, counts of ``prompts``, strict
    ``pairs`` and ``ties``, ``longer_wins`` (how often the longer completion, in tokens, is the better one: what a model of length
    alone would reach), and the same by number of completions, labeler, cohort and confidence where rows have them.

    Args:
        groups: held-out rankings.
        scores: one score per completion of each group.
        seed: base seed of the resampling.
    """
    report = _summary(groups, scores, seed)
    if not report["pairs"]:
        return report
    report["loss"] = ranking_loss_of(groups, scores)
    report["by_k"] = _table(groups, scores, seed, lambda group: str(group.k))
    report["by_labeler"] = _table(groups, scores, seed, lambda group: group.labeler)
    cohorts = _table(groups, scores, seed, lambda group: group.cohort)
    if cohorts:
        report["by_cohort"] = cohorts
    report["by_confidence"] = _table(groups, scores, seed, _confidence_bins(groups))
    return report


def _summary(groups: Sequence[RankedGroup], scores: Sequence[Sequence[float]], seed: int) -> dict[str, Any]:
    wins: list[float] = []
    longer: list[float] = []
    prompts: list[str] = []
    ties = 0
    for group, values in zip(groups, scores, strict=True):
        found = _wins(group, values)
        wins += found
        longer += _wins(group, [row.completion_length for row in group.sequences])
        prompts += [group.prompt_key] * len(found)
        ties += sum(a == b for i, a in enumerate(group.ranks) for b in group.ranks[:i])
    counts = {"prompts": len(set(prompts)), "rankings": len(groups), "pairs": len(wins), "ties": ties}
    if not wins:
        return counts
    interval = win_rate(wins, prompts, samples=_RESAMPLES, seed=seed)
    accuracy = {"accuracy": interval.value, "low": interval.low, "high": interval.high}
    return {**accuracy, "longer_wins": sum(longer) / len(longer), **counts}


def _table(
    groups: Sequence[RankedGroup], scores: Sequence[Sequence[float]], seed: int, name: Callable[[RankedGroup], str | None]
) -> dict[str, dict[str, Any]]:
    named: dict[str, list[int]] = {}
    for index, group in enumerate(groups):
        key = name(group)
        if key is not None and next(group.strict_pairs(), None) is not None:
            named.setdefault(key, []).append(index)
    order = sorted(named, key=lambda key: (len(key), key) if key.isdigit() else (0, key))
    return {key: _summary([groups[i] for i in named[key]], [scores[i] for i in named[key]], seed) for key in order}


def _confidence_bins(groups: Sequence[RankedGroup]) -> Callable[[RankedGroup], str | None]:
    """Name by value where there are few of them, else by quarter of the observed confidences."""
    values = sorted(group.confidence for group in groups if group.confidence is not None)
    if len(set(values)) <= _FEW_VALUES:
        return lambda group: None if group.confidence is None else f"{group.confidence:g}"
    edges = [values[(len(values) - 1) * quarter // 4] for quarter in range(5)]

    def name(group: RankedGroup) -> str | None:
        if group.confidence is None:
            return None
        place = min(3, sum(group.confidence > edge for edge in edges[1:4]))
        return f"{edges[place]:g} to {edges[place + 1]:g}"

    return name


def _wins(group: RankedGroup, values: Sequence[float]) -> list[float]:
    return [outcome(values[winner], values[loser]) for winner, loser in group.strict_pairs()]


def _softplus(x: float) -> float:
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))
