"""What a reader hands back: records, the rows it left out with their place and reason, and counted conditions."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from instructloop.core.errors import DataError

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Where:
    """A place in the input: a file and a line (a row number from 1 in files without lines, and in Python lists)."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True)
class Skip:
    """Something left out by rule: a whole row, or one completion of a ranking (``field`` is then ``completions[i]``)."""

    file: str
    line: int
    field: str
    reason: str
    whole_row: bool = True

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}"
        return f"{place}: {self.field}: {self.reason}" if self.field else f"{place}: {self.reason}"


class RowProblemError(Exception):
    """Why a row cannot be used; readers turn it into a DataError or a Skip (it never leaves this room).

    ``note`` names a counted condition of ``Loaded.notes``.
    """

    def __init__(self, field: str, reason: str, *, hint: str | None = None, note: str | None = None) -> None:
        super().__init__(reason)
        self.field = field
        self.reason = reason
        self.hint = hint
        self.note = note

    def as_error(self, where: Where) -> DataError:
        """The error that stops a strict run."""
        skip = self.as_skip(where)
        return DataError(str(skip), hint=self.hint or "mend the row, or pass --skip-bad-rows to count it and go on")

    def as_skip(self, where: Where) -> Skip:
        """The entry that a lenient run keeps."""
        return Skip(where.file, where.line, self.field, self.reason)


@dataclass(frozen=True, slots=True)
class Loaded(Generic[R]):
    """Records in file order, with everything that was left out or is worth knowing.

    ``notes`` counts conditions by name, among them ``all_tied_groups``, ``duplicate_completions`` (groups with two identical
    completions), ``duplicate_rows``, ``identical_pairs``, ``empty_completions``, ``none_acceptable``.
    """

    records: tuple[R, ...]
    skipped: tuple[Skip, ...] = ()
    notes: Mapping[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[R]:
        return iter(self.records)

    @property
    def skipped_rows(self) -> int:
        """Rows that gave no record; ``len(loaded) + skipped_rows`` is the number of rows read."""
        return sum(skip.whole_row for skip in self.skipped)

    def describe(self) -> str:
        """One line for the log, e.g. ``1839 rows; skipped 2; all_tied_groups 164``."""
        parts = [f"{len(self.records)} rows"]
        if self.skipped_rows:
            parts.append(f"skipped {self.skipped_rows}")
        return "; ".join([*parts, *(f"{name} {count}" for name, count in sorted(self.notes.items()))])


def concat(parts: Sequence[Loaded[R]]) -> Loaded[R]:
    """Several loaded files as one, in their order."""
    notes: Counter[str] = Counter()
    for part in parts:
        notes.update(part.notes)
    return Loaded(
        tuple(record for part in parts for record in part.records), tuple(skip for part in parts for skip in part.skipped), dict(notes)
    )
