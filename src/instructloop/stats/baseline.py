"""A model against a baseline in blind comparisons: win rate, test, table by use case, position balance, and how much single votes or labelers matter.

A vote is ``win``, ``loss``, ``tie`` or ``both_bad``, seen from the model. Ties and both-bad count one half; both-bad is reported apart too, because
"equally good" and "equally useless" are different findings.
"""

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from instructloop.core.errors import DataError
from instructloop.stats.bootstrap import Interval, cluster_codes
from instructloop.stats.holm import holm
from instructloop.stats.winrate import win_rate

SCORES = {"win": 1.0, "tie": 0.5, "both_bad": 0.5, "loss": 0.0}


@dataclass(frozen=True, kw_only=True, slots=True)
class HeadToHead:
    """All votes on one pair of models."""

    rate: Interval
    """(wins + ties / 2) / n, both-bad among the ties; the interval resamples prompts."""
    wins: int
    losses: int
    ties: int
    """Without both-bad."""
    both_bad: int
    p_value: float
    """Two-sided sign test over prompts: does the model win more prompts than it loses?"""
    drops_to_even: int
    """How many votes for the leading side must be left out until both are even: wins - losses, without sign."""

    @property
    def drop_share(self) -> float:
        """``drops_to_even`` as a share of all votes (arXiv 2508.11847 asks this of leaderboards)."""
        return self.drops_to_even / self.rate.n


def head_to_head(
    votes: Sequence[str], prompts: Sequence[Hashable], *, samples: int = 2000, seed: int = 0, level: float = 0.95
) -> HeadToHead:
    """The figures of one comparison.

    Args:
        votes: win, loss, tie or both_bad per vote, seen from the model.
        prompts: the prompt of each vote.
        samples: resamples of prompts.
        seed: base seed of the resampling stream.
        level: coverage.

    Raises:
        DataError: no votes, another word, or as many prompts as not votes.
    """
    scores = score(votes)
    rate = win_rate(scores, prompts, samples=samples, seed=seed, level=level)
    count = Counter(votes)
    return HeadToHead(
        rate=rate,
        wins=count["win"],
        losses=count["loss"],
        ties=count["tie"],
        both_bad=count["both_bad"],
        p_value=sign_test(scores, prompts),
        drops_to_even=abs(count["win"] - count["loss"]),
    )


def score(votes: Sequence[str]) -> list[float]:
    """1 for a win, 0 for a loss, 0.5 for a tie or both bad.

    Raises:
        DataError: another word.
    """
    for at, vote in enumerate(votes):
        if vote not in SCORES:
            raise DataError(f"vote {at} is {vote!r}", hint=f"a vote is one of {', '.join(SCORES)}")
    return [SCORES[vote] for vote in votes]


def sign_test(wins: Sequence[float], clusters: Sequence[Hashable] | None = None) -> float:
    """Two-sided p value of as many prompts won as lost; a prompt is won if its votes sum to more than half. Even prompts do not count.

    Votes on one prompt are not independent, prompts are: so the test counts prompts. 1 if there is none to count.

    Args:
        wins: 1, 0.5 or 0 per vote.
        clusters: the prompt of each vote; None treats each vote as its own.
    """
    from scipy.stats import binomtest

    codes, count = cluster_codes(clusters, len(wins))
    balance = np.bincount(codes, weights=np.asarray(wins, dtype=np.float64) - 0.5, minlength=count)
    won, lost = int((balance > 0).sum()), int((balance < 0).sum())
    return float(binomtest(won, won + lost).pvalue) if won + lost else 1.0


def mcnemar_test(first: Sequence[bool], second: Sequence[bool]) -> float:
    """Exact two-sided p value of a flag being as frequent on the first model's outputs as on the second's, both to the same prompts.

    Args:
        first: the flag on the first model's output, per prompt.
        second: the flag on the second model's output to the same prompt.

    Raises:
        DataError: lists of different lengths.
    """
    from scipy.stats import binomtest

    if len(first) != len(second):
        raise DataError(f"cannot pair {len(first)} flags with {len(second)}", hint="pass both models' flags on the same prompts")
    only_first = sum(a and not b for a, b in zip(first, second, strict=True))
    only_second = sum(b and not a for a, b in zip(first, second, strict=True))
    return float(binomtest(only_first, only_first + only_second).pvalue) if only_first + only_second else 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupRow:
    """One line of a table by use case."""

    group: str
    result: HeadToHead
    p_holm: float
    """``result.p_value`` corrected for the number of lines."""
    significant: bool
    """Whether ``p_holm`` is below 1 - level."""


def by_group(
    votes: Sequence[str],
    prompts: Sequence[Hashable],
    groups: Sequence[str],
    *,
    samples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> list[GroupRow]:
    """The comparison apart for every use case (or any other group), with Holm's correction; most votes first.

    Args:
        votes: as in ``head_to_head``.
        prompts: the prompt of each vote.
        groups: the group of each vote.
        samples: resamples of prompts.
        seed: base seed of the resampling stream.
        level: coverage, and 1 - the level of significance.

    Raises:
        DataError: lists of different lengths, or as in ``head_to_head``.
    """
    _check_lengths(votes, prompts, groups)
    results: dict[str, HeadToHead] = {}
    for group in dict.fromkeys(groups):
        mine = [at for at, name in enumerate(groups) if name == group]
        results[group] = head_to_head([votes[at] for at in mine], [prompts[at] for at in mine], samples=samples, seed=seed, level=level)
    adjusted = holm([result.p_value for result in results.values()])
    rows = [
        GroupRow(group=group, result=result, p_holm=p, significant=p < 1 - level)
        for (group, result), p in zip(results.items(), adjusted, strict=True)
    ]
    return sorted(rows, key=lambda row: (-row.result.rate.n, row.group))


@dataclass(frozen=True, kw_only=True, slots=True)
class PositionBalance:
    """Whether both models were shown left equally often, and what the side is worth."""

    left_share: float
    """Share of votes in which the model was shown left; a balanced plan keeps it near 0.5."""
    left: Interval | None
    """Win rate when shown left; None if it never was."""
    right: Interval | None
    """Win rate when shown right."""


def position_balance(
    votes: Sequence[str],
    prompts: Sequence[Hashable],
    on_left: Sequence[bool],
    *,
    samples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> PositionBalance:
    """The comparison apart for votes with the model on the left and on the right.

    Args:
        votes: as in ``head_to_head``.
        prompts: the prompt of each vote.
        on_left: whether the model was shown left.
        samples: resamples of prompts.
        seed: base seed of the resampling stream.
        level: coverage.
    """
    _check_lengths(votes, prompts, on_left)
    scores = score(votes)

    def side(left: bool) -> Interval | None:
        mine = [at for at, shown in enumerate(on_left) if bool(shown) == left]
        if not mine:
            return None
        return win_rate([scores[at] for at in mine], [prompts[at] for at in mine], samples=samples, seed=seed, level=level)

    return PositionBalance(left_share=sum(map(bool, on_left)) / len(on_left) if on_left else 0.0, left=side(True), right=side(False))


def without_labeler(
    votes: Sequence[str],
    prompts: Sequence[Hashable],
    labelers: Sequence[str],
    *,
    samples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, Interval]:
    """Win rate when one labeler's votes are left out, per labeler: does the finding hang on one person? One who gave all votes is absent.

    Args:
        votes: as in ``head_to_head``.
        prompts: the prompt of each vote.
        labelers: the labeler of each vote.
        samples: resamples of prompts.
        seed: base seed of the resampling stream.
        level: coverage.
    """
    _check_lengths(votes, prompts, labelers)
    scores = score(votes)
    result = {}
    for out in sorted(set(labelers)):
        kept = [at for at, name in enumerate(labelers) if name != out]
        if kept:
            result[out] = win_rate([scores[at] for at in kept], [prompts[at] for at in kept], samples=samples, seed=seed, level=level)
    return result


def _check_lengths(votes: Sequence[str], *others: Sequence[object]) -> None:
    for other in others:
        if len(other) != len(votes):
            raise DataError(f"{len(votes)} votes but a column of {len(other)}", hint="pass one prompt, group or labeler per vote")
