"""Evaluation tables for a terminal, from ``eval/*.json`` alone: every number with n and its 95 % interval."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from instructloop.cli.comparison_tables import further_lines
from instructloop.cli.judge_lines import judge_lines
from instructloop.cli.suite_tables import print_suites
from instructloop.core.files import read_json

_WIDTH_WITHOUT_TERMINAL = 140


def console() -> Console:
    """Standard output; wide enough for the tables where it is no terminal."""
    found = Console(highlight=False)
    return found if found.is_terminal else Console(highlight=False, width=_WIDTH_WITHOUT_TERMINAL)


def print_evaluations(out: Console, run: Path) -> None:
    """Print all tables of a run directory."""
    for file in sorted((run / "eval").glob("*.json")):
        value = read_json(file)
        if value.get("kind") == "comparison":
            print_comparison(out, value)
        elif value.get("kind") == "suites":
            print_suites(out, value)


def print_comparison(out: Console, table: Mapping[str, Any]) -> None:
    """Win rates, scores with flags, and held capabilities of one evaluation."""
    models = list(table["models"])
    judge = f"judged by {table['voter']}" if table.get("voter") else ""
    for name, part in {"": table, **(table.get("sets") or {})}.items():
        where = f"{name or 'held-out'} prompts (n {part['n_prompts']})"
        out.print(f"\n[bold]Win rate of the row over the column, {where}, {judge}, 95 % intervals, ties as one half[/bold]", soft_wrap=True)
        out.print(_wins(part, list(part["models"])))
    for title, lines in [*further_lines(table), *judge_lines(table)]:
        out.print(f"\n[bold]{escape(title)}[/bold]", soft_wrap=True)
        for what, figure in lines:
            out.print(f"  {escape(what)}: {escape(figure)}", soft_wrap=True)
    rows = _score_rows(table, models) + _capability_rows(table.get("capabilities") or {}, models)
    if rows:
        out.print(f"\n[bold]Scores {judge} and held capabilities (the alignment tax), 95 % intervals[/bold]", soft_wrap=True)
        out.print(_grid(models, rows))


def _grid(columns: Sequence[str], rows: Sequence[tuple[str, Sequence[str]]]) -> Table:
    shown = Table("", *columns, box=box.SIMPLE_HEAD)
    for name, cells in rows:
        shown.add_row(name, *cells)
    return shown


def _wins(table: Mapping[str, Any], models: list[str]) -> Table:
    rates = {(row["a"], row["b"]): row for row in table["wins"]}
    rows = []
    for place, a in enumerate(models[1:], start=1):
        rows.append((a, [_rate(rates[a, b]) if number < place and (a, b) in rates else "" for number, b in enumerate(models[:-1])]))
    return _grid(models[:-1], rows)


def _rate(row: Mapping[str, Any]) -> str:
    color = "green" if row["low"] > 0.5 else "red" if row["high"] < 0.5 else "yellow"
    return f"[{color}]{row['win_rate']:.3f}[/{color}]\n{_interval(row)}"


def _interval(value: Mapping[str, Any]) -> str:
    return f"\\[{value['low']:.3f}, {value['high']:.3f}]"


def _score_rows(table: Mapping[str, Any], models: Sequence[str]) -> list[tuple[str, list[str]]]:
    scores = table.get("scores") or {}
    if not scores:
        return []
    rows = [("mean score", [f"{scores[model]['mean']:.3f}\n{_interval(scores[model])}" for model in models])]
    flags = dict.fromkeys(flag for model in models for flag in scores[model].get("flags", {}))
    for flag in flags:
        cells = []
        for model in models:
            rate = scores[model].get("flags", {}).get(flag)
            known = rate is not None and rate.get("rate") is not None
            cells.append(f"{rate['rate']:.1%} n {rate['n']}\n{_interval(rate)}" if known else "")
        rows.append((flag.replace("_", " "), cells))
    return rows


def _capability_rows(held: Mapping[str, Mapping[str, Mapping[str, Any]]], models: Sequence[str]) -> list[tuple[str, list[str]]]:
    names = dict.fromkeys(name for values in held.values() for name in values)
    rows = []
    for name in names:
        cells = []
        for model in models:
            cell = held.get(model, {}).get(name)
            cells.append("" if cell is None else f"{cell['value']:.3f} n {cell['n']}\n{_interval(cell)}")
        rows.append((name.replace("_", " "), cells))
    return rows
