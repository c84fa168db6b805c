"""AlpacaEval's ``annotations.json``: one object a judged pair of outputs.

``preference``: 1 = ``output_1`` is better, 2 = ``output_2``, 1.5 and 0 = a draw, null = the judge's answer could not be read. Anything
between 1 and 2 is the weight of ``output_2`` plus one (weighted judges); its side is the vote and the number itself is kept.
"""

import math
from collections.abc import Iterator
from typing import Any

from instructloop.core.records import Comparison, Outcome
from instructloop.formats import fields as check
from instructloop.formats.foreign import ForeignRecord, Imported, Notes, Source, read_foreign
from instructloop.formats.loaded import RowProblemError

TOOL = "alpaca_eval"
_USED = {"instruction", "input", "output_1", "output_2", "generator_1", "generator_2", "annotator"}


def read_alpaca_eval(source: Source, *, skip_bad_rows: bool = False) -> Imported:
    """Annotations of AlpacaEval as blind comparisons.

    Rows without a preference are left out and counted as ``unread_judgements``.

    Args:
        source: ``annotations.json`` (or JSONL), or rows.
        skip_bad_rows: leave bad rows out and list them, instead of stopping.

    Raises:
        DataError: a bad row, with file, number, field and remedy.
    """
    return read_foreign(source, _records, "AlpacaEval", skip_bad_rows=skip_bad_rows)


def _records(row: dict[str, Any], notes: Notes) -> Iterator[ForeignRecord]:
    instruction = check.text(check.required(row, "instruction"), "instruction")
    extra = row.get("input")
    if isinstance(extra, str) and extra.strip():  # AlpacaFarm's rows have the instruction's input apart
        instruction = f"{instruction}\n\n{extra}"
    outputs = [check.text(check.required(row, name), name) for name in ("output_1", "output_2")]
    if "preference" not in row:
        check.required(row, "preference")
    winner = _winner(row["preference"], notes)
    if winner is None:
        return
    yield Comparison(
        prompt=instruction,
        completion_a=outputs[0],
        completion_b=outputs[1],
        winner=winner,
        model_a=_name(row, "generator_1"),
        model_b=_name(row, "generator_2"),
        labeler=check.labeler(row.get("annotator")),
        meta={TOOL: {name: value for name, value in row.items() if name not in _USED}},
    )


def _name(row: dict[str, Any], field: str) -> str | None:
    value = row.get(field, row.get("generator") if field == "generator_2" else None)
    return None if value is None else str(value)


def _winner(preference: Any, notes: Notes) -> Outcome | None:
    if preference is None or (isinstance(preference, float) and math.isnan(preference)):
        notes.leave_out("unread_judgements", "preference", "is null: the judge's answer could not be read")
        return None
    if isinstance(preference, bool) or not isinstance(preference, int | float):
        raise RowProblemError("preference", f"must be a number, got {type(preference).__name__}")
    if preference == 0 or preference == 1.5:
        return "tie"
    if not 1 <= preference <= 2:
        raise RowProblemError("preference", f"is {preference}; 1 = output_1, 2 = output_2, 1.5 or 0 = a draw, between 1 and 2 = a weight")
    return "a" if preference < 1.5 else "b"
