"""What a comparison says beyond win rates: a leaderboard, wins at equal length, both-bad votes, cohorts, ratings, and how far the voter can be trusted.

Every part is optional; a table that has none of them shows nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from instructloop.report import chart
from instructloop.report.marks import Bar, Block, verdict, win_of
from instructloop.report.numbers import Estimate, estimate, finite, grouped, number, percent
from instructloop.report.observatory import plain
from instructloop.report.tell import words

_COHORTS = {
    "heldout": "Held-out labelers",
    "held_out": "Held-out labelers",
    "train": "Training labelers",
    "training": "Training labelers",
    "researcher": "Researchers",
    "simulated": "Simulated labelers",
}


@dataclass(frozen=True, slots=True)
class Place:
    """A model's place on the leaderboard."""

    rank: str
    bar: Bar
    votes: str


@dataclass(frozen=True, slots=True)
class Controlled:
    """A win rate at equal length beside the raw one."""

    bar: Bar
    raw: str
    slope: str


@dataclass(frozen=True, slots=True)
class Standing:
    """All of it."""

    warnings: Sequence[str]
    """Why the verdicts should not be taken at face value."""
    voter: Sequence[tuple[str, str]]
    """Facts about the voter: orders asked, position bias, agreement with people."""
    leaderboard: Sequence[Place]
    controlled: Sequence[Controlled]
    both_bad: str
    both_bad_pairs: Sequence[tuple[str, str]]
    cohorts: Sequence[Block]
    likert: Block | None
    others: Sequence[tuple[str, str]] = ()
    """Win rates with intervals over other labelers too."""
    note: str = ""
    """What a reader of the leaderboard must know."""


def standing(row: Mapping[str, Any], models: Sequence[str], colors: Mapping[str, int]) -> Standing:
    """Read the optional keys of a comparison."""
    warnings, facts = _voter(row)
    both_bad = estimate(_named_share(row.get("both_bad")), share=True)
    return Standing(
        warnings=[*_not_held_out(row), *warnings],
        voter=facts,
        leaderboard=_leaderboard(row, colors),
        controlled=_controlled(row, models, colors),
        others=_others(row),
        note=str(row.get("leaderboard_note") or ""),
        both_bad=f"{both_bad.text()} {both_bad.interval()}".strip() + f", {both_bad.count()}" if both_bad else "",
        both_bad_pairs=_both_bad_pairs(row),
        cohorts=_cohorts(row, models, colors),
        likert=_likert(row, models, colors),
    )


def _named_share(row: Any) -> Any:
    """Older tables call the share by its name."""
    if isinstance(row, Mapping) and "value" not in row and finite(row.get("share")):
        return {**row, "value": row["share"]}
    return row


def _leaderboard(row: Mapping[str, Any], colors: Mapping[str, int]) -> list[Place]:
    entries = [(one, found) for one in row.get("leaderboard") or () if (found := _strength(one)) is not None]
    if not entries:
        return []
    low, high = chart.scale_of([found for _, found in entries])
    places = []
    for order, (one, found) in enumerate(sorted(entries, key=lambda entry: -entry[1].value), start=1):
        name = str(one.get("model") or "")
        color = colors.get(name, 0)
        bar = Bar(name, found, chart.interval_mark(found, low=low, high=high, color=color), color)
        votes = f"{grouped(int(one['votes']))} votes" if finite(one.get("votes")) else ""
        places.append(Place(str(one.get("rank") or order), bar, votes))
    return places


def _strength(one: Mapping[str, Any]) -> Estimate | None:
    if not finite(one.get("strength")):
        return None
    low, high = one.get("low"), one.get("high")
    return Estimate(float(one["strength"]), float(low) if finite(low) else None, float(high) if finite(high) else None)


def _controlled(row: Mapping[str, Any], models: Sequence[str], colors: Mapping[str, int]) -> list[Controlled]:
    """In the order of the win rates: the last model against all earlier ones, then the one before it."""
    shown = []
    for place in range(len(models) - 1, 0, -1):
        for b in reversed(models[:place]):
            a = models[place]
            one = next((one for one in row.get("length_controlled") or () if {one.get("a"), one.get("b")} == {a, b}), None)
            found = None if one is None else win_of({"wins": [one]}, a, b)
            if one is None or found is None:
                continue
            raw = win_of(row, a, b)
            mark = chart.interval_mark(found, low=0, high=1, color=colors.get(a, 0), reference=0.5)
            slope = number(float(one["slope"])) if finite(one.get("slope")) else ""
            note = "extrapolated" if one.get("extrapolated") else verdict(found)
            shown.append(Controlled(Bar(a, found, mark, colors.get(a, 0), note, b), raw.text() if raw else "", slope))
    return shown


def _others(row: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What other labelers might have said, where enough of them voted."""
    found = []
    for one in row.get("labelers_matter") or ():
        own, left = estimate(one, share=True), estimate(one.get("without"), share=True)
        if own is not None:
            text = f"{own.text()} {own.interval()}, {one.get('labelers', '?')} labelers"
            if left is not None:
                text += f"; without {one['without'].get('labeler', 'one of them')} {left.text()} {left.interval()}"
            found.append((f"{one.get('a')} over {one.get('b')}", text))
    return found


def _both_bad_pairs(row: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The share for each pair; a pair is stored from both sides, and told once."""
    found: dict[frozenset[str], tuple[str, str]] = {}
    for one in row.get("wins") or ():
        value = one.get("both_bad")
        own = estimate(_named_share(value), share=True)
        text = f"{own.text()} {own.interval()}".strip() if own else percent(float(value)) if finite(value) else ""
        if text:
            found.setdefault(frozenset((str(one["a"]), str(one["b"]))), (f"{one['a']} and {one['b']}", text))
    return list(found.values())


def _cohorts(row: Mapping[str, Any], models: Sequence[str], colors: Mapping[str, int]) -> list[Block]:
    blocks = []
    for name, own in (row.get("cohorts") or {}).items():
        bars = []
        for place, b in enumerate(models):
            for a in models[place + 1 :]:
                if (found := win_of(own, a, b)) is not None:
                    mark = chart.interval_mark(found, low=0, high=1, color=colors.get(a, 0), reference=0.5)
                    bars.append(Bar(a, found, mark, colors.get(a, 0), verdict(found), b))
        votes = own.get("n_votes")
        title = _COHORTS.get(str(name), words(str(name)).capitalize())
        if bars:
            blocks.append(Block(title, f"{grouped(int(votes))} votes" if finite(votes) else "", bars))
    return blocks


def _likert(row: Mapping[str, Any], models: Sequence[str], colors: Mapping[str, int]) -> Block | None:
    rated = row.get("likert") or {}
    found = {name: one for name in models if (one := estimate(rated.get(name), share=False)) is not None}
    if not found:
        return None
    low, high = min(1.0, *(one.value for one in found.values())), max(7.0, *(one.value for one in found.values()))
    bars = [Bar(name, one, chart.interval_mark(one, low=low, high=high, color=colors[name]), colors[name]) for name, one in found.items()]
    return Block("Overall quality", "mean rating on the scale of 1 to 7", bars)


def _voter(row: Mapping[str, Any]) -> tuple[list[str], list[tuple[str, str]]]:
    judge = row.get("judge") or {}
    bias = judge.get("position_bias") or {}
    seen = bias or row.get("positions") or {}
    first = estimate(seen.get("first_rate"), share=True)
    facts = []
    if judge.get("name"):
        facts.append(("judge", str(judge["name"])))
    if judge.get("orders"):
        facts.append(("orders asked", str(judge["orders"])))
    if first is not None:
        facts.append(("chose the answer shown first", f"{first.text()} {first.interval()} {first.count()}".strip()))
    if (same := estimate(bias.get("consistent"), share=True)) is not None:
        facts.append(("same verdict in both orders", f"{same.text()} {same.interval()} {same.count()}".strip()))
    if finite(seen.get("p")):
        facts.append(("p of no position bias", number(float(seen["p"]))))
    for name, value in (judge.get("agreement_with_people") or {}).items():
        found = estimate(value, share=name in {"agreement", "accuracy", "rate"} or None)
        text = f"{found.text()} {found.interval()} {found.count()}".strip() if found else "" if value is None else plain(value)
        if text:
            facts.append((f"with people: {words(str(name))}", text))
    for name, value in (row.get("agreement") or {}).items():
        if (equal := estimate(value, share=True)) is not None:
            who = "each other" if name == "people" else words(str(name))
            facts.append((f"voted like {who}", f"{equal.text()} {equal.interval()} {equal.count()}".strip()))
    if (ties := estimate(judge.get("tie_share"), share=True)) is not None:
        facts.append(("ties", f"{ties.text()} {ties.interval()}".strip()))
    for one in row.get("cohort_differences") or ():
        if (found := estimate(one, share=True)) is not None:
            name = f"held-out minus training labelers: {one.get('a')} over {one.get('b')}"
            facts.append((name, f"{found.text()} {found.interval()}"))
    facts += [(f"{name} verdicts", grouped(int(judge[name]))) for name in ("unreadable", "failed") if finite(judge.get(name))]
    return _warnings(judge, bias, first), facts


def _not_held_out(row: Mapping[str, Any]) -> list[str]:
    """Test prompts that a model was trained on, or chosen by."""
    seen = row.get("seen_prompts") or {}
    if not (finite(seen.get("n")) and seen["n"]):
        return []
    uses = sorted({str(one["use"]) for one in seen.get("by") or ()})
    where = f" ({' and '.join(uses)})" if uses else ""
    return [
        f"{grouped(int(seen['n']))} of {grouped(int(seen['of']))} test prompts were seen before the test{where}: the models look better than they are."
    ]


def _warnings(judge: Mapping[str, Any], bias: Mapping[str, Any], first: Estimate | None) -> list[str]:
    found = []
    if bias.get("biased"):
        told = f"it chose the answer shown first {first.text()} of the time" if first else "its verdict follows the order"
        found.append(f"This judge is biased by position: {told}. Its verdicts say little about the answers.")
    if judge and judge.get("agreement_with_people", ...) is None:
        found.append("How far this judge agrees with people is not known: give human votes to compare it with.")
    lost = sum(int(judge[name]) for name in ("unreadable", "failed") if finite(judge.get(name)))
    if lost:
        found.append(f"{grouped(lost)} verdicts are missing: the judge failed or gave nothing that could be read.")
    return found
