"""Evaluation tables for a terminal, from ``eval/*.json`` alone: every number with n and its 95 % interval."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from instructloop.core.files import read_json


def print_evaluations(console: Console, run: Path) -> None:
    """Print all tables of a run directory."""
    for file in sorted((run / "eval").glob("*.json")):
        value = read_json(file)
        if value.get("kind") == "comparison":
            print_comparison(console, value)


def print_comparison(console: Console, table: Mapping[str, Any]) -> None:
    """Win rates, scores with flags, and held capabilities of one evaluation."""
    models = list(table["models"])
    voter = table.get("voter", "")
    console.print(_wins(table, models, f"win rate of row over column, judged by {voter}, {table['n_prompts']} prompts, 95 % intervals"))
    if table.get("scores"):
        console.print(_scores(table, models, f"scores by {voter}, 95 % intervals"))
    if table.get("capabilities"):
        console.print(_capabilities(table["capabilities"]))
    for name, part in (table.get("sets") or {}).items():
        console.print(_wins(part, list(part["models"]), f"{name}: win rate of row over column, {part['n_prompts']} prompts"))


def _wins(table: Mapping[str, Any], models: list[str], title: str) -> Table:
    rates = {(row["a"], row["b"]): row for row in table["wins"]}
    shown = Table("", *models[:-1], title=title, title_justify="left")
    for a in models[1:]:
        cells = [_rate(rates[a, b]) if (a, b) in rates and models.index(b) < models.index(a) else "" for b in models[:-1]]
        shown.add_row(a, *cells)
    return shown


def _rate(row: Mapping[str, Any]) -> str:
    color = "green" if row["low"] > 0.5 else "red" if row["high"] < 0.5 else "yellow"
    return f"[{color}]{row['win_rate']:.3f}[/{color}] \\[{row['low']:.3f}, {row['high']:.3f}]"


def _scores(table: Mapping[str, Any], models: list[str], title: str) -> Table:
    flags = list(dict.fromkeys(flag for model in models for flag in table["scores"][model].get("flags", {})))
    shown = Table("", "mean score", *flags, title=title, title_justify="left")
    for model in models:
        score = table["scores"][model]
        cells = []
        for flag in flags:
            rate = score.get("flags", {}).get(flag)
            cells.append("" if rate is None or rate.get("rate") is None else f"{rate['rate']:.1%} (n {rate['n']})")
        shown.add_row(model, f"{score['mean']:.3f} \\[{score['low']:.3f}, {score['high']:.3f}] (n {score['n']})", *cells)
    return shown


def _capabilities(held: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Table:
    names = list(dict.fromkeys(name for values in held.values() for name in values))
    shown = Table("", *names, title="held capabilities (the alignment tax), 95 % intervals", title_justify="left")
    for model, values in held.items():
        cells = []
        for name in names:
            cell = values.get(name)
            cells.append("" if cell is None else f"{cell['value']:.3f} \\[{cell['low']:.3f}, {cell['high']:.3f}] (n {cell['n']})")
        shown.add_row(model, *cells)
    return shown
