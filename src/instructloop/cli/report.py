"""``instructloop report``."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from instructloop.cli.arguments import parse
from instructloop.core.errors import CheckpointError


@dataclass(frozen=True)
class ReportArguments:
    """Arguments of ``report``."""

    paths: Annotated[tuple[str, ...], tyro.conf.Positional]
    """Directory of a pipeline or of a run; several are shown side by side."""
    out: str = ""
    """Where to write; default report.html in the first directory."""


def report(arguments: list[str], prog: str) -> None:
    """Write the report; its path goes to the standard output, what the runs cost to the standard error."""
    given = parse(ReportArguments, arguments, prog)
    if not given.paths:
        raise CheckpointError("no run was given", hint="give the directory of a pipeline or run: instructloop report runs/first")
    for path in given.paths:
        if not Path(path).is_dir():
            raise CheckpointError(f"no such directory: {path}", hint="give the directory of a pipeline or run")
    from instructloop.report import write_report
    from instructloop.report.costs import told
    from instructloop.runs.ledger import ledger

    print(write_report(*given.paths, out=given.out or None))
    print(told([row for path in given.paths for row in ledger(path)]), file=sys.stderr)
