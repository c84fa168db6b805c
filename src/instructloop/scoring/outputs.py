"""Outputs made elsewhere: whose they are, what they answer, and what they are compared with.

Read as they stand: the files that OpenAI released with the InstructGPT paper (an unnamed index column, ``model_type``, ``prompt_type``
where there is one, ``context``, ``ref_text`` with alternatives joined by ``|``, ``sample``; RealToxicityPrompts with ``toxicity``,
TruthfulQA with ``question``, ``answer``, ``true``, ``info``), plain rows ``{"id"?, "completion", "references"}`` of any tool, and the
predictions of SQuAD's and DROP's official scripts (one JSON object, item name to answer). Columns that are not known are kept.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from instructloop.core.errors import DataError
from instructloop.formats.loaded import Where
from instructloop.formats.rows import read_rows
from instructloop.scoring.sets_items import Item, Row

TEXT_COLUMNS = ("sample", "completion", "output", "response", "prediction", "generation", "text")
"""Columns that hold what was written; the first that is there counts (``answer`` only where there is none of these)."""
REFERENCE_COLUMNS = ("ref_text", "references", "reference", "answers", "targets", "target", "ref", "gold", "answer")
CONTEXT_COLUMNS = ("context", "prompt", "question", "instruction", "input", "source")
"""Columns that hold what was asked; answers to the same text are one cluster of the intervals."""
GROUP_COLUMNS = ("model_type", "prompt_type")
MODEL_COLUMNS = ("model_type", "model", "generator")
_JOINED = ("ref_text", "references")
"""Columns in which alternatives may be joined by ``|``."""
ONE_MODEL = "outputs"
"""Name of the model where no column tells."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Output:
    """One output and its references."""

    model: str
    variant: str
    """Values of the further group columns, joined by a comma; empty without any."""
    id: str
    context: str
    """What was asked; empty where the file does not say."""
    text: str
    references: tuple[str, ...]
    """As they stand, one entry if they are one text; ``alternatives`` divides them."""
    row: Row
    """All columns."""
    item: Item | None = None
    """The item of the set, where outputs were matched with it."""

    @property
    def key(self) -> str:
        """What it answers: outputs of several models with the same key are a pair."""
        return self.item.id if self.item else self.context or self.id

    @property
    def cluster(self) -> str:
        """What intervals resample whole: the passage or dialogue of the matched item, else what was asked, else the item's name."""
        return (self.item.group if self.item else "") or self.context or self.id

    @property
    def alternatives(self) -> tuple[str, ...]:
        """References with ``|`` taken as the sign between alternatives (short answers; a translation may hold one itself)."""
        if len(self.references) == 1 and any(name in self.row for name in _JOINED):
            return tuple(self.references[0].split("|"))
        return self.references


def read_outputs(path: str | Path, by: Sequence[str] = ()) -> list[Output]:
    """Outputs of a CSV, JSON lines or Parquet file (``.gz`` too).

    Args:
        path: the file.
        by: columns that make groups, the model's first; empty takes ``model_type`` (or ``model``, ``generator``) and ``prompt_type``.

    Raises:
        DataError: the file or a row cannot be used; a column of ``by`` is missing.
    """
    return as_outputs((Row(where, row) for where, row in read_rows(path)), by, source=str(path))


def as_outputs(rows: Iterable[Row | Mapping[str, Any]], by: Sequence[str] = (), *, source: str = "<list>") -> list[Output]:
    """The same from rows.

    Raises:
        DataError: a row cannot be used, or there is none.
    """
    found = [row if isinstance(row, Row) else Row(Where(source, number), row) for number, row in enumerate(rows, start=1)]
    if len(found) == 1 and _is_predictions(found[0]):
        found = [Row(found[0].where, {"id": name, "prediction": text}) for name, text in found[0].values.items()]
    if not found:
        raise DataError(f"{source}: no outputs", hint="is the file empty?")
    columns = list(by) or _group_columns(found[0])
    return [_output(row, columns, number) for number, row in enumerate(found, start=1)]


def match_items(outputs: Sequence[Output], items: Sequence[Item]) -> list[Output]:
    """Give each output its item of the set: by the item's name in ``id``, ``key`` or ``item``, else by the text of the question or prompt.

    Raises:
        DataError: an output belongs to no item, or its text to several.
    """
    by_id = {item.id: item for item in items}
    by_text: dict[str, list[Item]] = {}
    for item in items:
        for text in {_squeezed(item.fields[name]) for name in ("prompt", "question") if item.fields.get(name)}:
            by_text.setdefault(text, []).append(item)
    matched = []
    for output in outputs:
        names = [str(output.row.values[name]) for name in ("id", "key", "item") if name in output.row]
        item_of_id = next((by_id[name] for name in names if name in by_id), None)
        found = [item_of_id] if item_of_id else by_text.get(_squeezed(output.context), [])
        if len(found) != 1:
            reason = f"{len(found)} items of the set have this prompt" if found else "belongs to no item of the set"
            raise output.row.problem("id", reason, "outputs are matched by id or key, else by the text of the prompt or question")
        matched.append(replace(output, item=found[0], references=output.references or found[0].references))
    return matched


def _is_predictions(row: Row) -> bool:
    """Whether this is one object from item names to answers, as the official scripts of SQuAD and DROP want it."""
    known = {*TEXT_COLUMNS, *REFERENCE_COLUMNS}
    return not known & set(row.values) and all(isinstance(text, str) for text in row.values.values())


def _squeezed(text: str) -> str:
    return " ".join(text.split())


def _group_columns(row: Row) -> list[str]:
    model = next((name for name in MODEL_COLUMNS if name in row.values), None)
    return [name for name in (model, GROUP_COLUMNS[1]) if name is not None and name in row.values]


def _output(row: Row, columns: Sequence[str], number: int) -> Output:
    values = [str(row.get(name)) for name in columns]
    text_column = next((name for name in TEXT_COLUMNS if name in row), "answer")
    references = next((_references(row, name) for name in REFERENCE_COLUMNS if name in row and name != text_column), ())
    names = ("id", "key", "item", "idx")
    return Output(
        model=values[0] if values else ONE_MODEL,
        variant=", ".join(values[1:]),
        id=next((str(row.values[name]) for name in names if name in row), str(number)),
        context=next((row.text(name) for name in CONTEXT_COLUMNS if isinstance(row.values.get(name), str)), ""),
        text=row.text(*([text_column] if text_column == "answer" else TEXT_COLUMNS)),
        references=references,
        row=row,
    )


def _references(row: Row, name: str) -> tuple[str, ...]:
    value = row.values[name]
    if isinstance(value, Mapping):  # SQuAD's {"text": [...], "answer_start": [...]}
        value = value.get("text", [])
    if isinstance(value, str) and value.startswith("["):  # a list inside a CSV cell
        try:
            value = json.loads(value)
        except json.JSONDecodeError:
            return (value,)
    if isinstance(value, bool | int | float):
        return (str(value),)
    return Row(row.where, {name: value}).texts(name)
