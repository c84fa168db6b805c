"""Parquet files, folders of data files, ``datasets`` folders and hub names. All need an optional package, named when it is missing."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from instructloop.core.errors import DataError, MissingExtraError
from instructloop.formats.loaded import Where

if TYPE_CHECKING:
    from instructloop.formats.rows import Found

_BATCH_ROWS = 1024
_SPLIT_NAMES = ("train", "validation", "valid", "dev", "test")


def parquet_rows(file: Path) -> Iterator["Found"]:
    """Rows of a Parquet file, read in batches so that a large file does not have to fit into memory."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtraError.for_extra("pyarrow", "files") from error
    try:
        with pyarrow.parquet.ParquetFile(file) as table:
            yield from _numbered(file, table.iter_batches(batch_size=_BATCH_ROWS))
    except (pyarrow.ArrowInvalid, OSError) as error:
        raise DataError(f"{file}: not a readable Parquet file ({_first_line(error)})", hint="download or copy it again") from error


def folder_rows(folder: Path, split: str = "") -> Iterator["Found"]:
    """Rows of a folder: one written by ``datasets`` (``save_to_disk``), or one that holds data files.

    Args:
        folder: the directory.
        split: which split to take where there are several; empty takes ``train``, or the only one.
    """
    if (folder / "dataset_dict.json").is_file():
        splits = [str(name) for name in _load(folder / "dataset_dict.json").get("splits", [])]
        yield from folder_rows(folder / _pick(folder, splits, split))
    elif (folder / "state.json").is_file():
        yield from _arrow_rows(folder)
    else:
        yield from _file_rows(folder, split)


def hub_rows(name: str, split: str) -> Iterator["Found"]:
    """Rows of a data set on the Hugging Face hub (or in its local cache), through the ``datasets`` library."""
    try:
        import datasets
    except ImportError as error:
        raise MissingExtraError(
            f"there is no file {name!r}; to read the hub data set of that name, the package 'datasets' is needed and not installed",
            hint="pip install datasets, or check the path",
        ) from error
    try:
        rows = datasets.load_dataset(name, split=split)
    except Exception as error:  # the library raises many kinds: network, name, split, script
        raise DataError(
            f"the hub data set {name!r} (split {split!r}) cannot be loaded: {_first_line(error)}",
            hint="check name, split and network; or download it and pass the folder",
        ) from error
    for number, row in enumerate(rows, start=1):
        yield Where(f"{name}#{split}", number), dict(row)


def _arrow_rows(folder: Path) -> Iterator["Found"]:
    """Rows of a ``save_to_disk`` folder, straight from its Arrow files: pyarrow alone is enough."""
    try:
        import pyarrow
    except ImportError as error:
        raise MissingExtraError.for_extra("pyarrow", "files") from error
    state = _load(folder / "state.json")
    if state.get("_indices_data_files"):
        raise DataError(f"{folder}: a dataset with a separate index is not supported", hint="save it again after dataset.flatten_indices()")
    number = 0
    for entry in state.get("_data_files", []):
        file = folder / str(entry["filename"])
        try:
            with pyarrow.memory_map(str(file)) as source, pyarrow.ipc.open_stream(source) as reader:
                for _, row in _numbered(folder, reader):
                    number += 1
                    yield Where(str(folder), number), row
        except (pyarrow.ArrowInvalid, OSError) as error:
            raise DataError(f"{file}: not a readable Arrow file ({_first_line(error)})", hint="save the dataset again") from error


def _file_rows(folder: Path, split: str) -> Iterator["Found"]:
    from instructloop.formats import rows

    files = sorted(
        file for file in folder.rglob("*") if file.is_file() and (file.suffix == ".parquet" or rows.layout_of(file) in rows.TEXT_SUFFIXES)
    )
    files = [file for file in files if file.name not in {"dataset_info.json", "dataset_infos.json"}]
    if not files:
        raise DataError(
            f"{folder}: no data file in this folder", hint="known: .jsonl, .json, .csv, .tsv (also .gz), .parquet, a datasets folder"
        )
    by_split: dict[str, list[Path]] = {}
    for file in files:
        by_split.setdefault(_split_of(file), []).append(file)
    for file in by_split[_pick(folder, list(by_split), split)]:
        yield from rows.find_rows(file)


def _split_of(file: Path) -> str:
    """The split that a shard's name starts with (``train-00000-of-00002.parquet``), else the name itself: files aren't mixed by guess."""
    stem = file.name.split(".")[0]
    return next((name for name in _SPLIT_NAMES if stem == name or stem.startswith((f"{name}-", f"{name}_"))), stem)


def _pick(folder: Path, splits: list[str], wanted: str) -> str:
    if wanted in splits:
        return wanted
    if not wanted and len(splits) == 1:
        return splits[0]
    if not wanted and "train" in splits:
        return "train"
    problem = f"no split {wanted!r} in this folder" if wanted else "several data sets in this folder and none is called 'train'"
    raise DataError(f"{folder}: {problem}", hint=f"it holds {', '.join(splits)}; name one: {folder}#{splits[0] if splits else 'train'}")


def _numbered(place: Path, batches: Any) -> Iterator["Found"]:
    number = 0
    for batch in batches:
        for row in batch.to_pylist():
            number += 1
            yield Where(str(place), number), row


def _load(file: Path) -> dict[str, Any]:
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{file}: not valid JSON", hint="save the dataset again") from error
    return value if isinstance(value, dict) else {}


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
