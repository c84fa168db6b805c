"""The write half of an import: one short transaction, whole lists at a time, so that labelers at work hardly notice.

``records.add_prompt`` stores one prompt with all its questions asked of the database; here they were asked before, of the whole plan.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import insert, select
from sqlalchemy.orm import DeclarativeBase, Session

from instructloop.core.hashing import hash_bytes
from instructloop.core.records import prompt_json, prompt_text
from instructloop.feedback.ids import new_id, now_ms
from instructloop.feedback.prompts.planning import NewPrompt, Plan
from instructloop.feedback.records import nfc
from instructloop.feedback.schema import CompletionRow, Consent, PromptOwner, PromptRow

_CHUNK = 500
FROM_TEMPLATE = "few-shot template"
"""``meta["from"]`` of a completion that came with the prompt: a labeler wrote it into a template (spec A8)."""


def still_new(session: Session, plan: Plan) -> Plan:
    """The plan without what another import stored since it was made; that counts as known."""
    hashes = _present(session, PromptRow.original_sha256, (prompt.original_sha256 for prompt in plan.new))
    hashes |= _present(session, PromptRow.sha256, (prompt.sha256 for prompt in plan.new))
    prefixes = _present(session, PromptRow.prefix_key, (prompt.prefix_key for prompt in plan.new))
    kept = []
    for prompt in plan.new:
        # examples of a known few-shot template share its prefix: only a whole equal prompt counts for them
        relative = prompt.prefix_key in prefixes and "fewshot" not in prompt.meta
        if not relative and prompt.original_sha256 not in hashes and prompt.sha256 not in hashes:
            kept.append(prompt)
    known = plan.dropped["known"] + len(plan.new) - len(kept)
    return dataclasses.replace(plan, new=tuple(kept), dropped={**plan.dropped, "known": known})


def settled_splits(session: Session, owners: Iterable[str]) -> dict[str, str]:
    """Splits of those owners who have prompts in the store."""
    found: dict[str, str] = {}
    for chunk in _chunks(owners):
        rows = session.execute(select(PromptOwner.owner_hash, PromptOwner.split).where(PromptOwner.owner_hash.in_(chunk)))
        found.update({row.owner_hash: row.split for row in rows})
    return found


def store_prompts(session: Session, prompts: Sequence[NewPrompt], *, owners: Mapping[str, str], splits: Mapping[str, str]) -> None:
    """Insert prompts with their owners, consents and shipped completions.

    Args:
        session: inside ``Database.write()``.
        prompts: none of them in the store.
        owners: the pseudonym of each owner.
        splits: the split of each pseudonym.

    Raises:
        IntegrityError: somebody else stored one of them meanwhile.
    """
    mine = {owners[prompt.owner] for prompt in prompts}
    settled = settled_splits(session, mine)
    _insert(session, PromptOwner, [{"owner_hash": owner, "split": splits[owner]} for owner in sorted(mine - set(settled))])
    consents = _consents(session, prompts, owners)
    rows: list[dict[str, Any]] = []
    completions: list[dict[str, Any]] = []
    now = now_ms()
    for prompt in prompts:
        messages = prompt_json(prompt.content)
        owner, notice = owners[prompt.owner], prompt.row.consent
        rows.append(
            {
                "id": new_id(),
                "text": prompt_text(prompt.content),
                "messages": None if isinstance(messages, str) else messages,
                "sha256": prompt.sha256,
                "original_sha256": prompt.original_sha256,
                "prefix_key": prompt.prefix_key,
                "source": prompt.row.source,
                "kind": prompt.row.kind,
                "owner_hash": owner,
                "split": splits[owner],
                "language": prompt.language,
                "use_case": prompt.row.use_case,
                "tokens": prompt.tokens,
                "pii_status": prompt.pii_status,
                "pii_report": dict(prompt.pii_report),
                "consent_id": consents[owner, *notice] if notice else None,
                "licence": prompt.row.licence,
                "meta": dict(prompt.meta),
                "created_at": now,
            }
        )
        if prompt.response is not None:
            text = str(nfc(prompt.response))
            completions.append(
                {"id": new_id(), "prompt_id": rows[-1]["id"], "text": text, "sha256": hash_bytes(text.encode()), "origin": "human",
                 "sampling": {}, "template": "", "draw": 0, "meta": {"from": FROM_TEMPLATE}, "created_at": now}
            )  # fmt: skip
    _insert(session, PromptRow, rows)
    _insert(session, CompletionRow, completions)


def _consents(session: Session, prompts: Sequence[NewPrompt], owners: Mapping[str, str]) -> dict[tuple[str, str, int, str], str]:
    """Identifier of each (owner, notice, moment, scope): one row, however many prompts it covers."""
    wanted = dict.fromkeys((owners[prompt.owner], *prompt.row.consent) for prompt in prompts if prompt.row.consent)
    found: dict[tuple[str, str, int, str], str] = {}
    for chunk in _chunks({key[0] for key in wanted}):
        for row in session.scalars(select(Consent).where(Consent.anonymous_hash.in_(chunk))):
            found[str(row.anonymous_hash), row.text_version, row.granted_at, row.scope] = row.id
    new = [key for key in wanted if key not in found]
    made = {key: new_id() for key in new}
    _insert(
        session,
        Consent,
        [
            {"id": made[key], "anonymous_hash": owner, "text_version": version, "granted_at": granted_at, "scope": scope}
            for key in new
            for owner, version, granted_at, scope in [key]
        ],
    )
    return {**found, **made}


def _present(session: Session, column: Any, values: Iterable[str]) -> set[str]:
    found: set[str] = set()
    for chunk in _chunks(values):
        found.update(session.scalars(select(column).where(column.in_(chunk))))
    return found


def _chunks(values: Iterable[str]) -> Iterable[list[str]]:
    listed = sorted(set(values))
    return (listed[start : start + _CHUNK] for start in range(0, len(listed), _CHUNK))


def _insert(session: Session, table: type[DeclarativeBase], rows: Sequence[Mapping[str, Any]]) -> None:
    if rows:
        session.execute(insert(table.__table__), list(rows))  # type: ignore[arg-type]
