"""``instructloop run``: a recipe from first to last, or what is left of it."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.markup import escape

from instructloop.cli.arguments import parse
from instructloop.cli.tables import console as wide_console
from instructloop.cli.tables import print_evaluations
from instructloop.core.errors import ConfigError
from instructloop.recipes import Progress, load_recipe, presets, run_pipeline
from instructloop.recipes.display import shown

_TALKERS = ("ppo", "sft", "pretrain")
"""Kinds that publish something to talk to, best last stage first."""


@dataclass(frozen=True)
class RunArguments:
    """Arguments of ``run``."""

    recipe: Annotated[str, tyro.conf.Positional] = ""
    """A preset's name or a TOML file."""
    out: str = ""
    """Directory of the pipeline; default runs/NAME. What is done there is not done again."""
    jobs: int = 0
    """Stages at a time; 0 takes the recipe's."""
    processes: int = 1
    """Processes of this machine that share the work of each training stage."""
    set: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """Change a variable (seed=3) or a stage's field (sft.epochs=2); may be given several times."""
    list: bool = False
    """List the presets and end."""
    plan: bool = False
    """Show the stages and what they wait for, and end."""


def run(arguments: list[str], prog: str) -> None:
    """Run a recipe."""
    given = parse(RunArguments, arguments, prog)
    console = wide_console()
    if given.list:
        for name, description in presets().items():
            console.print(f"[bold]{name}[/bold]  {escape(description)}")
        return
    if given.jobs < 0:
        raise ConfigError(f"--jobs must be >= 0, got {given.jobs}", hint="0 takes the recipe's")
    if given.processes < 1:
        raise ConfigError(f"--processes must be >= 1, got {given.processes}", hint="1 is one process a stage")
    if not given.recipe:
        raise ConfigError("no recipe is named", hint="instructloop run miniature, or see instructloop run --list")
    recipe = load_recipe(given.recipe, given.set)
    if given.plan:
        for stage in recipe.stages:
            console.print(f"[bold]{stage.name}[/bold]  {stage.kind.name}" + (f"  after {', '.join(stage.needs)}" if stage.needs else ""))
        return
    out = Path(given.out or f"runs/{recipe.name}")
    began = time.monotonic()
    with shown(console) as watch:
        stages = run_pipeline(recipe, out, jobs=given.jobs or None, processes=given.processes, watch=watch)
    _summary(console, out, stages, time.monotonic() - began)


def _summary(console: Console, out: Path, stages: list[Progress], seconds: float) -> None:
    for progress in stages:
        print_evaluations(console, progress.path)
    console.print(f"done in {seconds:.0f} s", soft_wrap=True)
    if (out / "report.html").exists():
        console.print(f"report:  {escape(str(out / 'report.html'))}", soft_wrap=True)
    models = [progress for kind in _TALKERS for progress in reversed(stages) if progress.stage.kind.name == kind]
    if models:
        console.print(f"talk to it:  instructloop chat {escape(str(out / 'stages' / models[0].stage.name))}", soft_wrap=True)
