"""``instructloop doctor``: the machine, the memory a recipe needs, or the health of a PPO run."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from instructloop.cli.arguments import parse
from instructloop.core.errors import ConfigError
from instructloop.recipes import presets
from instructloop.recipes.machine import Machine, inspect_machine
from instructloop.runs import is_run

_FOUND_SOMETHING = 3


@dataclass(frozen=True)
class DoctorArguments:
    """Arguments of ``doctor``."""

    target: Annotated[str, tyro.conf.Positional] = ""
    """A recipe (memory), a PPO run or a pipeline (health), or nothing (the machine)."""
    set: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """Changes to the recipe, as in ``instructloop run``."""


def doctor(arguments: list[str], prog: str) -> int:
    """Examine; exit code 3 if something is wrong."""
    given = parse(DoctorArguments, arguments, prog)
    console = Console(highlight=False, soft_wrap=True)
    target = Path(given.target)
    if not given.target:
        _machine(console, inspect_machine())
        return 0
    if given.target in presets() or target.suffix == ".toml":
        return _recipe(console, given)
    if is_run(target):
        return _run(console, target)
    if (target / "stages").is_dir():
        return max([_run(console, run) for run in sorted((target / "stages").iterdir()) if is_run(run) and _is_ppo(run)], default=0)
    raise ConfigError(
        f"{given.target} is no recipe, run or pipeline", hint=f"presets: {', '.join(presets())}; or give a .toml file or a run directory"
    )


def _machine(console: Console, machine: Machine) -> None:
    for name, value in machine.lines():
        console.print(f"[bold]{name:<14}[/bold] {escape(value)}")


def _recipe(console: Console, given: DoctorArguments) -> int:
    from instructloop.recipes.needs import memory_needs
    from instructloop.recipes.recipe import load_recipe

    available = inspect_machine().largest_memory_bytes
    table = Table(
        "stage", "peak", "largest term", "to shrink it", title=f"memory of {given.target} (one device has {available / 2**30:.1f} GiB)"
    )
    worst = 0
    for name, estimate, problem in memory_needs(load_recipe(given.target, given.set)):
        if estimate is None:
            table.add_row(name, "?", escape(problem), "")
            continue
        worst = max(worst, estimate.peak)
        color = "red" if estimate.peak > available else "green"
        table.add_row(name, f"[{color}]{estimate.peak / 2**30:.2f} GiB[/{color}]", estimate.biggest, escape(estimate.advice))
    console.print(table)
    return _FOUND_SOMETHING if worst > available else 0


def _is_ppo(run: Path) -> bool:
    from instructloop.core.files import read_json

    return bool(read_json(run / "config.json")["stage"] == "ppo")


def _run(console: Console, run: Path) -> int:
    from instructloop.recipes.health import examine_run

    findings = examine_run(run)
    for item in findings:
        console.print(f"[red]{item.kind}[/red] from step {item.step}: {escape(item.message)}")
    if not findings:
        console.print(f"[green]healthy[/green]: {escape(str(run))} shows none of the signs of failure (KILL-1 to KILL-9)")
    return _FOUND_SOMETHING if findings else 0
