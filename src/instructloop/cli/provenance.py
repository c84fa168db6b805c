"""``instructloop lineage|verify|export``: where a model came from, whether that still holds, and taking it elsewhere."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.markup import escape
from rich.tree import Tree

from instructloop.cli.arguments import parse
from instructloop.core.errors import CheckpointError
from instructloop.core.files import write_directory
from instructloop.runs import Node, Verdict, labelers, resolve_model
from instructloop.runs import lineage as walk
from instructloop.runs import verify as hash_again

_FOUND_SOMETHING = 3
_WIDTH_WITHOUT_TERMINAL = 200


@dataclass(frozen=True)
class PathArguments:
    """Arguments of ``lineage`` and ``verify``."""

    path: Annotated[str, tyro.conf.Positional]
    """A run, a model directory or a data file."""


@dataclass(frozen=True)
class ExportArguments:
    """Arguments of ``export``."""

    run: Annotated[str, tyro.conf.Positional]
    """A run (or a model directory)."""
    directory: Annotated[str, tyro.conf.Positional]
    """Where the copy goes; must not exist yet."""


def lineage(arguments: list[str], prog: str) -> None:
    """Print the tree of everything behind a path."""
    node = walk(Path(parse(PathArguments, arguments, prog).path))
    tree = Tree(_line(node))
    _grow(tree, node)
    console = Console()
    (console if console.is_terminal else Console(width=_WIDTH_WITHOUT_TERMINAL)).print(tree, highlight=False)


def _grow(tree: Tree, node: Node) -> None:
    if node.people:
        below = tree.add(f"labelers: {len(node.people)}")
        for person in node.people:
            below.add(f"[green]{escape(person)}[/green]")
    if node.guidelines:
        below = tree.add("guidelines")
        for version in node.guidelines:
            below.add(f"[green]{escape(version)}[/green]")
    for item in node.parents:
        _grow(tree.add(_line(item)), item)


def _line(node: Node) -> str:
    role = f"[bold]{escape(node.role)}[/bold]: " if node.role else ""
    stage = f" [cyan]({escape(node.stage)})[/cyan]" if node.stage else ""
    sha = f" [dim]{node.sha256.removeprefix('sha256:')[:12]}[/dim]" if node.sha256 else ""
    people = labelers(node.path)
    who = f" [green]labelers: {', '.join(people)}[/green]" if people else ""
    return f"{role}{escape(_near(node.path))}{stage}{sha}{who}"


def _near(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def verify(arguments: list[str], prog: str) -> int:
    """Hash everything again; exit code 3 if something changed or is missing."""
    findings = hash_again(Path(parse(PathArguments, arguments, prog).path))
    console = Console(soft_wrap=True)
    colors = {Verdict.SAME: "green", Verdict.CHANGED: "red", Verdict.MISSING: "red", Verdict.UNHASHED: "yellow"}
    for finding in findings:
        color = colors[finding.verdict]
        console.print(
            f"[{color}]{finding.verdict.value:<10}[/{color}] {escape(finding.role)}: {escape(_near(finding.path))}", highlight=False
        )
    bad = sum(finding.verdict in {Verdict.CHANGED, Verdict.MISSING} for finding in findings)
    console.print(f"{len(findings)} artefacts, {bad} of them changed or missing", highlight=False)
    return _FOUND_SOMETHING if bad else 0


def export(arguments: list[str], prog: str) -> None:
    """Copy the model as a plain Hugging Face directory, card and tokenizer included."""
    given = parse(ExportArguments, arguments, prog)
    source, target = resolve_model(given.run), Path(given.directory)
    if not (source / "config.json").is_file():
        raise CheckpointError(f"{source} holds no model", hint="give a run that has ended, or a Hugging Face directory")
    if target.exists():
        raise CheckpointError(f"{target} exists already", hint="name a new directory; nothing is overwritten")
    broken = [finding for finding in hash_again(source) if finding.verdict is Verdict.CHANGED and finding.path == source.resolve()]
    if broken:
        raise CheckpointError(f"{source} was changed after it was trained", hint=f"see: instructloop verify {given.run}")
    write_directory(target, lambda path: _copy(source, path))
    print(target)


def _copy(source: Path, path: Path) -> None:
    shutil.copytree(source, path, dirs_exist_ok=True)
    card = path / "README.md"
    if not card.exists():
        card.write_text(f"# {source.parent.name}\n\nTrained with InstructLoop. It loads with plain `transformers`.\n", encoding="utf-8")
