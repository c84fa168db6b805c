"""``instructloop compare ask`` and ``compare collect``: people vote on an evaluation's completions."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from instructloop.cli.arguments import parse
from instructloop.core.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class AskArguments:
    """Arguments of ``compare ask``."""

    run: Annotated[Path, tyro.conf.Positional]
    """Directory of a finished ``instructloop evaluate``."""
    project: str = ""
    """Project folder (instructloop init) whose labelers vote."""
    queue: str = ""
    """Name of the comparison queue, which labelers see; the run directory's name by default. More than two models get one numbered queue a pair."""
    overlap: int = 3
    """Labelers who vote on each pair of completions."""
    baseline: str = ""
    """Compare the others with this model only; the run's own baseline by default, all pairs without one."""
    limit: int = 0
    """Use the first n prompts of the run; 0 uses all."""
    rate: bool = False
    """Also ask for an overall quality of 1 to 7 and the flags of every completion."""
    seed: int = 0
    """Of the sides on which completions are shown."""


@dataclass(frozen=True, kw_only=True)
class CollectArguments:
    """Arguments of ``compare collect``."""

    run: Annotated[Path, tyro.conf.Positional]
    """Directory of the evaluation that people were asked about."""
    project: str = ""
    """Project folder whose labelers voted."""
    queue: tuple[str, ...] = ()
    """Comparison queues; those that ``compare ask`` made by default."""


def ask(arguments: list[str], prog: str) -> None:
    """An evaluation's completions into blind comparisons."""
    given = parse(AskArguments, arguments, prog)
    _named(given.project)
    from instructloop.evaluation.people import ask_people

    said = ask_people(
        given.run,
        given.project,
        queue=given.queue,
        overlap=given.overlap,
        baseline=given.baseline,
        limit=given.limit,
        rate=given.rate,
        seed=given.seed,
    )
    for name, queue in said["queues"].items():
        print(f"{queue['tasks']} comparisons of {' and '.join(queue['models'])} in the queue {name!r}, {said['overlap']} votes each")
    if said["ratings"]:
        print(f"{said['ratings']['tasks']} rating tasks in the queue {said['ratings']['queue']!r}")
    for why, count in said["passed_over"].items():
        print(f"{count} prompts passed over: {why.replace('_', ' ')}")
    if said["same_text"]:
        print(f"{said['same_text']} pairs are not asked about: both models wrote the same text")
    print(f"people vote at: instructloop label {given.project}")
    print(f"then: instructloop compare collect {given.run} --project {given.project}")


def collect(arguments: list[str], prog: str) -> None:
    """People's votes back into the run."""
    given = parse(CollectArguments, arguments, prog)
    _named(given.project)
    from instructloop.cli.tables import console, print_comparison
    from instructloop.evaluation.people import collect_votes

    table = collect_votes(given.run, given.project, queues=given.queue)
    out = console()
    print_comparison(out, table)
    out.print(f"{table['n_votes']} votes of {len(table['labelers'])} labelers: {given.run / 'eval/people.json'}", soft_wrap=True)


def _named(project: str) -> None:
    if not project:
        raise ConfigError("no project is named", hint="--project my-project (instructloop init makes one)")
