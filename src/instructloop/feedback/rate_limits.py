"""Rate limits in fixed windows, counted in the database, so that several server processes share them and a restart forgives nothing.

Who goes on knocking at a closed door waits longer: each further full window of refused tries doubles the wait, up to 16 windows.
The clock may jump: a window that seems to begin in the future is taken to begin now, with its count kept, so that a clock
set back neither opens the door nor locks it for longer than one window.
"""

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from instructloop.feedback.database import Database
from instructloop.feedback.ids import now_ms
from instructloop.feedback.schema import RateLimit

LONGEST_DOUBLING = 4


def hit(db: Database, key: str, *, limit: int, window_ms: int, now: int | None = None) -> int:
    """Count one try.

    Args:
        db: the store.
        key: what is limited, e.g. ``login/account/<hash>``; keep addresses and e-mails out of it, hashed only.
        limit: tries allowed in a window.
        window_ms: length of a window.
        now: the time in UTC milliseconds.

    Returns:
        0 if the try is allowed, else milliseconds to wait.
    """
    now = now_ms() if now is None else now
    for _ in range(5):
        try:
            with db.write() as session:
                return _count(session, key, limit, window_ms, now)
        except IntegrityError:  # another process made the row in between
            continue
    return window_ms


def forget(db: Database, key: str) -> None:
    """Start afresh: the person has shown who they are."""
    with db.write() as session:
        row = session.get(RateLimit, key)
        if row is not None:
            session.delete(row)


def _count(session: Session, key: str, limit: int, window_ms: int, now: int) -> int:
    row = session.scalar(select(RateLimit).where(RateLimit.key == key).with_for_update())
    if row is None:
        session.add(RateLimit(key=key, window_start=now, count=1))
        session.flush()
        return 0 if limit >= 1 else window_ms
    row.window_start = min(row.window_start, now)
    if now - row.window_start >= _wait(row.count, limit, window_ms):
        row.window_start, row.count = now, 0
    row.count += 1
    if row.count <= limit:
        return 0
    return row.window_start + _wait(row.count, limit, window_ms) - now


def _wait(count: int, limit: int, window_ms: int) -> int:
    """Length of the window, doubled for each ``limit`` tries beyond the limit."""
    refused = max(0, count - limit)
    return int(window_ms * 2 ** min(refused // max(limit, 1), LONGEST_DOUBLING))
