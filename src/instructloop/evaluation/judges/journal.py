"""``judgements.jsonl``: every answer of a judge, written down the moment it arrives, so that nothing paid for is lost."""

import json
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from instructloop.core.files import read_jsonl

JOURNAL_FILE = "judgements.jsonl"


class Journal:
    """Answers by key. Opening one cuts off a last line that a crash left unfinished.

    Rows with status ``failed`` are kept in the file and not remembered: the next run asks them again.

    Args:
        path: the file; a missing one is an empty journal.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._answers: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
        self._rows: list[Mapping[str, Any]] = []
        self._cut_torn_tail()
        for row in read_jsonl(self.path):
            self._remember(row)

    def append(self, row: Mapping[str, Any]) -> None:
        """Write one answer to the disk and remember it."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self._remember(row)

    def rows(self) -> Iterator[Mapping[str, Any]]:
        """Every row, oldest first."""
        return iter(self._rows)

    def attempts(self, key: str) -> int:
        """How many answers to an ask have come, readable or not."""
        return len(self._answers.get(key, ()))

    def last(self, key: str) -> Mapping[str, Any] | None:
        """The newest answer to an ask."""
        found = self._answers.get(key)
        return found[-1] if found else None

    def value(self, key: str) -> Any:
        """What the newest answer says; None if there is none or nothing could be read from it."""
        row = self.last(key)
        return None if row is None else row["value"]

    def _remember(self, row: Mapping[str, Any]) -> None:
        # The question is in the file; in memory it would be kept once per answer.
        kept = {name: value for name, value in row.items() if name != "messages"}
        self._rows.append(kept)
        if row["status"] != "failed":
            self._answers[row["key"]].append(kept)

    def _cut_torn_tail(self) -> None:
        if not self.path.exists():
            return
        data = self.path.read_bytes()
        if data and not data.endswith(b"\n"):
            os.truncate(self.path, data.rfind(b"\n") + 1)
