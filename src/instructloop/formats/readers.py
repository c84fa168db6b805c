"""Files, lists of rows or lists of records into checked records.

One rule for bad input: a row that cannot be used raises DataError with file, line, field and reason; with ``skip_bad_rows`` it is
left out and listed in ``Loaded.skipped``. Bad are: a missing or null field, an empty prompt, completion or text, fewer than two
completions, fewer than two ranks, ranks that are no integers or do not match, chosen equal to rejected (or all completions of a
ranking identical with different ranks), a conversation that does not end where it should, invalid UTF-8 and invalid JSON.

One exception keeps work that people did: an **empty completion inside a ranking** is an error by default like any other, but with
``skip_bad_rows`` only that completion is left out (its rank becomes None, ``Loaded.notes["empty_completions"]`` counts it and
``Loaded.skipped`` lists it as ``completions[i]``) as long as two ranked completions remain; else the row goes.

Kept and counted in ``Loaded.notes``, because they are judgements and not mistakes: groups tied throughout (``all_tied_groups``),
groups in which no completion was acceptable (``none_acceptable``), identical completions (``duplicate_completions``: groups;
``contradictory_duplicates``: groups in which they have different ranks), rows that say what an earlier one says, whatever their ``meta`` (``duplicate_rows``).
"""

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from instructloop.core.errors import DataError
from instructloop.core.hashing import hash_bytes
from instructloop.core.records import Demonstration, Pair, Prompt, Ranking, Text, Unpaired, dense_ranks
from instructloop.formats import fields, layouts
from instructloop.formats.loaded import Loaded, RowProblemError, Skip, Where
from instructloop.formats.rows import Found, find_rows
from instructloop.formats.writers import to_row

R = TypeVar("R", bound="Record")
Record: TypeAlias = Demonstration | Ranking | Pair | Prompt | Text | Unpaired
Source: TypeAlias = str | Path | Iterable[Mapping[str, Any] | Record | str]
"""A path or hub name, rows as dictionaries, records, or plain strings (prompts and texts)."""


class _Notes(Counter[str]):
    """Counted conditions of a file, and the parts of rows left out."""

    def __init__(self, *, lenient: bool) -> None:
        super().__init__()
        self.lenient = lenient
        self.parts: list[tuple[str, str]] = []


Parse: TypeAlias = Callable[[dict[str, Any], _Notes], R]


def read_demonstrations(source: Source, *, skip_bad_rows: bool = False) -> Loaded[Demonstration]:
    """Rows ``{"prompt", "completion"}`` (design, section 4), messages, or instruction rows.

    Raises:
        DataError: a bad row (unless ``skip_bad_rows``), an unreadable file, or no usable row at all.
    """
    return _read(source, _demonstration, "demonstration", skip_bad_rows)


def read_rankings(source: Source, *, skip_bad_rows: bool = False) -> Loaded[Ranking]:
    """Rows ``{"prompt", "completions", "ranks"}`` or pairs ``{"prompt", "chosen", "rejected"}``, which become K = 2.

    Ranks may be any integers and come out dense from 0. See the module for the rules on bad rows.

    Raises:
        DataError: a bad row (unless ``skip_bad_rows``), an unreadable file, or no usable row at all.
    """
    return _read(source, _ranking, "ranking", skip_bad_rows)


def read_prompts(source: Source, *, skip_bad_rows: bool = False) -> Loaded[Prompt]:
    """Rows ``{"prompt", ...}``; every further field is kept in ``meta``, a completion too.

    Raises:
        DataError: a bad row (unless ``skip_bad_rows``), an unreadable file, or no usable row at all.
    """
    return _read(source, _prompt, "prompt", skip_bad_rows)


def read_texts(source: Source, *, skip_bad_rows: bool = False) -> Loaded[Text]:
    """Documents ``{"text"}``; a list of plain strings is read too.

    Raises:
        DataError: a bad row (unless ``skip_bad_rows``), an unreadable file, or no usable row at all.
    """
    return _read(source, _text, "text", skip_bad_rows)


def read_unpaired(source: Source, *, skip_bad_rows: bool = False) -> Loaded[Unpaired]:
    """Rows ``{"prompt", "completion", "label": bool}``, or messages with a label.

    Raises:
        DataError: a bad row (unless ``skip_bad_rows``), an unreadable file, or no usable row at all.
    """
    return _read(source, _unpaired, "unpaired", skip_bad_rows)


def _read(source: Source, parse: Parse[R], kind: str, skip_bad_rows: bool) -> Loaded[R]:
    records: list[R] = []
    skipped: list[Skip] = []
    seen: set[str] = set()
    notes = _Notes(lenient=skip_bad_rows)
    for where, row in _rows(source):
        notes.parts.clear()
        try:
            if isinstance(row, RowProblemError):
                raise row
            record = parse(row, notes)
        except RowProblemError as problem:
            if not skip_bad_rows:
                raise problem.as_error(where) from None
            skipped.append(problem.as_skip(where))
            if problem.note:
                notes[problem.note] += 1
            continue
        skipped += [Skip(where.file, where.line, field, reason, whole_row=False) for field, reason in notes.parts]
        records.append(record)
        fingerprint = hash_bytes(repr(dataclasses.replace(record, meta={})).encode())
        notes["duplicate_rows"] += fingerprint in seen
        seen.add(fingerprint)
    if not records:
        name = source if isinstance(source, str | Path) else "the list"
        first = f"; the first of {len(skipped)} skipped: {skipped[0]}" if skipped else ""
        raise DataError(f"{name}: no usable {kind} row{first}", hint="check that this is the right file and layout")
    return Loaded(tuple(records), tuple(skipped), {name: count for name, count in sorted(notes.items()) if count})


def _rows(source: Source) -> Iterator[Found]:
    if isinstance(source, str | Path):
        yield from find_rows(source)
        return
    for number, item in enumerate(source, start=1):
        where = Where("<list>", number)
        if isinstance(item, Mapping):
            yield where, dict(item)
        elif isinstance(item, str):
            yield where, {"text": item, "prompt": item}
        else:
            yield where, to_row(item)


def _meta(row: Mapping[str, Any], *used: str) -> dict[str, Any]:
    return {str(name): value for name, value in row.items() if name not in used}


def _demonstration(row: dict[str, Any], _: _Notes) -> Demonstration:
    found = layouts.with_prompt(row)
    return Demonstration(
        prompt=fields.prompt(fields.required(found, "prompt")),
        completion=fields.completion(fields.required(found, "completion"), note="empty_completions"),
        meta=_meta(found, "prompt", "completion", "messages"),
    )


def _prompt(row: dict[str, Any], _: _Notes) -> Prompt:
    found = layouts.with_prompt(row)
    return Prompt(prompt=fields.prompt(fields.required(found, "prompt")), meta=_meta(found, "prompt"))


def _text(row: dict[str, Any], _: _Notes) -> Text:
    return Text(text=fields.text(fields.required(row, "text"), "text"), meta=_meta(row, "text"))


def _unpaired(row: dict[str, Any], _: _Notes) -> Unpaired:
    found = layouts.with_prompt(row)
    return Unpaired(
        prompt=fields.prompt(fields.required(found, "prompt")),
        completion=fields.completion(fields.required(found, "completion"), note="empty_completions"),
        label=fields.boolean(fields.required(found, "label"), "label"),
        meta=_meta(found, "prompt", "completion", "label"),
    )


def _ranking(row: dict[str, Any], notes: _Notes) -> Ranking:
    found = layouts.with_ranks(row)
    if "chosen" in found:
        return _pair(found)
    prompt = fields.prompt(fields.required(found, "prompt"))
    completions = _completions(fields.required(found, "completions"))
    ranks = fields.ranks(fields.required(found, "ranks"), len(completions))
    none_acceptable = found.get("none_acceptable") is not None and fields.boolean(found["none_acceptable"], "none_acceptable")
    ranks = _without_empty(completions, ranks, notes)
    _check_group(completions, ranks, none_acceptable)
    ranking = Ranking(
        prompt=prompt,
        completions=completions,
        ranks=ranks,
        labeler=fields.labeler(found.get("labeler")),
        confidence=fields.confidence(found.get("confidence")),
        none_acceptable=none_acceptable,
        meta=_meta(found, "prompt", "completions", "ranks", "labeler", "none_acceptable", *_numeric_confidence(found)),
    )
    _count(ranking, notes)
    return ranking


def _pair(found: dict[str, Any]) -> Ranking:
    prompt = fields.prompt(fields.required(found, "prompt"))
    chosen = fields.completion(fields.required(found, "chosen"), "chosen", note="empty_completions")
    rejected = fields.completion(fields.required(found, "rejected"), "rejected", note="empty_completions")
    if chosen == rejected:
        raise RowProblemError("rejected", "is identical to chosen", note="identical_pairs")
    return Ranking(
        prompt=prompt,
        completions=(chosen, rejected),
        ranks=(0, 1),
        labeler=fields.labeler(found.get("labeler")),
        confidence=fields.confidence(found.get("confidence")),
        meta=_meta(found, "prompt", "chosen", "rejected", "labeler", *_numeric_confidence(found)),
    )


def _numeric_confidence(found: Mapping[str, Any]) -> tuple[str, ...]:
    """A confidence that is no number (say "high") stays in ``meta``; a number moves to its field."""
    return ("confidence",) if found.get("confidence") is None or fields.confidence(found["confidence"]) is not None else ()


def _completions(value: Any) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise RowProblemError("completions", f"must be a list of texts, got {type(value).__name__}")
    texts: list[str] = []
    for index, item in enumerate(value):
        if not isinstance(item, str):
            raise RowProblemError(f"completions[{index}]", f"must be a text, got {type(item).__name__}")
        fields.check_encodable(item, f"completions[{index}]")
        texts.append(item)
    if len(texts) < 2:
        raise RowProblemError("completions", f"a ranking needs at least 2 completions, got {len(texts)}", note="single_completion")
    return tuple(texts)


def _without_empty(completions: tuple[str, ...], ranks: tuple[int | None, ...], notes: _Notes) -> tuple[int | None, ...]:
    """Apply the rule for empty completions (see the module): the ranks without them, dense again."""
    empty = [index for index, text in enumerate(completions) if not text.strip() and ranks[index] is not None]
    if not empty:
        return ranks
    rest = sum(rank is not None for rank in ranks) - len(empty)
    if not notes.lenient or rest < 2:
        raise RowProblemError(f"completions[{empty[0]}]", "is empty", note="empty_completions")
    notes["empty_completions"] += len(empty)
    notes.parts += [(f"completions[{index}]", "is empty; left out, the others kept") for index in empty]
    return dense_ranks(tuple(None if index in empty else rank for index, rank in enumerate(ranks)))


def _check_group(completions: tuple[str, ...], ranks: tuple[int | None, ...], none_acceptable: bool) -> None:
    ranked = [(text, rank) for text, rank in zip(completions, ranks, strict=True) if rank is not None]
    if len(ranked) < 2 and not none_acceptable:
        raise RowProblemError("ranks", f"at least 2 completions need a rank, got {len(ranked)}", note="too_few_ranks")
    if len({text for text, _ in ranked}) == 1 and len({rank for _, rank in ranked}) > 1:
        raise RowProblemError("completions", "are all identical but have different ranks", note="identical_pairs")


def _count(ranking: Ranking, notes: _Notes) -> None:
    ranked = [(text, rank) for text, rank in zip(ranking.completions, ranking.ranks, strict=True) if rank is not None]
    notes["none_acceptable"] += ranking.none_acceptable
    notes["all_tied_groups"] += len(ranked) > 1 and len({rank for _, rank in ranked}) == 1
    distinct = len({text for text, _ in ranked})
    notes["duplicate_completions"] += distinct < len(ranked)
    notes["contradictory_duplicates"] += distinct < len(set(ranked))
