"""What an import found in the store, read in a few queries, and what it will add, written in a few more.

People are at work while a file comes in, and on SQLite the writer is alone: rows are made in memory and each table gets its list.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, insert, select
from sqlalchemy.orm import Session

from instructloop.feedback import records
from instructloop.feedback import schema as table
from instructloop.feedback.exchange.incoming import Incoming

_CHUNK = 500
_ORDER: tuple[type[table.Base], ...] = (
    table.PromptOwner, table.Consent, table.PromptRow, table.CompletionRow, table.Gold, table.Task, table.TaskItem, table.Assignment,
    table.Submission, table.DemonstrationRow, table.RankingRow, table.RankingItem, table.PairwiseVote, table.Rating, table.Flag,
    table.Critique, table.Toxicity, table.Adjudication,
)  # fmt: skip
"""Tables so that whatever is referred to comes first."""


class Ledger:
    """Known rows by identifier or content, kept up to date with what is entered."""

    def __init__(self, session: Session, rows: Sequence[Incoming]) -> None:
        """Look up everything that these rows may meet."""
        self.session = session
        self._new: dict[type[table.Base], list[dict[str, Any]]] = defaultdict(list)
        rules = session.scalar(select(table.Setting.value).where(table.Setting.key == "prompt_rules")) or {}
        self._prefix_characters = int(rules.get("prefix_chars", records.PREFIX_CHARACTERS))
        prompt, lineages = table.PromptRow, [row.lineage for row in rows]
        shas = {records.prompt_sha256(row.prompt) for row in rows}
        named = {lineage.prompt_id for lineage in lineages if lineage.prompt_id}
        self.prompts = dict(self._find(prompt.sha256, shas, prompt.sha256, prompt.id))
        """Content hash to identifier."""
        self.contents = dict(self._find(prompt.id, named, prompt.id, prompt.sha256))
        """Identifier to content hash."""
        prefixes = {self.prefix(row) for row in rows}
        self.prefixes = dict(self._find(prompt.prefix_key, prefixes, prompt.prefix_key, prompt.split))
        """Prefix to the split of its relatives."""
        owner = table.PromptOwner
        owners = {lineage.owner for lineage in lineages if lineage.owner}
        self.owners = dict(self._find(owner.owner_hash, owners, owner.owner_hash, owner.split))
        consents = {lineage.consent_id for lineage in lineages if lineage.consent_id}
        self.consents = {key for (key,) in self._find(table.Consent.id, consents, table.Consent.id)}
        completion = table.CompletionRow
        outputs = {name for lineage in lineages for name in lineage.completion_ids or ()}
        found = self._find(completion.id, outputs, completion.id, completion.sha256, completion.prompt_id)
        self.completions = {key: (sha, prompt_id) for key, sha, prompt_id in found}
        receipts = {lineage.submission_id for lineage in lineages if lineage.submission_id}
        receipts |= {lineage.adjudication.decision for lineage in lineages if lineage.adjudication and lineage.adjudication.decision}
        self.submissions = {key for (key,) in self._find(table.Submission.id, receipts, table.Submission.id)}
        decisions = {lineage.adjudication.id for lineage in lineages if lineage.adjudication}
        self.decisions = {key for (key,) in self._find(table.Adjudication.id, decisions, table.Adjudication.id)}
        self.tasks = self._tasks({lineage.task_id for lineage in lineages if lineage.task_id})
        """Identifier to (prompt, queue, completions by slot)."""

    def prefix(self, row: Incoming) -> str:
        """The row's prefix key by this store's length."""
        return records.prefix_key(row.prompt, self._prefix_characters)

    def owner_split(self, owner: str) -> str | None:
        """The split an owner's prompts lie in, looked up once."""
        if owner not in self.owners:
            found = records.owner_split(self.session, owner)
            if found is not None:
                self.owners[owner] = found
        return self.owners.get(owner)

    def imported(self, keys: Iterable[str]) -> set[str]:
        """Which of these assignment keys are taken: answers that came in before."""
        return {key for (key,) in self._find(table.Assignment.idem_key, set(keys), table.Assignment.idem_key)}

    def enter(self, model: type[table.Base], **values: Any) -> dict[str, Any]:
        """Add a row; nothing is written before ``write``."""
        self._new[model].append(values)
        return values

    def write(self) -> None:
        """All new rows, table by table."""
        for model in _ORDER:
            if self._new[model]:
                self.session.execute(insert(model), self._new[model])
        self._new.clear()

    def _tasks(self, ids: set[str]) -> dict[str, tuple[str, str, tuple[str, ...]]]:
        item = table.TaskItem
        slots: dict[str, list[tuple[int, str]]] = defaultdict(list)
        for task_id, slot, completion_id in self._find(item.task_id, ids, item.task_id, item.slot, item.completion_id):
            slots[task_id].append((slot, completion_id))
        found = self._find(table.Task.id, ids, table.Task.id, table.Task.prompt_id, table.Task.queue_id)
        return {key: (prompt_id, queue_id, tuple(name for _, name in sorted(slots[key]))) for key, prompt_id, queue_id in found}

    def _find(self, key: Any, wanted: set[Any], *columns: Any) -> list[Any]:
        ordered = sorted(wanted)
        found: list[Any] = []
        for start in range(0, len(ordered), _CHUNK):
            matches: ColumnElement[bool] = key.in_(ordered[start : start + _CHUNK])
            found += self.session.execute(select(*columns).where(matches)).all()
        return found


Row = tuple[type[table.Base], Mapping[str, Any]]
"""A row to enter: its table and its values."""
