"""Prompts from a file into the store: all of the file, or nothing of it (spec A1 to A8, A20).

The slow part (reading, personal data, languages, likeness) happens before the one short transaction that stores the result. Importing
the same file again adds nothing and says so.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from instructloop.core.errors import ConfigError, DataError
from instructloop.core.records import Message
from instructloop.feedback import audit
from instructloop.feedback.database import Database, insert_if_new
from instructloop.feedback.ids import now_ms
from instructloop.feedback.project import Project
from instructloop.feedback.prompts.owners import SplitShares, split_of
from instructloop.feedback.prompts.planning import ImportRules, KnownPrompt, Plan, plan_import
from instructloop.feedback.prompts.reading import read_inputs
from instructloop.feedback.prompts.rows import Defaults
from instructloop.feedback.prompts.storing import settled_splits, still_new, store_prompts
from instructloop.feedback.records import PREFIX_CHARACTERS
from instructloop.feedback.schema import PromptRow, Setting

RULES_KEY = "prompt_rules"
_CHUNK = 500


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportResult:
    """What an import did; ``new`` + the four kinds of dropped prompts = ``prompts``."""

    file: str
    rows: int
    prompts: int
    new: int
    known: int
    exact: int
    prefix: int
    near: int
    quarantined: int
    redacted: int
    over_length: int
    """Stored, and left out of training for their length (spec A7)."""
    languages: Mapping[str, int]
    splits: Mapping[str, int]
    owners: int
    personal: Mapping[str, int]
    """New prompts by the kind of personal data found in them."""
    dry_run: bool = False

    def sentence(self) -> str:
        """The outcome in one line."""
        verb = "would be added" if self.dry_run else "added"
        if not self.new and self.known == self.prompts:
            return f"{self.file}: all {self.prompts} prompts are in the store already; nothing {verb}"
        if not self.new:
            return f"{self.file}: nothing {verb}: {self.known} of {self.prompts} prompts are in the store already, the others are their relatives"
        return f"{self.file}: {self.new} of {self.prompts} prompts {verb}"


def import_prompts(
    project: Project,
    path: str | Path,
    *,
    database: Database | None = None,
    defaults: Defaults | None = None,
    rules: ImportRules | None = None,
    shares: SplitShares | None = None,
    actor: str = "cli",
    dry_run: bool = False,
) -> ImportResult:
    """Import a file of prompts (see ``rows`` for its fields, ``reading`` for its limits, ``planning`` for the sieve).

    Args:
        project: its key makes the owners' pseudonyms.
        path: JSONL, CSV, Parquet, or a ``datasets`` folder.
        database: an open store; the project's own by default.
        defaults: source, owner, use case and licence of rows that name none.
        rules: duplicates, personal data, few-shot sets, token counts.
        shares: of the splits, for owners who have no prompt in the store yet.
        actor: for the audit log.
        dry_run: decide and count, store nothing.

    Raises:
        DataError: the file is bad; the message names file, line, field and remedy, and the store is as it was.
        ConfigError: the store's prompts were compared by another prefix length.
        MissingExtraError: a package is not installed.
    """
    rules, shares = rules or ImportRules(), shares or SplitShares()
    placed = read_inputs(path, defaults)
    store = database or project.database()
    try:
        with store.read() as session:
            _check_rules(session, rules)
            known = list(known_prompts(session))
        plan = plan_import(placed, known, rules)
        owners = {prompt.owner: project.pseudonym("owner", prompt.owner) for prompt in plan.new}
        with store.read() as session:
            settled = settled_splits(session, owners.values())
        splits = {owner: settled.get(owner) or split_of(owner, shares) for owner in owners.values()}
        if not dry_run and plan.new:
            with store.write() as session:
                plan = _store(session, str(path), plan, rules, owners=owners, splits=splits, actor=actor)
    except IntegrityError as error:
        raise DataError(f"{path}: another import changed the store at the same time", hint="run it again; nothing was imported") from error
    finally:
        if database is None:
            store.close()
    return _result(str(path), plan, owners, splits, dry_run)


def known_prompts(session: Session) -> Iterator[KnownPrompt]:
    """All prompts of the store, as the sieve wants them."""
    columns = (PromptRow.id, PromptRow.text, PromptRow.messages, PromptRow.sha256, PromptRow.original_sha256, PromptRow.prefix_key,
               PromptRow.meta)  # fmt: skip
    for row in session.execute(select(*columns).order_by(PromptRow.id)).yield_per(_CHUNK):
        messages = tuple(Message(item["role"], item["content"]) for item in row.messages) if row.messages else None
        content = None if row.text is None else messages or row.text
        template = ((row.meta or {}).get("fewshot") or {}).get("template")
        yield KnownPrompt(row.id, content, row.sha256, row.original_sha256, row.prefix_key, template)


def _check_rules(session: Session, rules: ImportRules) -> None:
    stored = session.scalar(select(Setting.value).where(Setting.key == RULES_KEY)) or {"prefix_chars": PREFIX_CHARACTERS}
    if stored["prefix_chars"] != rules.prefix_chars and session.scalar(select(func.count()).select_from(PromptRow)):
        raise ConfigError(
            f"this store compares the first {stored['prefix_chars']} characters of prompts, not {rules.prefix_chars}",
            hint=f"pass --prefix-chars {stored['prefix_chars']}, or start a new project",
        )


def _store(
    session: Session, path: str, plan: Plan, rules: ImportRules, *, owners: Mapping[str, str], splits: Mapping[str, str], actor: str
) -> Plan:
    """Write the plan; what another import stored since it was made is left out and counted as known."""
    setting = {"key": RULES_KEY, "value": {"prefix_chars": rules.prefix_chars}, "updated_at": now_ms()}
    insert_if_new(session, Setting, setting, on=("key",))
    session.scalars(select(Setting).where(Setting.key == RULES_KEY).with_for_update()).one()  # imports take turns
    _check_rules(session, rules)
    plan = still_new(session, plan)
    store_prompts(session, plan.new, owners=owners, splits={**splits, **settled_splits(session, splits)})
    audit.append(
        session,
        actor=actor,
        action="prompts.import",
        object=Path(path).name,
        detail={"rows": plan.rows, "new": len(plan.new), "dropped": dict(plan.dropped), "personal": dict(plan.personal)},
        after=[prompt.original_sha256 for prompt in plan.new],
    )
    return plan


def _result(file: str, plan: Plan, owners: Mapping[str, str], splits: Mapping[str, str], dry_run: bool) -> ImportResult:
    mine = [owners[prompt.owner] for prompt in plan.new]
    states = Counter(prompt.pii_status for prompt in plan.new)
    return ImportResult(
        file=file,
        rows=plan.rows,
        prompts=plan.prompts,
        new=len(plan.new),
        known=plan.dropped["known"],
        exact=plan.dropped["exact"],
        prefix=plan.dropped["prefix"],
        near=plan.dropped["near"],
        quarantined=states["quarantined"],
        redacted=states["redacted"],
        over_length=plan.over_length,
        languages=plan.languages,
        splits=dict(Counter(splits[owner] for owner in mine)),
        owners=len(set(mine)),
        personal=plan.personal,
        dry_run=dry_run,
    )
