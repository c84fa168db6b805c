"""``instructloop lab``: exercises to learn from."""

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from instructloop.cli.arguments import parse
from instructloop.core.errors import ConfigError
from instructloop.recipes.progress import show_progress


@dataclass(frozen=True, kw_only=True)
class BananaArguments:
    """Arguments of ``lab banana``."""

    out: str = ""
    """Directory to write."""
    model: str = ""
    """Any causal language model; empty takes the one that ships with the package."""
    reward: str = ""
    """``sentiment``, ``contains:WORD`` (counted), ``file.py:function``, or a reward's name; empty counts the word "boat"."""
    betas: tuple[float, ...] = ()
    """Three strengths of the tether: none, fitting, far too tight; empty takes what suits the reward."""
    steps: int = 60
    """PPO iterations of each."""
    seed: int = 0
    """Base of all random streams."""
    resume: bool = False
    """Go on where a stopped exercise was."""


def banana(arguments: list[str], prog: str) -> None:
    """Three regimes of the KL tether."""
    given = parse(BananaArguments, arguments, prog)
    if not given.out:
        raise ConfigError("no directory is named", hint="add --out runs/banana")
    show_progress()
    from instructloop.recipes.banana import run_banana, sample_lines, table

    path = run_banana(
        Path(given.out), model=given.model, reward=given.reward, betas=given.betas, steps=given.steps, seed=given.seed, resume=given.resume
    )
    header, *rows = table(path)
    shown = Table(*header)
    for row in rows:
        shown.add_row(*row)
    Console().print(shown)
    for line in sample_lines(path):
        print(line)
    print(f"picture: {path.with_suffix('.png')}")
