"""Training states on disk: written beside, renamed, and committed by one line in ``index.jsonl``.

A state whose line is missing does not exist, whatever lies in the folder; a state whose files do not have the sizes in
its line is damaged and is never loaded.
"""

import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from instructloop.core.errors import CheckpointError
from instructloop.core.files import PARTIAL_SUFFIX, append_jsonl, read_jsonl, write_directory, write_jsonl
from instructloop.core.protocols import SaveState
from instructloop.runs.disk import writing

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SavedState:
    """A committed training state: everything after ``step`` completed steps."""

    step: int
    path: Path


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the index."""

    step: int
    name: str
    best: bool
    files: Mapping[str, int]
    """Relative file name to size in bytes."""
    offsets: Mapping[str, int]
    """Log file name to its size in bytes when this state was committed; resuming cuts the logs back to it."""

    def row(self) -> dict[str, Any]:
        return {
            "schema_version": 1,
            "step": self.step,
            "path": self.name,
            "best": self.best,
            "files": dict(self.files),
            "offsets": dict(self.offsets),
        }


class CheckpointIndex:
    """The ``checkpoints/`` folder of one run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "index.jsonl"

    def entries(self) -> list[Entry]:
        """All committed states in order, pruned ones included; a line cut off by a crash was no commit."""
        return [
            Entry(step=row["step"], name=row["path"], best=row["best"], files=row["files"], offsets=row["offsets"])
            for row in read_jsonl(self.file, drop_torn_tail=True)
        ]

    def intact(self, entry: Entry) -> bool:
        """Whether all files of the state are there with the sizes they had when it was committed."""
        return _sizes(self.folder / entry.name) == dict(entry.files)

    def latest(self) -> Entry | None:
        """The newest intact state; None if nothing was ever committed.

        Raises:
            CheckpointError: states were committed, but none is intact.
        """
        entries = self.entries()
        for entry in reversed(entries):
            if self.intact(entry):
                if entry is not entries[-1]:
                    logger.warning(
                        "checkpoint %s is damaged (its files changed since they were written); going back to step %d",
                        self.folder / entries[-1].name,
                        entry.step,
                    )
                return entry
        if entries:
            raise CheckpointError(
                f"no checkpoint in {self.folder} is complete: {entries[-1].name} has missing or cut-off files",
                hint="restore the folder from a copy, or start again in another run directory",
            )
        return None

    def best(self) -> SavedState | None:
        """The state last called the best by an evaluator, if it is still there."""
        for entry in reversed(self.entries()):
            if entry.best and self.intact(entry):
                return SavedState(entry.step, self.folder / entry.name)
        return None

    def commit(self, step: int, save: SaveState, *, offsets: Mapping[str, int], keep: int, best: bool) -> Path:
        """Write the state of ``step``, add its line, then delete what is no longer kept."""
        name = f"step-{step:06d}"
        path = self.folder / name
        entries = self.entries()
        again = self._newest_is(step, entries)
        if not again:
            with writing(path, "checkpoint"):
                write_directory(path, save)
        if not again or (best and not entries[-1].best):
            with writing(self.file, "checkpoint index"):
                append_jsonl(self.file, Entry(step=step, name=name, best=best, files=_sizes(path), offsets=offsets).row())
        self._prune(keep)
        return path

    def join_commit(self, step: int, save: SaveState) -> Path:
        """Add this process's part to a state that another process commits at the same time."""
        path = self.folder / f"step-{step:06d}"
        if not self._newest_is(step, self.entries()):
            save(path.with_name(path.name + PARTIAL_SUFFIX))
        return path

    def _newest_is(self, step: int, entries: Sequence[Entry]) -> bool:
        return bool(entries) and entries[-1].step == step and self.intact(entries[-1])

    def roll_back(self, to: Entry | None) -> None:
        """Remove everything that a crash left after the given state: partial folders, uncommitted and damaged states."""
        self.folder.mkdir(parents=True, exist_ok=True)
        entries = [entry for entry in self.entries() if to is not None and entry.step <= to.step]
        if self.file.exists():
            write_jsonl(self.file, [entry.row() for entry in entries])
        known = {entry.name for entry in entries}
        for folder in self.folder.iterdir():
            if folder.is_dir() and folder.name not in known:
                shutil.rmtree(folder)

    def _prune(self, keep: int) -> None:
        entries = self.entries()
        steps = list(dict.fromkeys(entry.name for entry in entries))
        kept = set(steps[-keep:]) | {entry.name for entry in [entry for entry in entries if entry.best][-1:]}
        for name in steps:
            path = self.folder / name
            if name not in kept and path.exists():
                # Renamed first: half a deleted state must not look like a state.
                doomed = path.with_name(name + PARTIAL_SUFFIX)
                path.rename(doomed)
                shutil.rmtree(doomed)


def _sizes(path: Path) -> dict[str, int]:
    return {file.relative_to(path).as_posix(): file.stat().st_size for file in sorted(path.rglob("*")) if file.is_file()}
