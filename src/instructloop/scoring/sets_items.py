"""What every test set is read into, and the fields of a row with errors that name file, line and field."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from instructloop.core.errors import DataError
from instructloop.formats.loaded import Where


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One test item: what a prompt frame needs, and what an answer is compared with."""

    id: str
    """Name within its set: the set's own identifier, or the number of the row."""
    fields: Mapping[str, Any]
    """The parts of the item under the names that ``SETS[name].fields`` lists."""
    references: tuple[str, ...] = ()
    """Accepted answers; empty where the set is not marked by comparing texts."""
    group: str = ""
    """What items share that makes them dependent (a passage, a dialogue); intervals resample it whole. Empty: the item stands alone."""


class Row:
    """A row of a file; a missing or unusable field raises DataError with its place."""

    def __init__(self, where: Where, values: Mapping[str, Any]) -> None:
        self.where = where
        self.values = values

    def __contains__(self, name: str) -> bool:
        return self.values.get(name) is not None

    def problem(self, name: str, reason: str, hint: str = "") -> DataError:
        """The error for one field of this row."""
        found = ", ".join(str(key) for key in self.values) or "none"
        return DataError(f"{self.where}: field {name!r}: {reason}", hint=hint or f"fields of this row: {found}")

    def get(self, *names: str) -> Any:
        """The first of these fields that is there and not null."""
        for name in names:
            if self.values.get(name) is not None:
                return self.values[name]
        others = f" (nor {', '.join(repr(name) for name in names[1:])})" if len(names) > 1 else ""
        raise self.problem(names[0], f"missing{others}")

    def text(self, *names: str, default: str | None = None) -> str:
        """The first of these fields as a text."""
        if default is not None and not any(name in self for name in names):
            return default
        value = self.get(*names)
        if not isinstance(value, str):
            raise self.problem(names[0], f"must be a text, got {value!r}"[:200])
        return value

    def texts(self, *names: str) -> tuple[str, ...]:
        """The first of these fields as a list of texts; one text is a list of one."""
        value = self.get(*names)
        if isinstance(value, str):
            return (value,)
        value = list(value) if not isinstance(value, Mapping) else value
        if not isinstance(value, list) or not all(isinstance(part, str) for part in value):
            raise self.problem(names[0], f"must be a list of texts, got {value!r}"[:200])
        return tuple(value)

    def number(self, *names: str) -> float | None:
        """The first of these fields as a number; None where none is there, since scores may be missing."""
        value = next((self.values[name] for name in names if name in self), None)
        if value is None or value == "":
            return None
        try:
            return float(value)
        except (TypeError, ValueError):
            raise self.problem(names[0], f"must be a number, got {value!r}"[:200]) from None

    def one_of(self, meanings: Mapping[str, int], *names: str) -> int:
        """The first of these fields as the number its written form means, e.g. ``{"entailment": 0, "0": 0}``; case does not matter."""
        value = self.get(*names)
        meaning = meanings.get(str(value).strip().lower())
        if meaning is None:
            raise self.problem(names[0], f"{value!r} is none of {', '.join(meanings)}", "labels of a hidden test split cannot be used")
        return meaning

    def part(self, value: Any, name: str) -> "Row":
        """A nested object as a row of its own at the same place."""
        if not isinstance(value, Mapping):
            raise self.problem(name, f"must be an object, got {value!r}"[:200])
        return Row(self.where, value)

    def parts(self, *names: str) -> Iterator["Row"]:
        """A list of nested objects."""
        values = self.get(*names)
        if isinstance(values, str | Mapping) or not isinstance(values, Iterable):
            raise self.problem(names[0], "must be a list of objects")
        for value in values:
            yield self.part(value, names[0])


Reader: TypeAlias = Callable[[Iterator[Row]], Iterator[Item]]
Opener: TypeAlias = Callable[[Path], Iterator[Row]]


@dataclass(frozen=True, kw_only=True, slots=True)
class SetInfo:
    """A test set: what its files are called, what an item holds, and where it comes from."""

    title: str
    """Its name in print."""
    read: Reader
    """From rows of any of its layouts to items."""
    fields: tuple[str, ...]
    """Names in ``Item.fields``."""
    licence: str
    """Licence, as the origin states it."""
    source: str
    """Where to get it: an address."""
    names: tuple[str, ...]
    """Names of its folder, or beginnings of its file names, in lower case."""
    files: tuple[str, ...] = ()
    """Further file names (patterns, lower case, without ``.gz``), tried first."""
    hub: str = ""
    """Its name on the Hugging Face hub as ``owner/name:configuration#split``."""
    splits: tuple[str, ...] = ("validation", "valid", "val", "dev", "test", "train")
    """Which part to take where there are several."""
    many: bool = False
    """Whether the set is spread over many files, all of which are read."""
    opens: Mapping[str, Opener] = field(default_factory=dict)
    """Readers of file layouts that are none of the general ones, by the end of the file name."""
    stand_ins: Mapping[str, str] = field(default_factory=dict)
    """Files that may stand in for the set (pattern to a note that is shown with every number)."""
    uniform_in: str = ""
    """A field in 0..1 over whose quarters a random part is spread evenly; empty: items are drawn alike."""


_OPTION = re.compile(r"^\s*\(?([A-Z])[.)]\s*(.*)$")


def lettered(text: str) -> tuple[str, list[str]]:
    """Options that are written as lines ``A. first``, and the text before them."""
    before: list[str] = []
    found: list[str] = []
    for line in text.splitlines():
        match = _OPTION.match(line)
        if match and match.group(1) == chr(ord("A") + len(found)):
            found.append(match.group(2).strip())
        elif found and line.strip():
            found[-1] += "\n" + line.strip()
        elif not found:
            before.append(line)
    return "\n".join(before).strip(), found
