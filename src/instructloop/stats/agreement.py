"""Agreement between labelers who ranked the same completions, in the three tie conventions.

A bare percentage says nothing: on the same data the conventions lie 20 points apart. Quote ``strict`` with its n, beside the tie rate and ``tie_half``.
"""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from instructloop.core.errors import DataError
from instructloop.stats.bootstrap import Interval, mean_interval

Ranks = Sequence[int | None]


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


def _answers(rankings: Sequence[Ranks]) -> Iterable[tuple[int, int]]:
    for first, second in combinations([_signs(ranks) for ranks in rankings], 2):
        for a, b in zip(first, second, strict=True):
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
    strict: list[float] = []
    exact: list[float] = []
    half: list[float] = []
    pairs = strict_pairs = ties = 0
    for prompt, given in rankings.items():
        if len({len(ranks) for ranks in given}) > 1:
            raise DataError(
                f"prompt {prompt!r}: labelers ranked different numbers of completions", hint="align the ranks; None marks an unranked one"
            )
        answers = list(_answers(given))
        if not answers:
            continue
        clear = [a == b for a, b in answers if a and b]
        pairs, strict_pairs = pairs + len(answers), strict_pairs + len(clear)
        ties += sum((a == 0) + (b == 0) for a, b in answers)
        exact.append(sum(a == b for a, b in answers) / len(answers))
        half.append(sum(1 - abs(a - b) / 2 for a, b in answers) / len(answers))
        if clear:
            strict.append(sum(clear) / len(clear))
    if not exact:
        raise DataError("no prompt was ranked by two labelers", hint="agreement needs overlapping labels")
    return Agreement(
        strict=mean_interval(strict, samples=samples, seed=seed, level=level) if strict else None,
        exact=mean_interval(exact, samples=samples, seed=seed, level=level),
        tie_half=mean_interval(half, samples=samples, seed=seed, level=level),
        tie_rate=ties / (2 * pairs),
        strict_pairs=strict_pairs,
        pairs=pairs,
        prompts=len(exact),
    )
