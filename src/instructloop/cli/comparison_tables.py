"""What a comparison says besides win rates, for a terminal: leaderboard, equal length, use cases, cohorts, positions, agreement."""

from collections.abc import Iterator, Mapping
from typing import Any

Row = tuple[str, str]


def further_lines(table: Mapping[str, Any]) -> Iterator[tuple[str, list[Row]]]:
    """Titled lists of (what, figure with its interval), only those that the table holds."""
    models = list(table.get("models", ()))
    board = table.get("leaderboard") or []
    if board:
        note = f"; {table['leaderboard_note']}" if table.get("leaderboard_note") else ""
        title = f"Bradley-Terry leaderboard: log odds relative to the mean of all models{note}"
        yield title, [(f"{row['rank']}. {row['model']}", f"{row['strength']:+.2f} {_range(row, '+.2f')} n {row['votes']}") for row in board]
    equal = table.get("length_controlled") or []
    if equal:
        yield "Win rate at equal length", [(f"{row['a']} over {row['b']}", _at_equal_length(row, table)) for row in equal]
    if table.get("likert"):
        yield "Overall quality, 1 to 7", [(name, estimate(value)) for name, value in table["likert"].items()]
    groups = [
        (f"{name}: {row['a']} over {row['b']}", f"{row['win_rate']:.3f} {_range(row)} n {row['n']}, Holm p {row['p_holm']:.3g}")
        for name, group in (table.get("groups") or {}).items()
        for row in group["wins"]
        if row.get("significant") and models.index(row["a"]) > models.index(row["b"])
    ]
    if groups:
        yield "Use cases that differ from one half (sign test over prompts, Holm's correction)", groups
    cohorts = [
        (f"{name}: {row['a']} over {row['b']}", f"{row['win_rate']:.3f} {_range(row)} n {row['n']}")
        for name, cohort in (table.get("cohorts") or {}).items()
        for row in cohort["wins"]
        if models.index(row["a"]) > models.index(row["b"])
    ]
    cohorts += [
        (f"held-out minus training: {row['a']} over {row['b']}", f"{row['value']:+.3f} {_range(row, '+.3f')} n {row['n']}")
        for row in table.get("cohort_differences") or ()
    ]
    if cohorts:
        yield "By cohort of labelers", cohorts
    matter = table.get("labelers_matter") or []
    if matter:
        title = "With other prompts and other labelers, and without the labeler who moves it most"
        yield title, [(f"{row['a']} over {row['b']}", _with_other_labelers(row)) for row in matter]
    votes = list(_about_votes(table))
    if votes:
        yield "About the votes", votes


def _at_equal_length(row: Mapping[str, Any], table: Mapping[str, Any]) -> str:
    raw = next((win["win_rate"] for win in table["wins"] if (win["a"], win["b"]) == (row["a"], row["b"])), None)
    was = "" if raw is None else f" (was {raw:.3f})"
    doubt = ", outside the lengths seen" if row.get("extrapolated") else ""
    return f"{row['win_rate']:.3f} {_range(row)}{was}, slope {row['slope']:+.2f}{doubt}"


def _with_other_labelers(row: Mapping[str, Any]) -> str:
    left = row["without"]
    return (
        f"{row['win_rate']:.3f} {_range(row)} {row['labelers']} labelers; without {left['labeler']} {left['win_rate']:.3f} {_range(left)}"
    )


def _about_votes(table: Mapping[str, Any]) -> Iterator[Row]:
    if table.get("both_bad"):
        yield "both bad", estimate(table["both_bad"])
    if table.get("positions"):
        yield "first shown wins", f"{estimate(table['positions']['first_rate'])}, p {table['positions']['p']:.3g}"
    if table.get("same_text"):
        yield "pairs with one and the same text", f"{table['same_text']}, not asked about"
    for voter, row in (table.get("agreement") or {}).items():
        yield f"agreement with {'each other' if voter == 'people' else voter.replace('_', ' ')}", estimate(row)


def estimate(value: Mapping[str, Any]) -> str:
    """A value with its interval and n."""
    return f"{value['value']:.3f} {_range(value)} n {value['n']}"


def _range(value: Mapping[str, Any], form: str = ".3f") -> str:
    return f"[{value['low']:{form}}, {value['high']:{form}}]"
