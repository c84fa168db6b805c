"""Rows of any supported file, each with its place; a row that cannot be decoded is a problem of that row alone.

Read: ``.jsonl`` and ``.ndjson``, ``.json`` (a list, ``{"data": [...]}``, or lines after all), ``.csv``, ``.tsv``, each also with ``.gz``;
Parquet, folders written by ``datasets`` (``save_to_disk``) or holding such files, and hub names ``owner/name`` (``tables.py``).
"""

import csv
import gzip
import json
import re
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

from instructloop.core.errors import DataError
from instructloop.formats.loaded import RowProblemError, Where

Row: TypeAlias = dict[str, Any]
Found: TypeAlias = tuple[Where, Row | RowProblemError]

TEXT_SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv")
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_STRUCTURED_COLUMNS = {"completions", "ranks", "messages", "conversations", "prompt", "completion", "chosen", "rejected"}
_BOOLEANS = {"true": True, "false": False, "1": True, "0": False}


def read_rows(path: str | Path) -> Iterator[tuple[Where, Row]]:
    """Yield every row with its place.

    Raises:
        DataError: the file is missing or unreadable, or a row is not valid UTF-8 or JSON (with file and line).
        MissingExtraError: the file needs a package that is not installed.
    """
    for where, row in find_rows(path):
        if isinstance(row, RowProblemError):
            raise row.as_error(where)
        yield where, row


def find_rows(path: str | Path) -> Iterator[Found]:
    """Like ``read_rows``, but a bad row is yielded as its problem, so that a lenient reader can count it."""
    from instructloop.formats import tables

    name, _, split = str(path).partition("#")
    file = Path(path)
    if not file.exists() and Path(name).is_dir():
        file = Path(name)
    if not file.exists():
        if isinstance(path, str) and _HUB_NAME.fullmatch(name) and layout_of(Path(name)) is None and Path(name).suffix != ".parquet":
            yield from tables.hub_rows(name, split or "train")
            return
        raise DataError(
            f"no such file: {path}", hint="check the path; a data set on the hub is written owner/name, a split owner/name#test"
        )
    if file.is_dir():
        yield from tables.folder_rows(file, split if file == Path(name) else "")
    elif file.suffix == ".parquet":
        yield from tables.parquet_rows(file)
    else:
        yield from _text_rows(file)


def layout_of(file: Path) -> str | None:
    """The layout suffix of a file name with ``.gz`` taken off, or None if it is not a text layout."""
    name = file.name.lower().removesuffix(".gz")
    return next((suffix for suffix in TEXT_SUFFIXES if name.endswith(suffix)), None)


def _text_rows(file: Path) -> Iterator[Found]:
    suffix = layout_of(file)
    if suffix is None:
        raise DataError(
            f"{file}: unknown file type", hint=f"known: {', '.join(TEXT_SUFFIXES)} (each also with .gz), .parquet, a datasets folder"
        )
    if suffix in {".csv", ".tsv"}:
        yield from _separated_rows(file, "\t" if suffix == ".tsv" else ",")
    elif suffix == ".json":
        yield from _document_rows(file)
    else:
        yield from _line_rows(file, _lines(file))


def _lines(file: Path) -> Iterator[bytes]:
    """The lines of a file, unpacked where it is gzip; only line feeds end a line (JSON may hold other separators)."""
    try:
        with gzip.open(file, "rb") if file.name.lower().endswith(".gz") else file.open("rb") as stream:
            yield from stream
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise DataError(f"{file}: the gzip file is damaged or cut off ({error})", hint="download or copy it again") from error
    except PermissionError as error:
        raise DataError(f"{file}: permission denied", hint="check the rights of the file") from error


def _line_rows(file: Path, lines: Iterator[bytes]) -> Iterator[Found]:
    for number, raw in enumerate(lines, start=1):
        body = raw.removeprefix(b"\xef\xbb\xbf") if number == 1 else raw
        if not body.strip():
            continue
        where = Where(str(file), number)
        yield where, _parse_line(body)


def _parse_line(raw: bytes) -> Row | RowProblemError:
    try:
        row = json.loads(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        return RowProblemError("", f"not valid UTF-8 (byte 0x{raw[error.start]:02x} at position {error.start + 1} of the line)")
    except json.JSONDecodeError as error:
        return RowProblemError("", f"not valid JSON ({error.msg} at column {error.colno})")
    except RecursionError:
        return RowProblemError("", "JSON nested too deeply")
    return _object(row)


def _object(row: Any) -> Row | RowProblemError:
    return row if isinstance(row, dict) else RowProblemError("", f"a row must be an object with named fields, not {_kind(row)}")


def _kind(value: Any) -> str:
    names = {str: "a text", list: "a list", int: "a number", float: "a number", bool: "true or false", type(None): "null"}
    return names.get(type(value), type(value).__name__)


def _document_rows(file: Path) -> Iterator[Found]:
    raw = b"".join(_lines(file))
    try:
        document = json.loads(raw.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise DataError(f"{file}:{line}: not valid UTF-8 (byte 0x{raw[error.start]:02x})", hint="save the file as UTF-8") from error
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":  # one object a line under the name .json
            yield from _line_rows(file, iter(raw.splitlines(keepends=True)))
            return
        raise DataError(
            f"{file}:{error.lineno}: not valid JSON ({error.msg} at column {error.colno})",
            hint="the file was cut off or edited; export it again",
        ) from error
    except RecursionError as error:
        raise DataError(f"{file}:1: JSON nested too deeply", hint="no known tool writes such a file") from error
    if isinstance(document, dict) and isinstance(document.get("data"), list):
        document = document["data"]
    rows = document if isinstance(document, list) else [document]
    for number, row in enumerate(rows, start=1):
        yield Where(str(file), number), _object(row)


def _separated_rows(file: Path, delimiter: str) -> Iterator[Found]:
    """Rows of CSV or TSV; ``Where.line`` is the line on which the row ends (texts may span lines)."""
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))  # the default refuses texts of more than 131,072 characters
    # surrogateescape keeps bad bytes as lone surrogates, so that they can be charged to their own row
    text = (line.decode("utf-8", errors="surrogateescape").removeprefix("\ufeff") for line in _lines(file))
    reader = csv.reader(text, delimiter=delimiter, strict=True)
    header: list[str] | None = None
    try:
        for cells in reader:
            where = Where(str(file), reader.line_num)
            if not cells:
                continue
            if header is None:
                header = [cell.strip() for cell in cells]
            elif len(cells) != len(header):
                yield where, RowProblemError("", f"{len(cells)} columns where the header has {len(header)}")
            else:
                yield where, _separated_row(header, cells)
    except csv.Error as error:
        raise DataError(
            f"{file}:{reader.line_num}: not valid CSV ({error})", hint='texts with commas or line breaks need "quotes"'
        ) from error


def _separated_row(header: list[str], cells: list[str]) -> Row | RowProblemError:
    row: Row = {}
    for name, cell in zip(header, cells, strict=True):
        try:
            cell.encode("utf-8")
        except UnicodeEncodeError as error:
            return RowProblemError(name, f"not valid UTF-8 (byte 0x{ord(cell[error.start]) & 0xFF:02x})")
        row[name] = _cell(name, cell)
    return row


def _cell(name: str, cell: str) -> Any:
    """A cell as a value: lists are JSON inside the cell, and only contract fields are interpreted."""
    if name in _STRUCTURED_COLUMNS and cell.startswith(("[", "{")):
        try:
            value = json.loads(cell)
        except json.JSONDecodeError:
            return cell  # a text that happens to start with a bracket
        messages = isinstance(value, list) and bool(value) and all(isinstance(part, dict) for part in value)
        return value if messages or name in {"completions", "ranks"} else cell
    if name in {"label", "none_acceptable"}:
        return _BOOLEANS.get(cell.strip().lower(), cell)
    if name in {"confidence", "labeler"} and not cell.strip():
        return None
    if name == "confidence":
        try:
            return float(cell)
        except ValueError:
            return cell
    return cell
