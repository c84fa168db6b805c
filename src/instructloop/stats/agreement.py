"""Agreement between labelers who ranked the same completions, in the three tie conventions.

A bare percentage says nothing: on the same data the conventions lie 20 points apart. Quote ``strict`` with its n, beside the tie rate and ``tie_half``.
"""

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from instructloop.core.errors import DataError
from instructloop.stats.bootstrap import Interval
from instructloop.stats.winrate import rate_interval

Ranks = Sequence[int | None]
COHORTS = ("training", "heldout", "researcher", "simulated")
"""The order in which cohorts are named."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Agreement:
    """Pairwise agreement; each prompt counts once (its mean), intervals resample prompts, ``n`` in them counts prompts."""

    strict: Interval | None
    """Share of equal signs among pairs that both labelers ranked strictly; None if there is no such pair."""
    exact: Interval
    """Share of equal answers among better / tie / worse."""
    tie_half: Interval
    """1 if equal, 1/2 if exactly one labeler tied, 0 if opposite."""
    tie_rate: float
    """Share of single answers that are ties."""
    strict_pairs: int
    pairs: int
    """Compared pairs: labeler pairs times completion pairs."""
    prompts: int


def _signs(ranks: Ranks) -> list[int | None]:
    """Per completion pair i < j: 1 if i is better, -1 if j is, 0 for a tie, None if one is unranked (a lower rank is better)."""
    return [None if a is None or b is None else (b > a) - (b < a) for a, b in combinations(ranks, 2)]


def _answers(pairs: Iterable[tuple[Ranks, Ranks]]) -> Iterator[tuple[int, int]]:
    for first, second in pairs:
        for a, b in zip(_signs(first), _signs(second), strict=True):
            if a is not None and b is not None:
                yield a, b


def pairwise_agreement(
    rankings: Mapping[Hashable, Sequence[Ranks]], *, samples: int = 2000, seed: int = 0, level: float = 0.95
) -> Agreement:
    """Agreement over all labeler pairs and completion pairs of each prompt.

    Args:
        rankings: prompt -> one ranks sequence per labeler, all over the same completions in the same order; None = not ranked.
        samples: bootstrap resamples of prompts.
        seed: base seed of the resampling stream.
        level: coverage of the intervals.

    Raises:
        DataError: two labelers ranked different numbers of completions of a prompt, or no prompt was ranked twice.
    """
    checked_lengths(rankings)
    found = _agreement(
        {prompt: list(combinations(given, 2)) for prompt, given in rankings.items()}, samples=samples, seed=seed, level=level
    )
    if found is None:
        raise DataError("no prompt was ranked by two labelers", hint="agreement needs overlapping labels")
    return found


def cohort_agreement(
    rankings: Mapping[Hashable, Sequence[tuple[str, Ranks]]], *, samples: int = 2000, seed: int = 0, level: float = 0.95
) -> dict[tuple[str, str], Agreement]:
    """Agreement by pair of cohorts, e.g. training with training, training with held-out, training with researcher (spec B4).

    Args:
        rankings: prompt -> (cohort, ranks) per labeler; ranks as in ``pairwise_agreement``.
        samples: bootstrap resamples of prompts.
        seed: base seed of the resampling stream.
        level: coverage of the intervals.

    Returns:
        (cohort, cohort) in the order training, heldout, researcher, simulated, others by name -> agreement; pairs that share no prompt are absent.

    Raises:
        DataError: two labelers ranked different numbers of completions of a prompt.
    """
    checked_lengths({prompt: [ranks for _, ranks in given] for prompt, given in rankings.items()})
    pairs: dict[tuple[str, str], dict[Hashable, list[tuple[Ranks, Ranks]]]] = {}
    for prompt, given in rankings.items():
        for one, other in combinations(given, 2):
            (left, first), (right, second) = sorted((one, other), key=lambda labeled: _cohort_order(labeled[0]))
            pairs.setdefault((left, right), {}).setdefault(prompt, []).append((first, second))
    ordered = sorted(pairs, key=lambda key: (_cohort_order(key[0]), _cohort_order(key[1])))
    found = {key: _agreement(pairs[key], samples=samples, seed=seed, level=level) for key in ordered}
    return {key: agreement for key, agreement in found.items() if agreement is not None}


def labeler_agreement(
    rankings: Mapping[Hashable, Sequence[tuple[str, Ranks]]], *, samples: int = 2000, seed: int = 0, level: float = 0.95
) -> dict[str, Agreement]:
    """Agreement of each labeler with everyone else who ranked the same prompts; a labeler who shares no prompt is absent.

    Args:
        rankings: prompt -> (labeler, ranks) per labeler.
        samples: bootstrap resamples of prompts.
        seed: base seed of the resampling stream.
        level: coverage of the intervals.

    Raises:
        DataError: two labelers ranked different numbers of completions of a prompt.
    """
    checked_lengths({prompt: [ranks for _, ranks in given] for prompt, given in rankings.items()})
    pairs: dict[str, dict[Hashable, list[tuple[Ranks, Ranks]]]] = {}
    for prompt, given in rankings.items():
        for (one, first), (other, second) in combinations(given, 2):
            for labeler in {one, other}:
                pairs.setdefault(labeler, {}).setdefault(prompt, []).append((first, second))
    found = {labeler: _agreement(pairs[labeler], samples=samples, seed=seed, level=level) for labeler in sorted(pairs)}
    return {labeler: agreement for labeler, agreement in found.items() if agreement is not None}


def agreement_without(
    rankings: Mapping[Hashable, Sequence[tuple[str, Ranks]]], *, samples: int = 2000, seed: int = 0, level: float = 0.95
) -> dict[str, Agreement]:
    """Agreement of the others when one labeler is left out, per labeler: who alone moves the figure?

    Args:
        rankings: prompt -> (labeler, ranks) per labeler.
        samples: bootstrap resamples of prompts.
        seed: base seed of the resampling stream.
        level: coverage of the intervals.

    Returns:
        labeler -> agreement without; a labeler without whom nothing overlaps is absent.

    Raises:
        DataError: two labelers ranked different numbers of completions of a prompt.
    """
    checked_lengths({prompt: [ranks for _, ranks in given] for prompt, given in rankings.items()})
    result = {}
    for out in sorted({labeler for given in rankings.values() for labeler, _ in given}):
        pairs = {prompt: list(combinations([ranks for labeler, ranks in given if labeler != out], 2)) for prompt, given in rankings.items()}
        found = _agreement(pairs, samples=samples, seed=seed, level=level)
        if found is not None:
            result[out] = found
    return result


def _agreement(pairs: Mapping[Hashable, Iterable[tuple[Ranks, Ranks]]], *, samples: int, seed: int, level: float) -> Agreement | None:
    """The figures of labeler pairs by prompt; None if no two of them ranked the same two completions."""
    strict: list[float] = []
    exact: list[float] = []
    half: list[float] = []
    compared = strict_pairs = ties = 0
    for labeler_pairs in pairs.values():
        answers = list(_answers(labeler_pairs))
        if not answers:
            continue
        clear = [a == b for a, b in answers if a and b]
        compared, strict_pairs = compared + len(answers), strict_pairs + len(clear)
        ties += sum((a == 0) + (b == 0) for a, b in answers)
        exact.append(sum(a == b for a, b in answers) / len(answers))
        half.append(sum(1 - abs(a - b) / 2 for a, b in answers) / len(answers))
        if clear:
            strict.append(sum(clear) / len(clear))
    if not exact:
        return None
    return Agreement(
        strict=rate_interval(strict, samples=samples, seed=seed, level=level) if strict else None,
        exact=rate_interval(exact, samples=samples, seed=seed, level=level),
        tie_half=rate_interval(half, samples=samples, seed=seed, level=level),
        tie_rate=ties / (2 * compared),
        strict_pairs=strict_pairs,
        pairs=compared,
        prompts=len(exact),
    )


def checked_lengths(rankings: Mapping[Hashable, Sequence[Ranks]]) -> Mapping[Hashable, Sequence[Ranks]]:
    """The rankings as given; DataError if two labelers ranked different numbers of completions of a prompt."""
    for prompt, given in rankings.items():
        if len({len(ranks) for ranks in given}) > 1:
            raise DataError(
                f"prompt {prompt!r}: labelers ranked different numbers of completions", hint="align the ranks; None marks an unranked one"
            )
    return rankings


def _cohort_order(cohort: str) -> tuple[int, str]:
    return (COHORTS.index(cohort) if cohort in COHORTS else len(COHORTS), cohort)
