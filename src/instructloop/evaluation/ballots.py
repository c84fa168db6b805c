"""Ballots into figures: what a score, a judge's verdict and a person's vote have in common, so that their tables are read alike.

Answers to one prompt are not independent, so every interval resamples prompts. Ties, and both bad, count one half.
"""

from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

from instructloop.stats import (
    Interval,
    holm,
    leaderboard,
    length_controlled,
    preference_rate,
    rate_difference,
    rate_interval,
    sign_test,
    two_way_interval,
)
from instructloop.stats.two_way import FEWEST

SIGNIFICANT = 0.05
"""Level of the tests by use case, after Holm's correction."""
COHORTS = ("training", "train", "heldout", "researcher", "simulated")
"""The order in which cohorts of labelers are named; others follow by name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ballot:
    """One comparison of two models' answers to one prompt."""

    prompt: Hashable
    """What intervals cluster by."""
    a: str
    b: str
    win_a: float
    """1 if a was better, 0 if b was, 0.5 for a tie or both bad; a weight in between where the voter gives one."""
    both_bad: bool | None = None
    """None: this voter cannot say so."""
    use_case: str | None = None
    characters_a: int | None = None
    characters_b: int | None = None
    a_first: bool | None = None
    """Whether a was shown first (on the left). None: there was no order."""
    labeler: str | None = None
    cohort: str | None = None

    def seen_from(self, model: str) -> "Ballot":
        """The same ballot with ``model`` in the place of a."""
        if model == self.a:
            return self
        return replace(
            self,
            a=self.b,
            b=self.a,
            win_a=1 - self.win_a,
            characters_a=self.characters_b,
            characters_b=self.characters_a,
            a_first=None if self.a_first is None else not self.a_first,
        )


def model_pairs(models: Sequence[str], baseline: str = "") -> list[tuple[str, str]]:
    """(a, b) in the order of tables: later models are asked whether they beat earlier ones, and everyone whether it beats the baseline."""
    pairs = [(a, b) for b, a in combinations(models, 2)]
    return sorted(((b, a) if a == baseline else (a, b) for a, b in pairs), key=lambda pair: bool(baseline) and pair[1] != baseline)


def by_pair(ballots: Sequence[Ballot], models: Sequence[str], baseline: str = "") -> dict[tuple[str, str], list[Ballot]]:
    """The ballots on each pair of models that was voted on, seen from the first."""
    found: dict[frozenset[str], list[Ballot]] = defaultdict(list)
    for ballot in ballots:
        found[frozenset((ballot.a, ballot.b))].append(ballot)
    pairs = [(a, b) for a, b in model_pairs(models, baseline) if frozenset((a, b)) in found]
    return {(a, b): [ballot.seen_from(a) for ballot in found[frozenset((a, b))]] for a, b in pairs}


@dataclass(frozen=True, kw_only=True, slots=True)
class Tally:
    """Turns ballots into rows; holds what all figures of a table share."""

    models: Sequence[str]
    """In the order in which they were trained."""
    baseline: str = ""
    """The model that the others are first of all compared with; its pairs come first in every table."""
    samples: int = 2000
    """Resamples behind each interval."""
    seed: int = 0

    def rate(self, ballots: Sequence[Ballot]) -> Interval:
        """A's win rate over b."""
        return preference_rate(
            [ballot.win_a for ballot in ballots], [ballot.prompt for ballot in ballots], samples=self.samples, seed=self.seed
        )

    def wins(self, ballots: Sequence[Ballot]) -> list[dict[str, Any]]:
        """One row for each direction of each pair."""
        rows = []
        for (a, b), own in by_pair(ballots, self.models, self.baseline).items():
            extra: dict[str, Any] = {}
            if any(ballot.both_bad is not None for ballot in own):
                extra["both_bad"] = sum(bool(ballot.both_bad) for ballot in own) / len(own)
            rows += [{**row, **extra} for row in both_ways(a, b, self.rate(own))]
        return rows

    def tables(self, ballots: Sequence[Ballot]) -> dict[str, Any]:
        """``wins`` and whatever else these ballots can tell: leaderboard, length control, use cases, positions, cohorts, both bad."""
        found: dict[str, Any] = {"wins": self.wins(ballots), "groups": self.use_cases(ballots)}
        if self.baseline:
            found["baseline"] = self.baseline
        if len(self.models) > 2:
            found |= self.board(ballots)
        optional = {
            "length_controlled": self.at_equal_length(ballots),
            "positions": self.positions(ballots),
            "both_bad": self.both_bad(ballots),
            "cohorts": self.cohorts(ballots),
            "cohort_differences": self.cohort_differences(ballots),
            "labelers_matter": self.labelers_matter(ballots),
        }
        return found | {name: value for name, value in optional.items() if value}

    def board(self, ballots: Sequence[Ballot]) -> dict[str, Any]:
        """``leaderboard``: Bradley-Terry strengths (log odds relative to the mean of all models), strongest first; and its caveat."""
        table = leaderboard(
            [ballot.a for ballot in ballots],
            [ballot.b for ballot in ballots],
            [ballot.win_a for ballot in ballots],
            [ballot.prompt for ballot in ballots],
            samples=min(self.samples, 1000),
            seed=self.seed,
        )
        rows = [
            {
                "model": line.model,
                "rank": line.rank,
                "strength": line.strength.value,
                "low": line.strength.low,
                "high": line.strength.high,
                "elo": line.elo,
                "elo_low": line.elo_low,
                "elo_high": line.elo_high,
                "votes": line.strength.n,
                "clusters": line.strength.clusters,
            }
            for line in table.standings
        ]
        return {"leaderboard": rows, **({"leaderboard_note": table.caveat} if table.caveat else {})}

    def at_equal_length(self, ballots: Sequence[Ballot]) -> list[dict[str, Any]]:
        """``length_controlled``: each pair once, seen from its first model; pairs whose texts are unknown are absent."""
        rows = []
        for (a, b), own in by_pair(ballots, self.models, self.baseline).items():
            known = [ballot for ballot in own if ballot.characters_a is not None and ballot.characters_b is not None]
            if not known:
                continue
            found = length_controlled(
                [ballot.win_a for ballot in known],
                [float(ballot.characters_a or 0) for ballot in known],
                [float(ballot.characters_b or 0) for ballot in known],
                [ballot.prompt for ballot in known],
                samples=min(self.samples, 1000),
                seed=self.seed,
            )
            rows.append(
                {
                    "a": a,
                    "b": b,
                    "win_rate": found.rate.value,
                    "low": found.rate.low,
                    "high": found.rate.high,
                    "n": found.rate.n,
                    "clusters": found.rate.clusters,
                    "slope": found.slope.value,
                    "slope_low": found.slope.low,
                    "slope_high": found.slope.high,
                    "longer": found.longer,
                    "extrapolated": found.extrapolated,
                }
            )
        return rows

    def use_cases(self, ballots: Sequence[Ballot]) -> dict[str, dict[str, Any]]:
        """Each use case apart: ``wins`` with ``p`` (sign test over prompts) and ``p_holm``, corrected for the number of use cases of the pair."""
        named: dict[str, list[Ballot]] = defaultdict(list)
        for ballot in ballots:
            if ballot.use_case:
                named[ballot.use_case].append(ballot)
        found: dict[str, dict[str, Any]] = {
            name: {"n_prompts": len({ballot.prompt for ballot in own}), "wins": self.wins(own), "scores": {}}
            for name, own in sorted(named.items())
        }
        p_values: dict[tuple[str, str], dict[str, float]] = defaultdict(dict)
        for name, own in named.items():
            for (a, b), part in by_pair(own, self.models, self.baseline).items():
                p = sign_test([ballot.win_a for ballot in part], [ballot.prompt for ballot in part])
                p_values[a, b][name] = p_values[b, a][name] = p
        adjusted = {pair: dict(zip(own, holm(list(own.values())), strict=True)) for pair, own in p_values.items()}
        for name, table in found.items():
            for row in table["wins"]:
                p = adjusted[row["a"], row["b"]][name]
                row |= {"p": p_values[row["a"], row["b"]][name], "p_holm": p, "significant": p < SIGNIFICANT}
        return found

    def positions(self, ballots: Sequence[Ballot]) -> dict[str, Any]:
        """``positions``: how often the answer shown first wins a decided vote; an even plan and no bias give one half."""
        decided = [ballot for ballot in ballots if ballot.a_first is not None and ballot.win_a != 0.5]
        if not decided:
            return {}
        first = [ballot.win_a if ballot.a_first else 1 - ballot.win_a for ballot in decided]
        prompts = [ballot.prompt for ballot in decided]
        return {
            "first_rate": as_estimate(rate_interval(first, prompts, samples=self.samples, seed=self.seed)),
            "p": sign_test(first, prompts),
        }

    def both_bad(self, ballots: Sequence[Ballot]) -> dict[str, Any]:
        """``both_bad``: share of votes that found neither answer good enough."""
        asked = [ballot for ballot in ballots if ballot.both_bad is not None]
        bad = sum(bool(ballot.both_bad) for ballot in asked)
        if not bad:
            return {}
        found = rate_interval(
            [float(bool(ballot.both_bad)) for ballot in asked], [ballot.prompt for ballot in asked], samples=self.samples, seed=self.seed
        )
        return {"votes": bad, "share": bad / len(asked), **as_estimate(found)}

    def cohorts(self, ballots: Sequence[Ballot]) -> dict[str, Any]:
        """``cohorts``: the win rates of each group of labelers apart (training against held-out, spec G1), where there is more than one."""
        named = Counter(ballot.cohort for ballot in ballots if ballot.cohort)
        if len(named) < 2:
            return {}
        order = sorted(named, key=lambda name: (COHORTS.index(name) if name in COHORTS else len(COHORTS), name))
        tables = {}
        for name in order:
            own = [ballot for ballot in ballots if ballot.cohort == name]
            tables[name] = {
                "n_votes": named[name],
                "n_prompts": len({ballot.prompt for ballot in own}),
                "n_labelers": len({ballot.labeler for ballot in own if ballot.labeler}),
                "wins": self.wins(own),
            }
        return tables

    def cohort_differences(self, ballots: Sequence[Ballot]) -> list[dict[str, Any]]:
        """``cohort_differences``: per pair the held-out labelers' win rate minus the training labelers' (spec H19: about 0)."""
        rows = []
        for (a, b), own in by_pair(ballots, self.models, self.baseline).items():
            held, trained = ([ballot for ballot in own if ballot.cohort in names] for names in (("heldout",), ("training", "train")))
            if held and trained:
                found = rate_difference(
                    [ballot.win_a for ballot in held],
                    [ballot.prompt for ballot in held],
                    [ballot.win_a for ballot in trained],
                    [ballot.prompt for ballot in trained],
                    samples=self.samples,
                    seed=self.seed,
                )
                rows.append({"a": a, "b": b, **as_estimate(found)})
        return rows

    def labelers_matter(self, ballots: Sequence[Ballot]) -> list[dict[str, Any]]:
        """``labelers_matter``: per pair the interval over other prompts *and* other labelers, and the labeler without whom the rate moves most."""
        rows = []
        for (a, b), own in by_pair(ballots, self.models, self.baseline).items():
            known = [ballot for ballot in own if ballot.labeler]
            people = sorted({str(ballot.labeler) for ballot in known})
            if len(people) < FEWEST:
                continue
            found = two_way_interval(
                [ballot.win_a for ballot in known],
                [ballot.prompt for ballot in known],
                [ballot.labeler for ballot in known],
            )
            without = {name: self.rate([ballot for ballot in known if ballot.labeler != name]) for name in people}
            most = max(people, key=lambda name: abs(without[name].value - found.value))
            left = without[most]
            rows.append(
                {
                    "a": a,
                    "b": b,
                    "win_rate": found.value,
                    "low": found.low,
                    "high": found.high,
                    "n": found.n,
                    "labelers": len(people),
                    "without": {"labeler": most, "win_rate": left.value, "low": left.low, "high": left.high, "n": left.n},
                }
            )
        return rows


def both_ways(a: str, b: str, interval: Interval) -> list[dict[str, Any]]:
    """A's win rate over B, and the same comparison seen from B."""
    mirrored = replace(interval, value=1 - interval.value, low=1 - interval.high, high=1 - interval.low)
    return [
        {
            "a": first,
            "b": second,
            "win_rate": found.value,
            "low": found.low,
            "high": found.high,
            "n": found.n,
            "clusters": found.clusters,
            "ties": found.ties,
        }
        for first, second, found in ((a, b, interval), (b, a, mirrored))
    ]


def as_estimate(interval: Interval) -> dict[str, Any]:
    """An interval in the layout of every result file: value, low, high, n, clusters."""
    return {"value": interval.value, "low": interval.low, "high": interval.high, "n": interval.n, "clusters": interval.clusters}
