"""Writing files so that a crash is harmless: write beside, flush to disk, rename; a line appended to an index is a commit."""

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from instructloop.core.errors import DataError

PARTIAL_SUFFIX = ".partial"


def write_atomic(path: Path, text: str) -> None:
    """Write a text file that is either the old one or the new one, never half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + PARTIAL_SUFFIX)
    with partial.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON atomically; NaN and infinities are refused (ValueError)."""
    write_atomic(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file; a broken one raises DataError naming file and line."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise DataError(
            f"{path}:{error.lineno}: not valid JSON ({error.msg})", hint="the file was edited or cut off; restore it"
        ) from error


def write_directory(path: Path, fill: Callable[[Path], None]) -> None:
    """Let ``fill`` write into ``path + .partial`` and rename the result to ``path``, which must not exist yet.

    If ``fill`` raises, the partial directory is removed and nothing appears at ``path``.
    """
    partial = path.with_name(path.name + PARTIAL_SUFFIX)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        fill(partial)
        for file in partial.rglob("*"):
            if file.is_file():
                _flush(file)
        partial.rename(path)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    _flush(path.parent)


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def append_jsonl(path: Path, row: Mapping[str, Any]) -> None:
    """Append one JSON line and flush it; NaN and infinities are refused (ValueError)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")
        file.flush()


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write all rows atomically, one JSON object a line."""
    write_atomic(path, "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows))


def read_jsonl(path: Path, *, drop_torn_tail: bool = False) -> Iterator[dict[str, Any]]:
    """Yield the rows of a JSONL file that we wrote ourselves (people's files go through ``formats``).

    Args:
        path: the file; a missing one yields nothing.
        drop_torn_tail: a last line without newline is a write that a crash cut off; skip it instead of raising DataError.
    """
    if not path.exists():
        return
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith("\n") and drop_torn_tail:
                return
            try:
                yield json.loads(line)
            except json.JSONDecodeError as error:
                raise DataError(
                    f"{path}:{number}: not valid JSON ({error.msg})", hint="the file was edited or cut off; restore it"
                ) from error
