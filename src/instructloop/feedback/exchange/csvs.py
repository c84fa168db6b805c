"""CSV for spreadsheets: texts that would run as formulas are made harmless, lists become JSON in their cell."""

import csv
import io
import json
from collections.abc import Iterable, Mapping
from typing import Any

_DANGEROUS = ("=", "+", "-", "@", "\t", "\r", "\n")


def to_csv(rows: Iterable[Mapping[str, Any]]) -> str:
    """Rows as CSV with a header of all their columns, in order of first appearance.

    A text that a spreadsheet would run (it begins with ``= + - @``, a tab or a line break, also after blanks) gets an apostrophe in
    front (control 14). The JSONL files hold the texts as they are.
    """
    listed = list(rows)
    columns = list(dict.fromkeys(name for row in listed for name in row))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([safe_cell(name) for name in columns])
    writer.writerows([safe_cell(row.get(name)) for name in columns] for row in listed)
    return out.getvalue()


def safe_cell(value: Any) -> str:
    """One cell. Numbers of ours stay numbers, also negative ones; only texts can be formulas."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return f"'{text}" if text.startswith(_DANGEROUS) or text.lstrip(" \u00a0\ufeff").startswith(_DANGEROUS) else text
