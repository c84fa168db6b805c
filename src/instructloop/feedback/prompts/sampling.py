"""Prompts drawn for training or labeling: at most 200 an owner, nothing personal, nothing too long, consent in force (spec A4, A6, A7)."""

from collections.abc import Sequence

from sqlalchemy import ColumnElement, and_, or_, select
from sqlalchemy.orm import Session

from instructloop.core.errors import ConfigError
from instructloop.core.seeds import derive
from instructloop.feedback.prompts.lengths import TRAINING_LIMIT_TOKENS
from instructloop.feedback.prompts.owners import PER_OWNER, at_most_per_owner
from instructloop.feedback.records import USABLE_PII
from instructloop.feedback.schema import Consent, PromptRow
from instructloop.feedback.schema.prompts import SOURCES, SPLITS

TRAINING_PII = ("clean", "redacted")
"""What may go into training; labelers may also be shown what nobody has checked."""


def usable(*, training: bool) -> ColumnElement[bool]:
    """The condition on a prompt, for queries that join ``Consent`` from the outside.

    For training: known to be free of personal data, at most 1,000 tokens, and of customers only what they agreed to give for it.
    """
    consented = and_(Consent.id.is_not(None), Consent.revoked_at.is_(None), *([Consent.scope == "train"] if training else []))
    rules = [
        PromptRow.erased_at.is_(None),
        PromptRow.pii_status.in_(TRAINING_PII if training else USABLE_PII),
        or_(consented, and_(PromptRow.consent_id.is_(None), PromptRow.source != "api")),
    ]
    return and_(*rules, *([PromptRow.tokens <= TRAINING_LIMIT_TOKENS] if training else []))


def draw_prompts(
    session: Session,
    *,
    split: str = "train",
    n: int | None = None,
    sources: Sequence[str] = SOURCES,
    use_cases: Sequence[str] = (),
    training: bool = True,
    per_owner: int = PER_OWNER,
    seed: int = 0,
) -> list[PromptRow]:
    """Prompts of one split in a random order that the seed fixes.

    The cap is applied here and not at import: nothing is deleted, and another seed draws other prompts of a busy owner.

    Args:
        session: a reading session.
        split: train, valid or test.
        n: how many; None = all that may be drawn.
        sources: PPO takes ``("api",)``, customers only (spec A9).
        use_cases: only these; empty = all, also prompts nobody has sorted.
        training: apply the rules of training data.
        per_owner: the most of one owner.
        seed: base of the draw.

    Raises:
        ConfigError: an unknown split or source.
    """
    for value, known in [(split, SPLITS), *((source, SOURCES) for source in sources)]:
        if value not in known:
            raise ConfigError(f"{value!r} is unknown", hint=f"known: {', '.join(known)}")
    query = select(PromptRow).outerjoin(Consent, PromptRow.consent_id == Consent.id).where(PromptRow.split == split)
    query = query.where(PromptRow.source.in_(sources), usable(training=training))
    if use_cases:
        query = query.where(PromptRow.use_case.in_(use_cases))
    rows = sorted(session.scalars(query), key=lambda row: (derive(seed, "prompts", row.sha256), row.sha256))
    capped = at_most_per_owner(rows, lambda row: row.owner_hash, cap=per_owner, seed=seed, key=lambda row: row.sha256)
    return capped[:n]
