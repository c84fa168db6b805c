"""The pipeline on a terminal: one line per stage with state, time and newest metrics; plain lines where there is no terminal."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from instructloop.recipes.pipeline import Progress, State, Watcher

_MARKS = {
    State.WAITING: "[dim]·[/dim]",
    State.RUNNING: "[cyan]▶[/cyan]",
    State.DONE: "[green]✓[/green]",
    State.SKIPPED: "[green]=[/green]",
    State.FAILED: "[red]✗[/red]",
    State.STOPPED: "[yellow]■[/yellow]",
}
_HEARTBEAT_S = 30.0
_TAIL_BYTES = 4096


@contextmanager
def shown(console: Console) -> Iterator[Watcher]:
    """A watcher for ``run_pipeline``: a live table on a terminal, else a line per change and one every half minute."""
    if not console.is_terminal:
        yield _Lines(console)
        return
    with Live(console=console, refresh_per_second=4, transient=False) as live:

        def watch(stages: list[Progress]) -> None:
            live.update(_table(stages))

        yield watch


def _table(stages: list[Progress]) -> Table:
    table = Table.grid(padding=(0, 2))
    for progress in stages:
        table.add_row(
            _MARKS[progress.state], progress.stage.name, f"[dim]{progress.stage.kind.name}[/dim]", _time(progress), _said(progress)
        )
    return table


def _said(progress: Progress) -> str:
    if progress.state is State.SKIPPED:
        return "[dim]done before[/dim] " + newest_metrics(progress)
    if progress.state in {State.RUNNING, State.DONE}:
        return ("[dim]resumed[/dim] " if progress.resumed else "") + newest_metrics(progress)
    return progress.error.splitlines()[-1] if progress.error else ""


def _time(progress: Progress) -> str:
    running = time.time() - progress.started if progress.state is State.RUNNING and progress.started else 0.0
    seconds = progress.seconds + running
    return f"{seconds:.0f} s" if seconds else ""


def newest_metrics(progress: Progress) -> str:
    """Step and the metrics that the kind shows, from the end of ``metrics.jsonl``."""
    rows = _tail(progress.path / "metrics.jsonl")
    found: dict[str, float] = {}
    for row in reversed(rows):
        for name in progress.stage.kind.shown:
            if name in row:
                found.setdefault(name, row[name])
    if not rows:
        return ""
    shown_metrics = "  ".join(f"{name.partition('/')[2]} {found[name]:.4g}" for name in progress.stage.kind.shown if name in found)
    return f"step {rows[-1]['step']}  {shown_metrics}"


def _tail(file: Path) -> list[dict[str, Any]]:
    try:
        with file.open("rb") as handle:
            size = handle.seek(0, 2)
            handle.seek(max(0, size - _TAIL_BYTES))
            lines = handle.read().decode("utf-8", errors="replace").split("\n")
    except FileNotFoundError:
        return []
    complete = lines[1 if size > _TAIL_BYTES else 0 : -1]  # the last piece has no newline yet, the first may be cut off
    return [json.loads(line) for line in complete]


class _Lines:
    """For logs and pipes."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._states: dict[str, State] = {}
        self._beat = time.monotonic()

    def __call__(self, stages: list[Progress]) -> None:
        late = time.monotonic() - self._beat > _HEARTBEAT_S
        for progress in stages:
            name = progress.stage.name
            changed = self._states.get(name, State.WAITING) is not progress.state
            if changed or (late and progress.state is State.RUNNING):
                self.console.print(f"{name}: {progress.state.value}  {_time(progress)}  {_said(progress)}".rstrip(), highlight=False)
            self._states[name] = progress.state
        if late:
            self._beat = time.monotonic()
