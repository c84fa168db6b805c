"""``instructloop inspect``."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from instructloop.cli.arguments import parse
from instructloop.config.inspection import InspectionConfig
from instructloop.core.errors import CheckpointError


@dataclass(frozen=True)
class InspectArguments:
    """Arguments of ``inspect``."""

    path: Annotated[str, tyro.conf.Positional]
    """Directory of a PPO run, a reward-model run or a pipeline."""
    out: str = ""
    """File to write instead of eval/observatory.json in the run."""
    settings: Annotated[InspectionConfig, tyro.conf.arg(name="")] = field(default_factory=InspectionConfig)


def inspect(arguments: list[str], prog: str) -> None:
    """Examine, write, say."""
    given = parse(InspectArguments, arguments, prog)
    if not Path(given.path).is_dir():
        raise CheckpointError(f"no such directory: {given.path}", hint="give the directory of a run or a pipeline")
    from instructloop.evaluation.observatory import inspect as examine
    from instructloop.evaluation.observatory import tell
    from instructloop.recipes.progress import show_progress

    show_progress()
    for file in examine(given.path, given.settings, out=given.out):
        tell(file, print)
