"""``instructloop report``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from instructloop.cli.arguments import parse
from instructloop.core.errors import CheckpointError


@dataclass(frozen=True)
class ReportArguments:
    """Arguments of ``report``."""

    path: Annotated[str, tyro.conf.Positional]
    """Directory of a pipeline or of a run."""


def report(arguments: list[str], prog: str) -> None:
    """Write the report."""
    given = parse(ReportArguments, arguments, prog)
    if not Path(given.path).is_dir():
        raise CheckpointError(f"no such directory: {given.path}", hint="give the directory of a pipeline or run")
    from instructloop.report import write_report

    print(write_report(Path(given.path)))
