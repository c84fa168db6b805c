"""Label Studio's JSON export (tasks with annotations) and JSON-MIN (one flat object an annotation).

An annotation's results become: a ranking (``ranker``: an order, or buckets as tiers; the old ``items`` form), a comparison (``pairwise``,
or ``choices`` that name one of two completions or a tie), a rating (``rating`` or ``number`` of one completion), a demonstration
(``textarea`` called ``completion``, ``response``... or named by the caller). The export does not hold the labeling configuration, so
what the tags show is found by name in ``data``; ``names`` settles what can't be guessed. The rest stays in ``meta["label_studio"]``.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from instructloop.core.records import Comparison, Demonstration, Prompt, PromptContent, Ranking, Rating
from instructloop.formats import fields as check
from instructloop.formats.foreign import (
    BOTH_BAD,
    TIES,
    WRITTEN,
    ForeignRecord,
    Imported,
    Names,
    Notes,
    Source,
    find_completions,
    find_prompt,
    folded,
    listed,
    mapping,
    match,
    read_foreign,
)
from instructloop.formats.loaded import RowProblemError

TOOL = "label_studio"
_VALUE_KINDS = {"choices", "number", "pairwise", "ranker", "rating", "selected", "text"}
_MIN_FIELDS = {"agreement", "annotation_id", "annotator", "created_at", "id", "lead_time", "updated_at"}
_SIDES = ("left", "right")


def read_label_studio(source: Source, *, names: Names | None = None, skip_bad_rows: bool = False) -> Imported:
    """Tasks of a Label Studio project.

    Args:
        source: the exported ``.json`` (JSON or JSON-MIN), or rows.
        names: ``{"prompt": field of data, "completion": text area with a written answer, "left": field, "buckets": "best>fine>bad"}``.
        skip_bad_rows: leave bad tasks out and list them, instead of stopping.

    Raises:
        DataError: a bad task, with file, number of the task, field and remedy.
    """
    said = names or {}
    return read_foreign(source, lambda row, notes: _records(row, notes, said), "Label Studio", skip_bad_rows=skip_bad_rows)


def _records(row: dict[str, Any], notes: Notes, names: Names) -> Iterator[ForeignRecord]:
    task = _task(row)
    data = mapping(task.get("data"), "data")
    prompt_name = find_prompt(data, names, "data")
    prompt = check.prompt(data[prompt_name], f"data.{prompt_name}")
    completions = _completions(data, prompt_name, names)
    base = {name: value for name, value in task.items() if name not in {"data", "annotations"}}
    base["data"] = {name: value for name, value in data.items() if name != prompt_name}
    given = 0
    for number, annotation in enumerate(listed(task.get("annotations"), "annotations")):
        found = mapping(annotation, f"annotations[{number}]")
        if found.get("was_cancelled"):
            notes.leave_out("cancelled_annotations", f"annotations[{number}]", "was cancelled")
            continue
        mine = [*_results(found, prompt, completions, names, base, f"annotations[{number}]")]
        if not mine:
            notes["answers_without_judgement"] += 1
            mine = [Prompt(prompt=prompt, meta={TOOL: {**base, "annotation": found}})]
        given += len(mine)
        yield from mine
    if not given:
        notes["tasks_without_answers"] += 1
        yield Prompt(prompt=prompt, meta={TOOL: base})


def _results(
    annotation: dict[str, Any], prompt: PromptContent, completions: dict[str, str], names: Names, base: dict[str, Any], place: str
) -> Iterator[ForeignRecord]:
    person = _person(annotation.get("completed_by"))
    for number, result in enumerate(listed(annotation.get("result"), f"{place}.result")):
        where = f"{place}.result[{number}]"
        found = mapping(result, where)
        value = mapping(found.get("value"), f"{where}.value")
        meta: dict[str, Any] = {TOOL: {**base, "annotation": annotation, "result": number}}
        yield from _result(found, value, prompt, completions, names, person, meta, where)


def _result(
    result: dict[str, Any],
    value: dict[str, Any],
    prompt: PromptContent,
    completions: dict[str, str],
    names: Names,
    person: str | None,
    meta: dict[str, Any],
    where: str,
) -> Iterator[ForeignRecord]:
    tag = str(result.get("from_name", ""))
    if "ranker" in value or ("items" in value and result.get("type") == "ranker"):
        texts, ranks, labels = _ranking(value, completions, names, where)
        meta[TOOL]["completions"] = labels
        yield Ranking(prompt=prompt, completions=texts, ranks=ranks, labeler=person, meta=meta)
    elif "selected" in value or ("choices" in value and len(completions) == 2):
        chosen = value["selected"] if "selected" in value else value["choices"]
        outcome = _outcome(chosen, completions, names)
        if outcome is None and "selected" in value:
            raise RowProblemError(
                f"{where}.value.selected",
                f"{chosen!r} names none of two completions (data has {', '.join(completions) or 'none'})",
                hint="say which fields of data were compared: --map left=FIELD right=FIELD",
            )
        if outcome is not None:
            sides = _pair(completions, names)
            meta[TOOL]["completions"] = [name for name, _ in sides]
            (_, text_a), (_, text_b) = sides
            yield Comparison(prompt=prompt, completion_a=text_a, completion_b=text_b, winner=outcome, labeler=person, meta=meta)
    elif isinstance(overall := value.get("rating", value.get("number")), int | float):
        rated = _rated(result, completions)
        if rated is not None:
            meta[TOOL]["completion"] = rated
            yield Rating(prompt=prompt, completion=completions[rated], overall=float(overall), labeler=person, meta=meta)
    elif "text" in value and (tag == names.get("completion") or ("completion" not in names and folded(tag) in WRITTEN)):
        texts_written = [value["text"]] if isinstance(value["text"], str) else listed(value["text"], f"{where}.value.text")
        said = {} if person is None else {"labeler": person}
        for text in texts_written:
            yield Demonstration(prompt=prompt, completion=check.completion(text, f"{where}.value.text"), meta={**said, **meta})


def _completions(data: Mapping[str, Any], prompt: str, names: Names) -> dict[str, str]:
    """Completions by name: text fields of ``data``, or the items of a list (by their ``id``) for the Ranker."""
    texts = find_completions(data, prompt, names)
    if texts:
        return texts
    for name, value in data.items():
        if name != prompt and isinstance(value, list) and len(value) > 1 and all(_item_text(item) is not None for item in value):
            return {
                str(item.get("id", index)) if isinstance(item, Mapping) else str(index): str(_item_text(item))
                for index, item in enumerate(value)
            }
    return {}


def _item_text(item: Any) -> str | None:
    if isinstance(item, str):
        return item
    if isinstance(item, Mapping):
        return next(
            (item[name] for name in ("body", "text", "html", "title") if isinstance(item.get(name), str) and item[name].strip()), None
        )
    return None


def _pair(completions: dict[str, str], names: Names) -> list[tuple[str, str]]:
    if all(names.get(side) in completions for side in _SIDES):
        return [(names[side], completions[names[side]]) for side in _SIDES]
    return list(completions.items())


def _outcome(chosen: Any, completions: dict[str, str], names: Names) -> Any:
    label = chosen[0] if isinstance(chosen, list) and len(chosen) == 1 else chosen
    sides = [name for name, _ in _pair(completions, names)]
    if len(sides) != 2 or not isinstance(label, str):
        return None
    if folded(label) in TIES:
        return "tie"
    if folded(label) in BOTH_BAD:
        return "both_bad"
    if label in _SIDES:
        return "ab"[_SIDES.index(label)]
    named = match(label, sides, names)
    return None if named is None else "ab"[sides.index(named)]


def _ranking(
    value: dict[str, Any], completions: dict[str, str], names: Names, place: str
) -> tuple[tuple[str, ...], tuple[int | None, ...], list[str]]:
    if "items" in value and "ranker" not in value:  # the Ranker of versions before 1.8: texts in their new order
        texts = [check.text(item, f"{place}.value.items") for item in listed(value["items"], f"{place}.value.items")]
        return tuple(texts), tuple(range(len(texts))), [str(number) for number in range(len(texts))]
    columns = mapping(value["ranker"], f"{place}.value.ranker")
    tiers = _tiers(columns, names, f"{place}.value.ranker")
    ranks: dict[str, int] = {}
    for tier, ids in enumerate(tiers):
        for label in ids:
            name = match(label, completions, names)
            if name is None:
                raise RowProblemError(
                    f"{place}.value.ranker",
                    f"ranks {label!r}, which is no item of the task (they are {', '.join(completions) or 'none'})",
                    hint="the export must hold the task's data with the list that was ranked",
                )
            if name in ranks:
                raise RowProblemError(f"{place}.value.ranker", f"ranks {label!r} twice")
            ranks[name] = tier
    found = check.ranks([ranks.get(name) for name in completions], len(completions), f"{place}.value.ranker")
    if sum(rank is not None for rank in found) < 2:
        raise RowProblemError(f"{place}.value.ranker", "ranks fewer than 2 completions")
    return tuple(completions.values()), found, list(completions)


def _tiers(columns: dict[str, Any], names: Names, place: str) -> list[list[Any]]:
    """One column is an order; several are buckets, best first: as the caller says, or by the number in their names."""
    used = {name: listed(ids, f"{place}.{name}") for name, ids in columns.items() if name != "_"}
    if len(used) == 1:
        return [[label] for label in next(iter(used.values()))]
    if "buckets" in names:
        order = [name.strip() for name in names["buckets"].split(">")]
        strangers = sorted(set(used) - set(order))
        if strangers:
            raise RowProblemError(place, f"has the buckets {', '.join(strangers)}, which --map buckets does not name")
        return [used[name] for name in order if name in used]
    numbers = {name: re.findall(r"\d+", name) for name in used}
    if any(len(found) != 1 for found in numbers.values()):
        raise RowProblemError(
            place,
            f"has buckets whose order is not known: {', '.join(used)}",
            hint="say it, best first: --map 'buckets=" + ">".join(used) + "'",
        )
    return [used[name] for name in sorted(used, key=lambda name: int(numbers[name][0]))]


def _rated(result: Mapping[str, Any], completions: Mapping[str, str]) -> str | None:
    if len(completions) == 1:
        return next(iter(completions))
    for tag in (str(result.get("to_name", "")), str(result.get("from_name", ""))):
        named = [name for name in completions if folded(tag).endswith(folded(name))]
        if len(named) == 1:
            return named[0]
    return None


def _person(completed_by: Any) -> str | None:
    """The annotator's number. An object (with e-mail and names) gives its ``id`` only; the rest stays in ``meta``."""
    if isinstance(completed_by, Mapping):
        completed_by = completed_by.get("id")
    return None if completed_by is None else str(completed_by)


def _task(row: dict[str, Any]) -> dict[str, Any]:
    """A task with annotations; a flat JSON-MIN object becomes a task with one annotation."""
    if "data" in row:
        return row
    if "annotation_id" not in row and "annotator" not in row:
        raise RowProblemError("data", f"is missing (the row has {', '.join(sorted(row)) or 'nothing'})", hint="export as JSON or JSON-MIN")
    results, data = [], {}
    for name, value in row.items():
        if name in _MIN_FIELDS:
            continue
        values = value if isinstance(value, list) else [value]
        if values and all(isinstance(item, Mapping) and _VALUE_KINDS & set(item) and "id" not in item for item in values):
            results += [{"from_name": name, "value": dict(item)} for item in values]
        elif isinstance(value, str) and (folded(value) in TIES | BOTH_BAD | set(_SIDES)):
            results.append({"from_name": name, "value": {"choices": [value]}})
            data[name] = value
        else:
            data[name] = value
    annotation = {"id": row.get("annotation_id"), "completed_by": row.get("annotator"), "result": results}
    annotation |= {name: row[name] for name in ("created_at", "updated_at", "lead_time", "agreement") if name in row}
    return {"id": row.get("id"), "data": data, "annotations": [annotation]}
