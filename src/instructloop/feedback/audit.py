"""The book of who did what: insert-only, each line hashed together with the hash of the line before."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from instructloop.core.hashing import hash_bytes, hash_json
from instructloop.feedback.database import Database
from instructloop.feedback.ids import now_ms
from instructloop.feedback.schema import Audit

FIRST = "sha256:" + "0" * 64
_LOCK = 0x1A0D17


def append(
    session: Session,
    *,
    actor: str,
    action: str,
    object: str,  # noqa: A002 - the word of the book
    detail: Mapping[str, Any] | None = None,
    before: Any = None,
    after: Any = None,
    ip: str | None = None,
    now: int | None = None,
) -> int:
    """Write a line in the caller's transaction; returns its number."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
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
        ip_hash=None if ip is None else hash_bytes(ip.encode()),
        previous_hash=FIRST if last is None else last.hash,
        hash="",
    )
    line.hash = _hash(line)
    session.add(line)
    session.flush()
    return line.seq


def verify(db: Database) -> list[int]:
    """Numbers of the lines that do not fit; empty = intact."""
    broken, previous, expected = [], FIRST, 1
    with db.read() as session:
        for line in session.scalars(select(Audit).order_by(Audit.seq)):
            if line.seq != expected or line.previous_hash != previous or line.hash != _hash(line):
                broken.append(line.seq)
            previous, expected = line.hash, line.seq + 1
    return broken


def _hash(line: Audit) -> str:
    parts = [line.seq, line.at, line.actor, line.action, line.object, line.detail, line.before_sha256, line.after_sha256, line.ip_hash]
    return hash_json([*parts, line.previous_hash])
