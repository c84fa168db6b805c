"""``instructloop card``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from instructloop.cli.arguments import parse
from instructloop.core.errors import CheckpointError


@dataclass(frozen=True)
class CardArguments:
    """Arguments of ``card``."""

    path: Annotated[str, tyro.conf.Positional]
    """Directory of a run, or of a pipeline for the cards of all its models."""
    evaluation: tuple[str, ...] = ()
    """Directories of evaluations in which the model took part; a pipeline's own are found."""


def card(arguments: list[str], prog: str) -> None:
    """Write the cards and print where they lie."""
    given = parse(CardArguments, arguments, prog)
    for path in (given.path, *given.evaluation):
        if not Path(path).is_dir():
            raise CheckpointError(f"no such directory: {path}", hint="give the directory of a run, a pipeline or an evaluation")
    from instructloop.runs.card_files import write_cards

    for file in write_cards(given.path, given.evaluation):
        print(file)
