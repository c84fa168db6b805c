"""Limits of every text that comes in (control 17), and cells of CSV files that a spreadsheet would run (control 14)."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from instructloop.feedback.answers import MAX_TEXT_BYTES
from instructloop.formats.fields import check_encodable
from instructloop.formats.loaded import RowProblemError


def check_texts(value: Any, place: str = "") -> None:
    """Every text of a row fits (64 kB, control 17) and can be stored by every engine (no NUL, no half surrogate).

    Raises:
        RowProblemError: with the path of the text.
    """
    pending: list[tuple[Any, str]] = [(value, place)]
    while pending:
        item, path = pending.pop()
        if isinstance(item, str):
            _check_text(item, path)
        elif isinstance(item, Mapping):
            for name in item:
                _check_text(str(name), f"{path} (a field's name)")
            pending += [(part, f"{path}.{name}".lstrip(".")) for name, part in item.items()]
        elif isinstance(item, Iterable) and not isinstance(item, bytes):
            pending += [(part, f"{path}[{index}]") for index, part in enumerate(item)]
        elif hasattr(item, "content"):
            _check_text(item.content, path)


def _check_text(text: str, path: str) -> None:
    check_encodable(text, path)
    size = len(text.encode())
    if size > MAX_TEXT_BYTES:
        raise RowProblemError(path, f"holds {size:,} bytes; {MAX_TEXT_BYTES:,} is the most", hint="shorten the text, or leave the row out")
    if "\0" in text:
        raise RowProblemError(path, "holds a NUL character", hint="remove it; no database stores it")


_FORMULA = re.compile(r"[=@\t\r]|[+-](?=[A-Za-z(=@+-])")


def check_cell(name: str, cell: Any) -> Any:
    """A cell of a CSV file: a formula is refused; one that was made harmless with an apostrophe is read without it.

    Raises:
        RowProblemError: the cell begins like a formula.
    """
    if not isinstance(cell, str):
        return cell
    if cell.startswith("'") and _FORMULA.match(cell[1:].lstrip(" ")):
        return cell[1:]
    if _FORMULA.match(cell.lstrip(" ")):
        raise RowProblemError(
            name,
            f"begins like a formula of a spreadsheet: {cell[:40]!r}",
            hint="if it is text, write an apostrophe in front, or use JSONL",
        )
    return cell
