"""The audit log: insert-only, each line hashed together with the hash of the line before, so that a changed line shows."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from instructloop.core.hashing import hash_bytes, hash_json
from instructloop.feedback.database import Database
from instructloop.feedback.ids import now_ms
from instructloop.feedback.schema import Audit

FIRST = hash_bytes(b"instructloop audit log")
"""What the first line names as its predecessor."""
_LOCK_NUMBER = 0x1C_A0D1
_COLUMNS = ("seq", "at", "actor", "action", "object", "detail", "before_sha256", "after_sha256", "ip_hash", "previous_hash")


def append(
    session: Session,
    *,
    actor: str,
    action: str,
    object: str,  # noqa: A002 - the word of the log
    detail: Mapping[str, Any] | None = None,
    before: Any = None,
    after: Any = None,
    ip: str | None = None,
    now: int | None = None,
) -> int:
    """Write a line; last thing in its transaction, because on PostgreSQL the next writer of the log waits for the commit.

    Args:
        session: inside ``Database.write()``.
        actor: a user's or labeler's identifier, ``system`` or ``cli``; never an e-mail address.
        action: ``login``, ``role.change``, ``export``, ...
        object: table and identifier, ``prompt/018f...``.
        before: any JSON value; only its hash is kept.
        after: as ``before``.
        ip: an address that was hashed with the project's key.

    Returns:
        The line's number.
    """
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK_NUMBER})"))
    last = session.execute(select(Audit.seq, Audit.hash).order_by(Audit.seq.desc()).limit(1)).one_or_none()
    line = Audit(
        seq=1 if last is None else last.seq + 1,
        at=now_ms() if now is None else now,
        actor=actor,
        action=action,
        object=object,
        detail=dict(detail or {}),
        before_sha256=None if before is None else hash_json(before),
        after_sha256=None if after is None else hash_json(after),
        ip_hash=ip,
        previous_hash=FIRST if last is None else last.hash,
    )
    line.hash = _hash(line)
    session.add(line)
    session.flush()
    return line.seq


def _hash(line: Audit) -> str:
    return hash_json({name: getattr(line, name) for name in _COLUMNS})


def verify(db: Database) -> list[int]:
    """Numbers of the lines that do not fit: changed, missing before them, or out of the chain; empty = intact.

    A cut-off end cannot be seen from inside: note the last hash (:func:`head`) elsewhere from time to time.
    """
    broken = []
    expected_seq, previous = 1, FIRST
    with db.read() as session:
        for line in session.scalars(select(Audit).order_by(Audit.seq).execution_options(yield_per=1000)):
            if line.seq != expected_seq or line.previous_hash != previous or line.hash != _hash(line):
                broken.append(line.seq)
            expected_seq, previous = line.seq + 1, line.hash
    return broken


def head(db: Database) -> tuple[int, str]:
    """Number and hash of the newest line; ``(0, FIRST)`` where there is none."""
    with db.read() as session:
        last = session.execute(select(Audit.seq, Audit.hash).order_by(Audit.seq.desc()).limit(1)).one_or_none()
        return (0, FIRST) if last is None else (last.seq, last.hash)
