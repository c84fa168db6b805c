"""Accounts: who may log in, and as what. An account is never deleted, only suspended or erased; the last admin cannot be taken away."""

import re
from typing import NamedTuple

from sqlalchemy import exists, select, update
from sqlalchemy.orm import Session

from instructloop.core.errors import DataError
from instructloop.feedback import audit
from instructloop.feedback.ids import now_ms
from instructloop.feedback.labelers import add_labeler
from instructloop.feedback.logins import revoke_all
from instructloop.feedback.schema import Labeler, User
from instructloop.feedback.schema.people import ROLES, USER_STATES

LABELING_ROLES = ("labeler", "adjudicator", "researcher", "admin")
"""Roles whose people may answer tasks; ``viewer`` only looks."""
_EMAIL = re.compile(r"[^@\s<>\"]{1,64}@[^@\s<>\"]{1,190}")


def normal_email(text: str) -> str:
    """An e-mail address as it is kept: no surrounding space, lower case.

    Raises:
        DataError: it is none.
    """
    email = text.strip().lower()
    if not _EMAIL.fullmatch(email):
        raise DataError(f"{text!r} is not an e-mail address", hint="write it as name@example.org")
    return email


def has_admin(session: Session) -> bool:
    """Whether an active admin exists; before that, nothing but the set-up page answers."""
    return bool(session.scalar(select(exists().where(User.role == "admin", User.status == "active", User.password_hash.is_not(None)))))


def create_user(
    session: Session, *, email: str, name: str, role: str, password_hash: str, actor: str = "system", now: int | None = None
) -> User:
    """A new active account.

    Args:
        session: an open write transaction.
        email: unique without regard to case.
        name: as the person wants to be called; never exported.
        role: one of ``ROLES``.
        password_hash: argon2id, made by ``instructloop.web.passwords``.
        actor: who did it, for the audit book: a user's identifier, ``system`` or ``cli``.
        now: the time in UTC milliseconds; this machine's clock by default.

    Raises:
        DataError: a bad or taken address, or an unknown role.
    """
    if role not in ROLES:
        raise DataError(f"no role is called {role!r}", hint=f"use one of {', '.join(ROLES)}")
    email = normal_email(email)
    if user_by_email(session, email) is not None:
        raise DataError(f"{email} has an account already", hint="log in with it, or use another address")
    user = User(email=email, name=name.strip()[:100], role=role, password_hash=password_hash, created_at=now or now_ms())
    session.add(user)
    session.flush()
    audit.append(session, actor=actor, action="user.create", object=f"user/{user.id}", detail={"role": role})
    return user


def user_by_email(session: Session, email: str) -> User | None:
    """The account of an address, whatever its state."""
    return session.scalar(select(User).where(User.email == email.strip().lower()))


def set_password(session: Session, user_id: str, password_hash: str, *, actor: str, rehash: bool = False) -> None:
    """Replace the password hash; every login of the account ends, unless only the hash's cost was brought up to date."""
    session.execute(update(User).where(User.id == user_id).values(password_hash=password_hash))
    if not rehash:
        revoke_all(session, user_id)
        audit.append(session, actor=actor, action="user.password", object=f"user/{user_id}")


def set_role(session: Session, user_id: str, role: str, *, actor: str) -> None:
    """Change what an account may do; its logins end, so that no page of the old role stays open.

    Raises:
        DataError: unknown role or account, or the last admin.
    """
    if role not in ROLES:
        raise DataError(f"no role is called {role!r}", hint=f"use one of {', '.join(ROLES)}")
    user = _user(session, user_id)
    if user.role == "admin" and role != "admin":
        _keep_an_admin(session, user_id)
    before, user.role = user.role, role
    revoke_all(session, user_id)
    audit.append(session, actor=actor, action="user.role", object=f"user/{user_id}", detail={"from": before, "to": role})


def set_status(session: Session, user_id: str, status: str, *, actor: str) -> None:
    """Suspend an account or let it in again; suspending ends its logins at once.

    Raises:
        DataError: unknown state or account, or the last admin.
    """
    if status not in USER_STATES:
        raise DataError(f"no state is called {status!r}", hint=f"use one of {', '.join(USER_STATES)}")
    user = _user(session, user_id)
    if status != "active":
        if user.role == "admin":
            _keep_an_admin(session, user_id)
        revoke_all(session, user_id)
    before, user.status = user.status, status
    audit.append(session, actor=actor, action="user.status", object=f"user/{user_id}", detail={"from": before, "to": status})


class Account(NamedTuple):
    """One line of the list of accounts."""

    id: str
    email: str
    name: str
    role: str
    status: str
    last_login_at: int | None
    code: str | None
    cohort: str | None
    state: str | None


def listed(session: Session) -> list[Account]:
    """All accounts with their labelers, by address."""
    rows = session.execute(
        select(User.id, User.email, User.name, User.role, User.status, User.last_login_at, Labeler.code, Labeler.cohort, Labeler.state)
        .outerjoin(Labeler, Labeler.user_id == User.id)
        .order_by(User.email)
    )
    return [Account(*row) for row in rows]


def rename(session: Session, user_id: str, name: str) -> None:
    """Change the name a person is greeted by."""
    session.execute(update(User).where(User.id == user_id).values(name=name.strip()[:100]))


def ensure_labeler(session: Session, user: User, *, cohort: str = "training") -> Labeler | None:
    """The labeler behind an account, made on first need for roles that answer tasks.

    Researchers, adjudicators and admins answer as cohort ``researcher`` and are qualified from the start (they write the
    screening); labelers begin as applicants, those of the held-out cohort qualified, because it is not screened (spec B3).
    """
    if user.role not in LABELING_ROLES:
        return None
    found = session.scalar(select(Labeler).where(Labeler.user_id == user.id))
    if found is not None:
        return found
    cohort = cohort if user.role == "labeler" else "researcher"
    return add_labeler(session, user_id=user.id, cohort=cohort)


def _user(session: Session, user_id: str) -> User:
    user = session.get(User, user_id)
    if user is None:
        raise DataError("there is no such account", hint="reload the page")
    return user


def _keep_an_admin(session: Session, user_id: str) -> None:
    others = exists().where(User.role == "admin", User.status == "active", User.id != user_id, User.password_hash.is_not(None))
    if not session.scalar(select(others)):
        raise DataError("this is the only admin", hint="make somebody else an admin first")
