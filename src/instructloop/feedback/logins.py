"""Server-side logins. The cookie holds 256 random bits; the store keeps their hash, so that a stolen database opens no door.

A login ends after 12 hours without a request, 14 days after it began, or when it is revoked (log-out, a new password, another
role, a suspended account).
"""

import hashlib
import secrets
from typing import NamedTuple

from sqlalchemy import or_, select, update
from sqlalchemy.orm import Session

from instructloop.feedback.ids import now_ms
from instructloop.feedback.schema import Labeler, Login, User

IDLE_MS = 12 * 3600 * 1000
LONGEST_MS = 14 * 24 * 3600 * 1000
TOUCH_MS = 60_000
"""``last_seen_at`` is written at most once a minute: reading pages must not queue for the write lock."""


class Found(NamedTuple):
    """Whose login a secret is."""

    login: Login
    user: User
    labeler: Labeler | None


def hashed(secret: str) -> str:
    """``sha256:<hex>`` of a secret of 256 random bits (so random that no salt or slow hash is needed)."""
    return "sha256:" + hashlib.sha256(secret.encode()).hexdigest()


def start(session: Session, user_id: str, *, now: int | None = None) -> tuple[str, Login]:
    """A fresh login; returns the secret for the cookie and the row."""
    now = now_ms() if now is None else now
    secret = secrets.token_urlsafe(32)
    login = Login(
        id_hash=hashed(secret),
        user_id=user_id,
        form_secret=secrets.token_urlsafe(32),
        created_at=now,
        last_seen_at=now,
        expires_at=now + LONGEST_MS,
    )
    session.add(login)
    session.execute(update(User).where(User.id == user_id).values(last_login_at=now))
    session.flush()
    return secret, login


def find(session: Session, secret: str, *, now: int | None = None) -> Found | None:
    """The living login of a secret with its active account, detached from the session; None if there is none."""
    now = now_ms() if now is None else now
    row = session.execute(
        select(Login, User, Labeler)
        .join(User, User.id == Login.user_id)
        .outerjoin(Labeler, Labeler.user_id == User.id)
        .where(
            Login.id_hash == hashed(secret),
            Login.revoked_at.is_(None),
            Login.expires_at > now,
            Login.last_seen_at > now - IDLE_MS,
            User.status == "active",
        )
    ).one_or_none()
    if row is None:
        return None
    found = Found(row[0], row[1], row[2])
    for thing in found:
        if thing is not None:
            session.expunge(thing)
    return found


def touch(session: Session, id_hash: str, *, now: int | None = None) -> None:
    """Note that the login was used."""
    session.execute(update(Login).where(Login.id_hash == id_hash).values(last_seen_at=now_ms() if now is None else now))


def revoke(session: Session, id_hash: str, *, now: int | None = None) -> None:
    """End one login."""
    _revoke(session, Login.id_hash == id_hash, now)


def revoke_all(session: Session, user_id: str, *, now: int | None = None) -> None:
    """End every login of an account."""
    _revoke(session, Login.user_id == user_id, now)


def living(session: Session, user_id: str, *, now: int | None = None) -> list[Login]:
    """Open logins of an account, newest first: "where am I logged in"."""
    now = now_ms() if now is None else now
    rows = session.scalars(
        select(Login)
        .where(Login.user_id == user_id, Login.revoked_at.is_(None), Login.expires_at > now, Login.last_seen_at > now - IDLE_MS)
        .order_by(Login.last_seen_at.desc())
    ).all()
    for row in rows:
        session.expunge(row)
    return list(rows)


def forget_ended(session: Session, *, now: int | None = None) -> int:
    """Delete logins that ended more than a day ago; returns how many."""
    from sqlalchemy import delete

    now = now_ms() if now is None else now
    day = 24 * 3600 * 1000
    gone = session.execute(
        delete(Login).where(or_(Login.revoked_at < now - day, Login.expires_at < now - day, Login.last_seen_at < now - IDLE_MS - day))
    )
    return int(getattr(gone, "rowcount", 0))


def _revoke(session: Session, which: object, now: int | None) -> None:
    session.execute(
        update(Login).where(which, Login.revoked_at.is_(None)).values(revoked_at=now_ms() if now is None else now)  # type: ignore[arg-type]
    )
