"""Files of other labeling tools: one row may hold several people's answers, so it may give several records, or none.

Every reader of this kind (``argilla``, ``label_studio``, ``hh``, ``alpaca_eval``, ``oasst``) keeps all that its file says: what has no
field of ours stays under the tool's name in ``meta`` (``record.meta["argilla"]["metadata"]``), and what gives no record is listed in
``Imported.skipped``. The rule for bad rows is that of ``readers``.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, TypeVar

from instructloop.core.errors import DataError
from instructloop.core.records import Comparison, Demonstration, Prompt, Ranking, Rating
from instructloop.formats.loaded import RowProblemError, Skip, Where
from instructloop.formats.rows import Found, find_rows

ForeignRecord: TypeAlias = Comparison | Demonstration | Prompt | Ranking | Rating
R = TypeVar("R", bound=ForeignRecord)
Source: TypeAlias = str | Path | Iterable[Mapping[str, Any]]
Names: TypeAlias = Mapping[str, str]
"""What a person says about names that vary from project to project: ``{"prompt": "instruction", "Reply 1": "response-1"}``."""

WRITTEN = {"answer", "completion", "correctedresponse", "correction", "demonstration", "editedresponse", "response"}
"""Folded names of questions whose written answer is a completion."""
TIES = {"tie", "same", "equal", "both", "bothgood", "nopreference"}
BOTH_BAD = {"bothbad", "neither", "none"}
PROMPT_NAMES = ("prompt", "instruction", "question", "query", "input", "context", "dialogue", "conversation", "messages")
_COMPLETION_NAME = re.compile(
    "left|right|(answer|completion|generation|output|reply|response|summary)"
    "|(answer|candidate|completion|generation|option|output|reply|response|summary|text)[-_ ]*([0-9]+|[a-z])"
)


class Placed(NamedTuple):
    """A record and where it stood."""

    where: Where
    record: ForeignRecord


@dataclass(frozen=True, slots=True)
class Imported:
    """The records of another tool's file, in file order, with everything that was left out or is worth knowing."""

    items: tuple[Placed, ...]
    skipped: tuple[Skip, ...] = ()
    notes: Mapping[str, int] = field(default_factory=dict)

    def of(self, kind: type[R]) -> list[R]:
        """The records of one kind."""
        return [item.record for item in self.items if isinstance(item.record, kind)]

    def describe(self) -> str:
        """One line for the log, e.g. ``12 rankings, 3 demonstrations; skipped 1; drafts 2``."""
        kinds = Counter(type(item.record).__name__.lower() for item in self.items)
        counts = ", ".join(f"{count} {name}{'' if count == 1 else 's'}" for name, count in kinds.most_common()) or "nothing"
        parts = [counts, *([f"skipped {len(self.skipped)}"] if self.skipped else [])]
        return "; ".join([*parts, *(f"{name} {count}" for name, count in sorted(self.notes.items()))])


class Notes(Counter[str]):
    """Counted conditions, and the parts of a row that gave no record (field, reason)."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[tuple[str, str]] = []

    def leave_out(self, name: str, where: str, reason: str) -> None:
        """Count and list a part of a row that gives no record."""
        self[name] += 1
        self.parts.append((where, reason))


Parse: TypeAlias = Callable[[dict[str, Any], Notes], Iterable[ForeignRecord]]


def read_foreign(source: Source, parse: Parse, tool: str, *, skip_bad_rows: bool) -> Imported:
    """Run a row parser over a file.

    Args:
        source: a path, or rows as dictionaries.
        parse: one row into its records; raises RowProblemError for a row that cannot be used.
        tool: the tool's name, for messages.
        skip_bad_rows: leave bad rows out and list them, instead of stopping.

    Raises:
        DataError: a bad row (unless ``skip_bad_rows``), an unreadable file, or a file that gives no record at all.
    """
    items: list[Placed] = []
    skipped: list[Skip] = []
    notes = Notes()
    for where, row in rows_of(source):
        notes.parts.clear()
        try:
            if isinstance(row, RowProblemError):
                raise row
            records = [*parse(row, notes)]
        except RowProblemError as problem:
            if not skip_bad_rows:
                raise problem.as_error(where) from None
            skipped.append(problem.as_skip(where))
            continue
        items += [Placed(where, record) for record in records]
        skipped += [Skip(where.file, where.line, name, reason, whole_row=False) for name, reason in notes.parts]
    return finished(source, tool, items, skipped, notes)


def finished(source: Source, tool: str, items: list[Placed], skipped: list[Skip], notes: Notes) -> Imported:
    """The result, or a DataError if the file gave nothing."""
    if not items:
        name = source if isinstance(source, str | Path) else "the list"
        first = f"; the first of {len(skipped)} left out: {skipped[0]}" if skipped else ""
        raise DataError(f"{name}: no usable record in the layout of {tool}{first}", hint="check that this is the right file and layout")
    return Imported(tuple(items), tuple(skipped), {name: count for name, count in sorted(notes.items()) if count})


def rows_of(source: Source) -> Iterator[Found]:
    """Rows with their place, from a file or from a list."""
    if isinstance(source, str | Path):
        yield from find_rows(source)
        return
    for number, row in enumerate(source, start=1):
        where = Where("<list>", number)
        yield where, dict(row) if isinstance(row, Mapping) else RowProblemError("", "a row must be an object with named fields")


def mapping(value: Any, name: str) -> dict[str, Any]:
    """An object; null counts as an empty one."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise RowProblemError(name, f"must be an object, got {type(value).__name__}")
    return dict(value)


def listed(value: Any, name: str) -> list[Any]:
    """A list; null counts as an empty one."""
    if value is None:
        return []
    if not isinstance(value, list | tuple):
        raise RowProblemError(name, f"must be a list, got {type(value).__name__}")
    return list(value)


def folded(name: object) -> str:
    """A name for comparing: ``Response 1``, ``response-1`` and ``response_1`` are the same."""
    return re.sub(r"[^a-z0-9]", "", str(name).lower())


def find_prompt(fields: Mapping[str, Any], names: Names, place: str) -> str:
    """The name of the field that holds the prompt."""
    if "prompt" in names:
        if names["prompt"] not in fields:
            raise RowProblemError(f"{place}.{names['prompt']}", f"is missing ({place} has {', '.join(sorted(fields)) or 'nothing'})")
        return names["prompt"]
    by_fold = {folded(name): name for name in reversed(list(fields))}
    found = next((by_fold[name] for name in PROMPT_NAMES if by_fold.get(name) is not None and fields[by_fold[name]] is not None), None)
    if found is None:
        raise RowProblemError(
            place,
            f"holds no prompt (it has {', '.join(sorted(fields)) or 'nothing'})",
            hint="say which field is the prompt: --map prompt=FIELD",
        )
    return found


def find_completions(fields: Mapping[str, Any], prompt: str, names: Names) -> dict[str, str]:
    """The completions among the fields by name, in their order: ``response-1``, ``output_b``, ``answer``... and what ``names`` says."""
    said = [name for key, name in names.items() if key not in {"prompt", "completion", "buckets"}]
    return {
        name: value
        for name, value in fields.items()
        if name != prompt and isinstance(value, str) and (name in said or _COMPLETION_NAME.fullmatch(name.lower().strip()))
    }


def match(value: object, known: Iterable[str], names: Names) -> str | None:
    """Which of the ``known`` names a label means: by ``names``, literally, or up to case and punctuation; None if none."""
    options = list(known)
    if names.get(str(value)) in options:
        return names[str(value)]
    if value in options:
        return str(value)
    near = [name for name in options if folded(name) == folded(value)]
    return near[0] if len(near) == 1 else None
