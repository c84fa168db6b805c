"""Prompts with personal data, in the hands of a person: cleared, blacked out, or rejected for good (spec A6)."""

from dataclasses import dataclass
from typing import Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from instructloop.core.errors import DataError
from instructloop.core.records import Message, PromptContent, prompt_text
from instructloop.feedback import audit
from instructloop.feedback.database import Database
from instructloop.feedback.ids import now_ms
from instructloop.feedback.prompts import pii
from instructloop.feedback.prompts.language import identify
from instructloop.feedback.prompts.lengths import ESTIMATE
from instructloop.feedback.prompts.planning import redacted
from instructloop.feedback.records import add_prompt, clear_prompt, prompt_of
from instructloop.feedback.schema import PromptRow

Decision = Literal["clear", "redact", "reject"]
DECISIONS: tuple[Decision, ...] = ("clear", "redact", "reject")


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A prompt that waits for a decision."""

    id: str
    content: PromptContent
    split: str
    spans: tuple[pii.PiiSpan, ...]
    """What the rules find in its text (``prompt_text``) today; empty where a labeler flagged it."""


def quarantined(session: Session, *, limit: int = 100, after: str = "") -> list[Quarantined]:
    """Prompts in quarantine in order of arrival, a page at a time.

    Args:
        session: a reading session.
        limit: most to return.
        after: identifier of the last one seen.
    """
    query = select(PromptRow).where(PromptRow.pii_status == "quarantined", PromptRow.text.is_not(None), PromptRow.id > after)
    rows = session.scalars(query.order_by(PromptRow.id).limit(limit))
    return [Quarantined(row.id, prompt_of(row), row.split, tuple(pii.find_pii(row.text or ""))) for row in rows]


def review(
    database: Database, prompt_id: str, decision: Decision, *, actor: str, text: str | None = None, now: int | None = None
) -> str | None:
    """Decide about a prompt in quarantine; the decision goes into the audit log.

    ``clear``: a false alarm, it may be used. ``redact``: a copy without the personal data takes its place, the original is rejected.
    ``reject``: never used; it stays in the store until it is erased.

    Args:
        database: the store.
        prompt_id: the prompt.
        decision: one of ``DECISIONS``.
        actor: who decides.
        text: for ``redact``: the prompt as a person blacked it out (names, say, which no rule finds); for a conversation, its last turn.
        now: UTC milliseconds.

    Returns:
        The identifier of the prompt that may be used now, or None.

    Raises:
        DataError: no such prompt, it is not in quarantine, or there is nothing to black out.
    """
    if decision not in DECISIONS:
        raise DataError(f"decision: {decision!r} is unknown", hint=f"one of {', '.join(DECISIONS)}")
    with database.write() as session:
        row = session.get(PromptRow, prompt_id, with_for_update=True)
        if row is None:
            raise DataError(f"there is no prompt {prompt_id!r}", hint="instructloop prompts check lists what waits")
        if row.pii_status != "quarantined":
            raise DataError(f"prompt {prompt_id} is {row.pii_status!r}, not in quarantine", hint="it was decided already")
        why = {"decision": decision, "by": actor, "at": now_ms() if now is None else now}
        kept: str | None = prompt_id
        if decision == "clear":
            clear_prompt(session, prompt_id, why={"review": why})
        else:
            kept = _redacted_copy(session, row, text) if decision == "redact" else None
            row.pii_status = "rejected"
            row.pii_report = {**row.pii_report, "review": why}
        audit.append(session, actor=actor, action=f"prompt.{decision}", object=f"prompt/{prompt_id}", detail={"kept": kept})
        return kept


def _redacted_copy(session: Session, row: PromptRow, text: str | None) -> str:
    content = prompt_of(row)
    clean = redacted(content) if text is None else _with_text(content, text)
    if clean == content:
        raise DataError(f"prompt {row.id}: the rules find nothing to black out in it", hint="pass the text as it should be, or reject it")
    left = pii.find_pii(prompt_text(clean))
    if left:
        raise DataError(f"text: still holds personal data ({', '.join(span.type for span in left)})", hint="black that out too")
    plain = prompt_text(clean)
    copy, _ = add_prompt(
        session,
        prompt=clean,
        source=row.source,
        owner=row.owner_hash,
        split=row.split,
        kind=row.kind,
        language=identify(plain).code,
        use_case=row.use_case,
        tokens=ESTIMATE.count(plain),
        pii_status="redacted",
        pii_report={"from": row.id},
        consent_id=row.consent_id,
        licence=row.licence,
        parent_id=row.id,
        meta={**row.meta, "token_rule": ESTIMATE.rule},
    )
    return copy


def _with_text(content: PromptContent, text: str) -> PromptContent:
    return text if isinstance(content, str) else (*content[:-1], Message("user", text))
