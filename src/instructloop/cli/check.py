"""``instructloop feedback check-demonstrations``: what may be wrong with a project's demonstrations."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich import box
from rich.table import Table

from instructloop.cli.arguments import parse
from instructloop.cli.tables import console

_FOUND_SOMETHING = 3
_NOT_BAD = frozenset({"refusal"})


@dataclass(frozen=True)
class CheckArguments:
    """Arguments of ``feedback check-demonstrations``."""

    path: Annotated[str, tyro.conf.Positional]
    """A project folder, a snapshot, or a file of demonstrations."""
    json: bool = False
    """Print JSON instead of tables."""


def check_demonstrations(arguments: list[str], prog: str) -> int:
    """Print the findings; exit code 3 if there are any besides refusals."""
    given = parse(CheckArguments, arguments, prog)
    from instructloop.data import quality
    from instructloop.formats import read_demonstrations

    rows = read_demonstrations(_file(given.path)).records
    report = quality.check_demonstrations(rows)
    if given.json:
        print(json.dumps(report.as_json(), indent=2, ensure_ascii=False))
    else:
        out = console()
        out.print(report.describe(), markup=False)
        table = Table(box=box.SIMPLE)
        for name in ("check", "rows", "meaning", "for example"):
            table.add_column(name)
        for name, count in report.counts.items():
            first = next(finding for finding in report.findings if finding.check == name)
            table.add_row(name, str(count), quality.CHECKS[name], f"row {first.row + 1}: {first.why}")
        if report.counts:
            out.print(table)
        if report.labelers:
            people = Table(box=box.SIMPLE)
            for name in ("labeler", "rows", "median words", "declined", "flagged"):
                people.add_column(name, justify="left" if name == "labeler" else "right")
            for code, own in report.labelers.items():
                people.add_row(
                    code, f"{own['rows']:g}", f"{own['median_words']:g}", f"{own['refusal_share']:.0%}", f"{own['flagged_share']:.0%}"
                )
            out.print(people)
    return _FOUND_SOMETHING if set(report.counts) - _NOT_BAD else 0


def _file(path: str) -> str:
    from instructloop.recipes.from_project import is_project, snapshot_of
    from instructloop.runs.snapshots import data_file

    return data_file(snapshot_of(path) if is_project(path) else str(Path(path)), "demonstrations")
