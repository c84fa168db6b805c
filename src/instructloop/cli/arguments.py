"""Command-line arguments of a verb: a dataclass, a description, an example that works."""

from collections.abc import Sequence
from dataclasses import dataclass, field, make_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import tyro

from instructloop.cli.main import VERBS
from instructloop.config import load_toml
from instructloop.core.errors import ConfigError
from instructloop.recipes.progress import show_progress

T = TypeVar("T")


def parse(kind: type[T], arguments: Sequence[str], prog: str, *, default: T | None = None) -> T:
    """Parse with tyro; the help ends in the verb's example."""
    verb = VERBS[prog.removeprefix("instructloop ")]
    description = f"{verb.summary[0].upper()}{verb.summary[1:]}.\n\nExample:\n    {verb.example}"
    if default is None:
        return tyro.cli(kind, args=list(arguments), prog=prog, description=description)
    return tyro.cli(kind, args=list(arguments), prog=prog, description=description, default=default)


@dataclass(frozen=True, kw_only=True)
class StageArguments:
    """What every stage verb takes besides its configuration."""

    out: str = ""
    """Run directory to write. Must be new, unless --resume is given."""
    config: str = ""
    """TOML file with the settings below; options on the command line win."""
    resume: bool = False
    """Continue a stopped run in --out."""


@dataclass(frozen=True, kw_only=True)
class TrainingArguments(StageArguments):
    """What every training verb takes besides."""

    launcher: Literal["local", "torchrun", "ray"] = "local"
    """Who starts the processes: this program, torchrun (which has started it), or Ray Train."""
    processes: int = 1
    """Processes that share the work, one a GPU; torchrun's own option counts there."""
    resources_per_process: dict[str, float] = field(default_factory=dict)
    """Only Ray: what each process reserves, e.g. CPU 0.5; default one GPU where the cluster has any, else one CPU."""


def parse_stage(
    kind: type[Any],
    arguments: Sequence[str],
    prog: str,
    extra: Sequence[tuple[str, Any, Any]] = (),
    shape: type[StageArguments] = StageArguments,
) -> tuple[Any, Any]:
    """Parse a stage verb: returns its settings (of class ``kind``) and the other arguments (``out``, ``resume``, ``extra``...).

    Args:
        kind: configuration class.
        arguments: the words after the verb.
        prog: how the program was called.
        extra: further options as (name, type, default).
        shape: the options that are the same for all verbs of its kind.
    """
    file = _config_file(arguments)
    settings = load_toml(kind, Path(file)) if file else kind()
    options = make_dataclass(
        "Arguments",
        [(name, of, field(default=value)) for name, of, value in extra]
        + [("settings", Annotated[kind, tyro.conf.arg(name="")], field(default=settings))],
        bases=(shape,),
        frozen=True,
        kw_only=True,
    )
    parsed: Any = parse(options, arguments, prog)
    if not parsed.out:
        raise ConfigError("no run directory is named", hint="add --out runs/NAME")
    show_progress()
    return parsed.settings, parsed


def _config_file(arguments: Sequence[str]) -> str:
    """``--config`` is read first: its values are the defaults of all other options."""
    for place, word in enumerate(arguments):
        if word == "--config" and place + 1 < len(arguments):
            return arguments[place + 1]
        if word.startswith("--config="):
            return word.partition("=")[2]
    return ""
