"""The table of public suites for a terminal, from ``eval/suites.json`` alone."""

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

_IN_ONE_LINE = 4
_DIGITS = {"points": 2, "share": 3, "bits": 3, "nats": 3}


def print_suites(out: Console, table: Mapping[str, Any]) -> None:
    """Numbers with intervals, a difference to the first model under each, then what was not run, and what numbers hang on."""
    models = list(table["models"])
    out.print(
        "\n[bold]Public suites, 95 % intervals over contexts; below a number its difference to the first model[/bold]", soft_wrap=True
    )
    shown = Table("suite", "metric", "n", box=box.SIMPLE_HEAD)
    for model in models:
        # few models: numbers stay in one line, and names of suites wrap; many: the interval goes below
        shown.add_column(escape(model), no_wrap=len(models) <= _IN_ONE_LINE)
    missing: dict[str, list[str]] = {}
    for row in table["rows"]:
        results = row["results"]
        ran = [result for result in results.values() if "value" in result]
        if not ran:
            reason = next(iter(results.values()))["not_run"]
            missing.setdefault(reason, [])
            if row["title"] not in missing[reason]:
                missing[reason].append(row["title"])
            continue
        asked = f"{row['variant']}, {row['shots']}" if row["shots"] else row["variant"]
        name = f"{escape(row['title'])}\n[dim]{escape(asked)}[/dim]"
        shown.add_row(name, escape(row["metric"]), str(ran[0]["n"]), *(_cell(row, model) for model in models))
    out.print(shown)
    for title, signature in _signatures(table).items():
        out.print(f"  {escape(title)}: {escape(signature)}", style="dim", soft_wrap=True)
    for note in dict.fromkeys(f"{row['title']}: {row['note']}" for row in table["rows"] if row.get("note") and _ran(row)):
        out.print(f"  {escape(note)}", style="dim", soft_wrap=True)
    for reason, titles in missing.items():
        out.print(f"[yellow]not run:[/yellow] {escape(', '.join(titles))}: {escape(reason)}", soft_wrap=True)


def _ran(row: Mapping[str, Any]) -> bool:
    return any("value" in result for result in row["results"].values())


def _signatures(table: Mapping[str, Any]) -> dict[str, str]:
    """Title and metric to what the number hangs on, once for all ways of asking."""
    return {f"{row['title']}, {row['metric']}": row["signature"] for row in table["rows"] if row.get("signature") and _ran(row)}


def _cell(row: Mapping[str, Any], model: str) -> str:
    result, difference = row["results"][model], row.get("differences", {}).get(model)
    if "value" not in result:
        return "[yellow]not run[/yellow]"
    digits = _DIGITS[row["unit"]]
    text = f"{result['value']:.{digits}f}{_interval(result, digits)}"
    if difference is None or "value" not in difference:
        return text
    shown = f"{difference['value']:+.{digits}f}{_interval(difference, digits)}"
    color = _verdict(row["better"], difference)
    return f"{text}\n{f'[{color}]{shown}[/{color}]' if color else shown}"


def _interval(value: Mapping[str, Any], digits: int) -> str:
    if value.get("low") is None:
        return ""
    return f" \\[{value['low']:.{digits}f}, {value['high']:.{digits}f}]"


def _verdict(better: str, difference: Mapping[str, Any]) -> str:
    """Green where the interval lies on the better side of zero, red on the worse."""
    if difference.get("low") is None or difference["low"] <= 0 <= difference["high"] or better == "neither":
        return ""
    risen = difference["low"] > 0
    return "green" if risen == (better == "higher") else "red"
