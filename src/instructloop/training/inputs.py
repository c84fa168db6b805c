"""From the paths of a configuration to records and hashed parents: the same few lines for every stage."""

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from instructloop.core.errors import ConfigError
from instructloop.core.records import Demonstration, Ranking, Text
from instructloop.data.edits import edits_as_rankings
from instructloop.formats import Loaded, read_demonstrations, read_rankings, read_texts
from instructloop.runs.lineage import Parent, parent, resolve_model
from instructloop.runs.rundir import RunDir
from instructloop.runs.snapshots import beside, data_file

logger = logging.getLogger(__name__)
R = TypeVar("R")
_SKIPS_SHOWN = 100


def model_path(path: str) -> Path:
    """The model directory that a path names (a run directory stands for its ``model``)."""
    return resolve_model(path)


def input_parents(paths: Mapping[str, str | Sequence[str]]) -> list[Parent]:
    """Hash every named input; empty paths are left out, the second file of a role is called ``role 2``."""
    parents = []
    for role, value in paths.items():
        given = [value] if isinstance(value, str) else list(value)
        for number, path in enumerate((path for path in given if path), start=1):
            parents.append(parent(role if number == 1 else f"{role} {number}", path))
    return parents


def load_demonstrations(
    source: str, records: Sequence[Demonstration] | None, *, run: RunDir, what: str, skip_bad_rows: bool = False, optional: bool = False
) -> tuple[Demonstration, ...]:
    """Demonstrations of a file or a snapshot, or the records given instead."""
    return _load(read_demonstrations, [data_file(source, "demonstrations")], records, run, what, skip_bad_rows, optional)


def load_rankings(
    sources: Sequence[str],
    records: Sequence[Ranking] | None,
    *,
    run: RunDir,
    what: str,
    skip_bad_rows: bool = False,
    optional: bool = False,
) -> tuple[Ranking, ...]:
    """Rankings of one or several files or snapshots in their order, or the records given instead.

    Of a snapshot also the edits: whoever rewrote an output prefers the new text to the old one (spec L5).
    """
    if records is not None:
        return tuple(records)
    files: list[str] = []
    edits: list[Ranking] = []
    for source in filter(None, sources):
        own = edits_in(source, skip_bad_rows=skip_bad_rows)
        edits += own
        files.append(beside(source, "rankings") if own else data_file(source, "rankings"))
    if edits and run.latest() is None:
        run.event(0, "input", f"{what}: {len(edits)} edits as pairs: the new text before the old one", edits=len(edits))
    return (*_load(read_rankings, files, None, run, what, skip_bad_rows, optional or bool(edits)), *edits)


def edits_in(source: str, *, skip_bad_rows: bool = False) -> list[Ranking]:
    """The edits of a snapshot as rankings of two; none for any other path."""
    file = beside(source, "demonstrations")
    return edits_as_rankings(read_demonstrations(file, skip_bad_rows=skip_bad_rows).records) if file else []


def load_texts(
    source: str, records: Sequence[Text] | None, *, run: RunDir, what: str, skip_bad_rows: bool = False, optional: bool = False
) -> tuple[Text, ...]:
    """Documents of a file, or the records given instead."""
    return _load(read_texts, [source], records, run, what, skip_bad_rows, optional)


def _load(
    read: Callable[..., Loaded[R]],
    sources: Sequence[str],
    records: Sequence[R] | None,
    run: RunDir,
    what: str,
    skip_bad_rows: bool,
    optional: bool,
) -> tuple[R, ...]:
    if records is not None:
        return tuple(records)
    found: list[R] = []
    for source in filter(None, sources):
        loaded = read(source, skip_bad_rows=skip_bad_rows)
        logger.info("%s: %s: %s", what, source, loaded.describe())
        if (loaded.skipped or loaded.notes) and run.latest() is None:
            shown = [str(skip) for skip in loaded.skipped[:_SKIPS_SHOWN]]
            run.event(0, "input", f"{what}: {loaded.describe()}", source=source, notes=dict(loaded.notes), skipped=shown)
        found += loaded.records
    if not found and not optional:
        raise ConfigError(f"{what} is empty", hint="name a data file")
    return tuple(found)
