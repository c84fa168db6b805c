"""Public test sets from files on this machine, in the layouts in which they are released, stored on the hub, or kept as JSON lines.

A set is looked for by name in a folder: file names of its release first, then files that begin with its name, then a folder of its
name; each may be packed (``.gz``). Nothing is downloaded, except by a path ``hub:`` or ``hub:owner/name:configuration#split``, which
asks the library ``datasets`` (it reads a local folder too: ``hub:./folder``).
"""

import fnmatch
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from instructloop.core.errors import DataError, MissingExtraError
from instructloop.core.seeds import permutation
from instructloop.formats.loaded import Where
from instructloop.formats.rows import TEXT_SUFFIXES, layout_of, read_rows
from instructloop.formats.tables import folder_rows
from instructloop.scoring.sets_behavior import BEHAVIOR
from instructloop.scoring.sets_choices import CHOICES
from instructloop.scoring.sets_items import Item, Row, SetInfo
from instructloop.scoring.sets_reading import READING
from instructloop.scoring.sets_released import RELEASED, RELEASED_FILES

__all__ = ["SETS", "Found", "Item", "SetInfo", "find_set", "read_set"]

SETS: Mapping[str, SetInfo] = {**READING, **CHOICES, **BEHAVIOR}
"""All sets by the name used on the command line."""

_DEPTH = 4
"""How many folders below the given one are looked into: ``DATA/glue/sst2/data/validation.parquet``."""
_HUB = "hub:"
_SPLIT_WORDS = ("train", "validation", "valid", "val", "dev", "test")
_QUARTERS = 4


class Found(NamedTuple):
    """Where a set lies."""

    files: tuple[Path, ...]
    """Its files; or one folder written by ``datasets``."""
    note: str
    """Why a number on it is not one on the set itself; empty where it is the set."""


def read_set(name: str, path: str | Path, limit: int = 0, seed: int = 0, *, split: str = "") -> list[Item]:
    """Items of a set.

    Args:
        name: one of ``SETS``.
        path: its file, a folder that holds it, or ``hub:...`` (see the module).
        limit: take a random part of this size (in the set's order); 0 takes all. Where the paper drew its part evenly over prompt
            toxicity (RealToxicityPrompts), so does this.
        seed: draws the part.
        split: take this split where there are several, e.g. ``train`` for few-shot examples; empty takes the one to be tested on.

    Raises:
        DataError: the set is unknown or not there, or a row cannot be used (with file, line, field and remedy).
        MissingExtraError: a file or hub name needs a package that is not installed.
    """
    info = _info(name)
    reader = info.read
    if str(path).startswith(_HUB):
        rows = _hub_rows(str(path).removeprefix(_HUB) or info.hub, name, split)
    else:
        found = find_set(name, path, split=split)
        if found is None:
            raise DataError(f"{path}: no file of the set {name} ({info.title})", hint=f"{_where_from(info)}; or name the file itself")
        rows = _rows(info, found.files, split)
        reader = RELEASED.get(name, reader) if _matches(found.files[0], RELEASED_FILES) else reader
    items = list(reader(rows))
    if not items:
        raise DataError(f"{path}: the set {name} has no items", hint="is the file empty?")
    return _part(items, limit, seed, name, info.uniform_in)


def find_set(name: str, path: str | Path, *, split: str = "") -> Found | None:
    """The files of a set in a folder (or the file itself); None where there are none.

    Raises:
        DataError: the set is unknown, the path is missing, or several files could be meant.
    """
    info, place = _info(name), Path(path)
    if place.is_file():
        return Found((place,), next((note for pattern, note in info.stand_ins.items() if _matches(place, pattern)), ""))
    if not place.is_dir():
        raise DataError(f"no such file or folder: {path}", hint="give the folder that holds the sets, or the file of one")
    if _is_dataset(place):
        return Found((place,), "")
    files = _data_files(place)
    sets = [file for file in files if not _matches(file, RELEASED_FILES)]
    for pattern in info.files:
        matching = [file for file in sets if _matches(file, pattern)]
        if matching:
            return Found(_with_siblings(info, _chosen(info, name, matching, split)), "")
    matching = [file for file in sets if any(_matches(file, f"{stem}[._-]*") for stem in info.names)]
    if matching:
        return Found(_chosen(info, name, matching, split), "")
    for folder in [place, *sorted(part for part in place.rglob("*") if part.is_dir() and _depth(part, place) < _DEPTH)]:
        if folder.name.lower() in info.names:
            if _is_dataset(folder):
                return Found((folder,), "")
            inside = [file for file in sets if folder in file.parents]
            if inside:
                return Found(_chosen(info, name, inside, split), "")
    for pattern, note in info.stand_ins.items():
        matching = [file for file in files if _matches(file, pattern)]
        if matching:
            return Found(tuple(matching[:1]), note)
    return None


def _info(name: str) -> SetInfo:
    if name not in SETS:
        raise DataError(f"unknown set {name!r}", hint=f"known: {', '.join(sorted(SETS))}")
    return SETS[name]


def _where_from(info: SetInfo) -> str:
    names = ", ".join((*info.files, *(f"{stem}.jsonl" for stem in info.names[:1])))
    return f"it comes from {info.source}; file names looked for: {names}, or a folder {info.names[0]}"


def _is_dataset(folder: Path) -> bool:
    return (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file()


def _depth(part: Path, folder: Path) -> int:
    return len(part.relative_to(folder).parts)


def _data_files(folder: Path) -> list[Path]:
    """Data files to a certain depth, the nearest first."""
    kinds = (".parquet", ".sgm", ".fr", *TEXT_SUFFIXES)
    files = [file for file in folder.rglob("*") if _plain(file).endswith(kinds) and file.is_file() and _depth(file, folder) <= _DEPTH]
    ignored = {"dataset_info.json", "dataset_infos.json"}
    return sorted((file for file in files if file.name not in ignored), key=lambda file: (_depth(file, folder), str(file)))


def _plain(file: Path) -> str:
    return file.name.lower().removesuffix(".gz")


def _matches(file: Path, pattern: str) -> bool:
    return fnmatch.fnmatch(_plain(file), pattern)


def _chosen(info: SetInfo, name: str, files: Sequence[Path], split: str) -> tuple[Path, ...]:
    """The files of the first split that there is, or all files where the names say nothing about splits."""
    words = {file: set(re.split(r"[^a-z0-9]+", _plain(file))) for file in files}
    for wanted in [split] if split else info.splits:
        matching = [file for file in files if wanted in words[file]]
        if matching:
            return tuple(file for file in matching if file.parent == matching[0].parent)
    nearest = [file for file in files if file.parent == files[0].parent]
    there = f"{files[0].parent} holds {', '.join(file.name for file in nearest)}"
    if split and any(words[file] & set(_SPLIT_WORDS) for file in nearest):
        raise DataError(f"no split {split!r} of the set {name}: {there}", hint="name the file itself")
    if len(nearest) > 1 and not info.many:
        raise DataError(f"several files may be the set {name}: {there}", hint="name the file itself")
    return tuple(nearest)


def _with_siblings(info: SetInfo, chosen: tuple[Path, ...]) -> tuple[Path, ...]:
    """A set of many files is known by one of them: all that lie beside it and end in the same way."""
    if not info.many or len(chosen) > 1:
        return chosen
    ending = _plain(chosen[0]).rpartition("_")[2]
    return tuple(sorted(file for file in chosen[0].parent.iterdir() if _plain(file).endswith(f"_{ending}")))


def _rows(info: SetInfo, files: Sequence[Path], split: str) -> Iterator[Row]:
    for file in files:
        layout = layout_of(file)
        if file.is_dir():
            yield from (_checked(where, row) for where, row in folder_rows(file, _split_of(info, file, split)))
        elif file.suffix in info.opens:
            yield from info.opens[file.suffix](file)
        elif layout == ".tsv":
            yield from _tab_rows(file)
        else:
            yield from (Row(where, row) for where, row in read_rows(file))


def _checked(where: Where, row: object) -> Row:
    from instructloop.formats.loaded import RowProblemError

    if isinstance(row, RowProblemError):
        raise row.as_error(where)
    assert isinstance(row, dict)
    return Row(where, row)


def _split_of(info: SetInfo, folder: Path, split: str) -> str:
    """The split of a ``save_to_disk`` folder."""
    there = {part.name for part in folder.iterdir() if part.is_dir()}
    return next((wanted for wanted in ([split] if split else info.splits) if wanted in there), split)


def _tab_rows(file: Path) -> Iterator[Row]:
    """A table with tabs as GLUE and Winogender write it: quotation marks are text."""
    import gzip

    raw = gzip.decompress(file.read_bytes()) if file.name.endswith(".gz") else file.read_bytes()
    lines = raw.decode("utf-8-sig").split("\n")
    header = [name.strip() for name in lines[0].rstrip("\r").split("\t")]
    for number, line in enumerate(lines[1:], start=2):
        if line.strip():
            cells = line.rstrip("\r").split("\t")
            if len(cells) != len(header):
                raise DataError(f"{file}:{number}: {len(cells)} columns where the header has {len(header)}", hint="was the file edited?")
            yield Row(Where(str(file), number), dict(zip(header, cells, strict=True)))


def _hub_rows(address: str, name: str, split: str) -> Iterator[Row]:
    """Rows through the library ``datasets``: from its cache, a local folder, or the network where that is allowed."""
    if not address:
        raise DataError(f"the set {name} has no standard name on the hub", hint="write hub:owner/name#split")
    try:
        import datasets
    except ImportError as error:
        raise MissingExtraError("a hub name needs the package 'datasets', which is not installed", hint="pip install datasets") from error
    place, _, named = address.partition("#")
    folder, _, configuration = place.partition(":")
    wanted = split or named or "train"
    try:
        rows = datasets.load_dataset(folder, configuration or None, split=wanted)
    except Exception as error:  # the library raises many kinds: network, name, split, script
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise DataError(
            f"the hub data set {place!r} (split {wanted!r}) cannot be loaded: {reason[0]}",
            hint="check name, configuration, split and network; or download it and pass the folder",
        ) from error
    for number, row in enumerate(rows, start=1):
        yield Row(Where(f"{place}#{wanted}", number), dict(row))


def _part(items: list[Item], limit: int, seed: int, name: str, uniform_in: str) -> list[Item]:
    if limit <= 0 or limit >= len(items):
        return items
    order = permutation(len(items), seed, "set", name)
    if uniform_in:
        order = _evenly(order, items, uniform_in)
    return [items[place] for place in sorted(order[:limit])]


def _evenly(order: Sequence[int], items: Sequence[Item], name: str) -> list[int]:
    """The same order, but taking from each quarter of the field in turn; items without a value come last."""
    quarters: list[list[int]] = [[] for _ in range(_QUARTERS + 1)]
    for place in order:
        value = items[place].fields[name]
        quarters[_QUARTERS if value is None else min(_QUARTERS - 1, int(value * _QUARTERS))].append(place)
    mixed: list[int] = []
    for turn in range(len(order)):
        mixed += [quarter[turn] for quarter in quarters[:_QUARTERS] if turn < len(quarter)]
    return mixed + quarters[_QUARTERS]
