"""Links that work once: the first admin's set-up, invitations, new passwords. Only the hash of a token is kept."""

import secrets
from typing import NamedTuple

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from instructloop.core.errors import DataError
from instructloop.feedback import accounts, audit
from instructloop.feedback.ids import now_ms
from instructloop.feedback.logins import hashed
from instructloop.feedback.schema import OneTimeLink, User

HOUR_MS = 3600 * 1000
LIFETIME_MS = {"setup": 24 * HOUR_MS, "invite": 14 * 24 * HOUR_MS, "password": 24 * HOUR_MS}


class LinkView(NamedTuple):
    """What a link is for. ``spent`` says it was used or ran out."""

    id: str
    kind: str
    role: str | None
    cohort: str | None
    email: str | None
    user_id: str | None
    spent: bool


def make(
    session: Session,
    kind: str,
    *,
    role: str | None = None,
    cohort: str | None = None,
    email: str | None = None,
    user_id: str | None = None,
    by: str | None = None,
    now: int | None = None,
) -> str:
    """A fresh link; returns its token, which is shown once and kept nowhere.

    Args:
        session: an open write transaction.
        kind: ``setup``, ``invite`` or ``password``.
        role: what an invited person becomes.
        cohort: of an invited labeler: ``training`` or ``heldout``.
        email: binds an invitation to one address; None leaves the choice to the invited.
        user_id: whose password a ``password`` link sets.
        by: the inviting account.
        now: the time in UTC milliseconds.
    """
    now = now_ms() if now is None else now
    if kind == "setup":  # an older set-up link dies with a new one
        session.execute(update(OneTimeLink).where(OneTimeLink.kind == "setup", OneTimeLink.used_at.is_(None)).values(expires_at=now))
    token = secrets.token_urlsafe(32)
    link = OneTimeLink(
        kind=kind,
        token_hash=hashed(token),
        role=role,
        cohort=cohort,
        email=accounts.normal_email(email) if email else None,
        user_id=user_id,
        created_by=by,
        created_at=now,
        expires_at=now + LIFETIME_MS[kind],
    )
    session.add(link)
    session.flush()
    if by is not None:
        audit.append(
            session, actor=by, action=f"link.{kind}", object=f"link/{link.id}", detail={"role": role, "cohort": cohort, "user": user_id}
        )
    return token


def look(session: Session, kind: str, token: str, *, now: int | None = None) -> LinkView | None:
    """What a token opens; None if it was never given out."""
    now = now_ms() if now is None else now
    row = session.scalar(select(OneTimeLink).where(OneTimeLink.token_hash == hashed(token), OneTimeLink.kind == kind))
    if row is None:
        return None
    spent = row.used_at is not None or row.expires_at <= now
    return LinkView(row.id, row.kind, row.role, row.cohort, row.email, row.user_id, spent)


def use(session: Session, link_id: str, user_id: str, *, now: int | None = None) -> None:
    """Spend a link, in the transaction of what it allows.

    Raises:
        DataError: somebody else was faster, or it ran out.
    """
    now = now_ms() if now is None else now
    done = session.execute(
        update(OneTimeLink)
        .where(OneTimeLink.id == link_id, OneTimeLink.used_at.is_(None), OneTimeLink.expires_at > now)
        .values(used_at=now, used_by=user_id)
    )
    if int(getattr(done, "rowcount", 0)) != 1:
        raise DataError("this link has been used or has run out", hint="ask for a new one")


def accept(session: Session, link: LinkView, *, email: str, name: str, password_hash: str, now: int | None = None) -> User:
    """Make the account that a set-up or invitation link promises, with its labeler, and spend the link: all or nothing."""
    role = "admin" if link.kind == "setup" else (link.role or "labeler")
    user = accounts.create_user(session, email=link.email or email, name=name, role=role, password_hash=password_hash, now=now)
    use(session, link.id, user.id, now=now)
    accounts.ensure_labeler(session, user, cohort=link.cohort or "training")
    return user


def open_invitations(session: Session, *, now: int | None = None) -> list[OneTimeLink]:
    """Invitations nobody has accepted yet, newest first (without tokens: those are not kept)."""
    now = now_ms() if now is None else now
    rows = session.scalars(
        select(OneTimeLink)
        .where(OneTimeLink.kind == "invite", OneTimeLink.used_at.is_(None), OneTimeLink.expires_at > now)
        .order_by(OneTimeLink.created_at.desc())
    ).all()
    for row in rows:
        session.expunge(row)
    return list(rows)


def withdraw(session: Session, link_id: str, *, by: str, now: int | None = None) -> None:
    """Make an open link useless."""
    now = now_ms() if now is None else now
    session.execute(update(OneTimeLink).where(OneTimeLink.id == link_id, OneTimeLink.used_at.is_(None)).values(expires_at=now))
    audit.append(session, actor=by, action="link.withdraw", object=f"link/{link_id}")
