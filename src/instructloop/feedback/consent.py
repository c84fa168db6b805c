"""Consent: a person's agreement to one version of one notice. Revoking keeps the row, closes it, and names what has left already."""

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from instructloop.core.errors import DataError
from instructloop.feedback import audit
from instructloop.feedback.database import Database
from instructloop.feedback.erasure import exports_with
from instructloop.feedback.ids import now_ms
from instructloop.feedback.schema import Consent, PromptRow
from instructloop.feedback.schema.prompts import SCOPES


def grant(
    db: Database, *, text_version: str, scope: str, user_id: str | None = None, anonymous_hash: str | None = None, now: int | None = None
) -> str:
    """Record that a person agreed; prompts made under it name its identifier.

    Args:
        db: the store.
        text_version: of the notice that was shown.
        scope: ``train``, ``eval`` or ``publish``.
        user_id: the account, or
        anonymous_hash: a keyed hash of whoever has none.

    Raises:
        DataError: unknown scope, or nobody named.
    """
    if scope not in SCOPES:
        raise DataError(f"scope: {scope!r} is not known", hint=f"use one of {', '.join(SCOPES)}")
    if (user_id is None) == (anonymous_hash is None):
        raise DataError("consent: name an account or an anonymous hash, and not both", hint="pass user_id or anonymous_hash")
    at = now_ms() if now is None else now
    with db.write() as session:
        consent = Consent(user_id=user_id, anonymous_hash=anonymous_hash, text_version=text_version, scope=scope, granted_at=at)
        session.add(consent)
        session.flush()
        audit.append(
            session,
            actor=user_id or "anonymous",
            action="consent.grant",
            object=f"consent/{consent.id}",
            detail={"text_version": text_version, "scope": scope},
            now=at,
        )
        return consent.id


def revoke(db: Database, consent_id: str, *, actor: str, now: int | None = None) -> tuple[str, ...]:
    """Close a consent: nothing under it leaves any more. Revoking twice is revoking once.

    Returns:
        Identifiers of the exports that hold prompts given under it.

    Raises:
        DataError: there is no such consent.
    """
    at = now_ms() if now is None else now
    with db.write() as session:
        consent = session.get(Consent, consent_id, with_for_update=True)
        if consent is None:
            raise DataError(f"there is no consent {consent_id!r}", hint="list the person's consents first")
        affected = exports_with(session, session.scalars(select(PromptRow.id).where(PromptRow.consent_id == consent_id)).all())
        if consent.revoked_at is None:
            consent.revoked_at = at
            detail = {"affected_exports": list(affected)}
            audit.append(session, actor=actor, action="consent.revoke", object=f"consent/{consent_id}", detail=detail, now=at)
        return affected


def revoke_all(session: Session, user_id: str, now: int) -> None:
    """Close every open consent of an account, within an open transaction (an erasure writes the audit line)."""
    session.execute(update(Consent).where(Consent.user_id == user_id, Consent.revoked_at.is_(None)).values(revoked_at=now))


def holds(session: Session, consent_id: str | None, scope: str) -> bool:
    """Whether a consent is open and covers a use; ``train`` covers ``eval``, ``publish`` covers both."""
    if consent_id is None:
        return False
    covering = {"eval": ("eval", "train", "publish"), "train": ("train", "publish"), "publish": ("publish",)}[scope]
    consent = session.get(Consent, consent_id)
    return consent is not None and consent.revoked_at is None and consent.scope in covering
