"""An import file, read within limits and checked as a whole before anything is stored (control 17).

At most 200 MB, packed or not, and 64 kB a field; JSONL and CSV (also ``.gz``), Parquet, ``datasets`` folders. No zip, no pickle, no
hub: what comes in is data that this process can look at line by line.
"""

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from instructloop.core.errors import DataError
from instructloop.feedback.prompts.rows import Defaults, PromptInput, parse_row
from instructloop.formats.loaded import RowProblemError, Where
from instructloop.formats.rows import find_rows, layout_of

MOST_BYTES = 200_000_000
_CHUNK_BYTES = 1 << 20
_SHOWN_PROBLEMS = 5


class PlacedPrompt(NamedTuple):
    """A checked row and where it stood."""

    where: Where
    row: PromptInput


def read_inputs(path: str | Path, defaults: Defaults | None = None) -> list[PlacedPrompt]:
    """Read and check a file of prompts; all of it is good, or none of it is returned.

    Args:
        path: a file or folder; ``folder#split`` names a split of a ``datasets`` folder.
        defaults: what holds where a row is silent.

    Raises:
        DataError: with file, line, field, reason and remedy of the first bad row, and the places of the next few.
        MissingExtraError: the file needs a package that is not installed.
    """
    defaults = defaults or Defaults()
    name = str(path).partition("#")[0]
    file = Path(path) if Path(path).exists() else Path(name)
    if not file.exists():
        raise DataError(f"no such file: {path}", hint="check the path; prompts are imported from a file or folder on this machine")
    _check_size(file)
    cells = file.is_file() and layout_of(file) in {".csv", ".tsv"}
    found: list[PlacedPrompt] = []
    problems: list[tuple[Where, RowProblemError]] = []
    places: dict[str, Where] = {}
    for where, row in _rows(path):
        try:
            if isinstance(row, RowProblemError):
                raise row
            parsed = parse_row(row, defaults, from_cells=cells)
            if parsed.external_id is not None and places.setdefault(parsed.external_id, where) is not where:
                first = places[parsed.external_id]
                raise RowProblemError("id", f"{parsed.external_id!r} stands at line {first.line} already", hint="give each row its own id")
            found.append(PlacedPrompt(where, parsed))
        except RowProblemError as problem:
            problems.append((where, problem))
            if len(problems) > _SHOWN_PROBLEMS:
                break
    if problems:
        raise _as_error(problems)
    if not found:
        raise DataError(f"{path}: holds no rows", hint="check that this is the right file")
    return found


def _as_error(problems: list[tuple[Where, RowProblemError]]) -> DataError:
    (where, problem), *others = problems
    message = str(problem.as_skip(where))
    if others:
        more = "".join(f"\n  {other.as_skip(place)}" for place, other in others[: _SHOWN_PROBLEMS - 1])
        message += f"\nand further on:{more}" + ("\n  ..." if len(others) >= _SHOWN_PROBLEMS else "")
    return DataError(message, hint=f"{problem.hint or 'mend the row'}; nothing was imported")


def _rows(path: str | Path) -> Iterator[tuple[Where, dict[str, object] | RowProblemError]]:
    """The rows; what a parser throws at a hostile file comes out as an error about the file."""
    try:
        yield from find_rows(path)
    except (RecursionError, ValueError, OverflowError, MemoryError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path}: cannot be read ({type(error).__name__}: {str(error)[:200]})", hint="save the file again") from error


def _check_size(file: Path) -> None:
    files = [part for part in file.rglob("*") if part.is_file()] if file.is_dir() else [file]
    total = 0
    for part in files:
        total += _unpacked_bytes(part, MOST_BYTES - total) if part.name.lower().endswith(".gz") else part.stat().st_size
        if total > MOST_BYTES:
            raise DataError(f"{file}: holds more than {MOST_BYTES // 1_000_000} MB", hint="split the file and import the parts")


def _unpacked_bytes(file: Path, most: int) -> int:
    """Size of a gzip file's content, counted by unpacking (its header can lie), no further than needed."""
    total = 0
    try:
        with gzip.open(file, "rb") as stream:
            while chunk := stream.read(_CHUNK_BYTES):
                total += len(chunk)
                if total > most:
                    break
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise DataError(f"{file}: the gzip file is damaged or cut off ({error})", hint="download or copy it again") from error
    return total
