"""A thread of messages between each labeler and the research team."""

from dataclasses import dataclass

from sqlalchemy import func, select, update

from instructloop.core.errors import DataError
from instructloop.feedback.answers import wrong
from instructloop.feedback.database import Database
from instructloop.feedback.ids import now_ms
from instructloop.feedback.labelers import require_labeler
from instructloop.feedback.schema import Assignment, Labeler, ThreadMessage

MAX_BYTES = 8_000


@dataclass(frozen=True, kw_only=True, slots=True)
class MessageView:
    """One message; ``from_labeler`` tells the sides apart, the team speaks with one voice."""

    id: str
    body: str
    from_labeler: bool
    created_at: int
    read_at: int | None
    task_id: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class ThreadView:
    """A line of the team's list of threads."""

    labeler_id: str
    code: str
    unread: int
    last_at: int


def send(db: Database, labeler_id: str, *, author: str, body: str, task_id: str | None = None, now: int | None = None) -> str:
    """Add a message to a labeler's thread.

    Args:
        db: the open store.
        labeler_id: whose thread it is.
        author: the writing account.
        body: plain text.
        task_id: what it is about; a labeler can only name a task they had.
        now: the time in UTC milliseconds.

    Raises:
        DataError: an empty or too long text, or a task that is not the labeler's.
    """
    if not body.strip():
        raise wrong("body", "is empty", "write something")
    if len(body.encode()) > MAX_BYTES:
        raise wrong("body", f"is longer than {MAX_BYTES:,} bytes", "shorten it")
    with db.write() as session:
        require_labeler(session, labeler_id)
        if task_id is not None:
            had = select(Assignment.id).where(Assignment.labeler_id == labeler_id, Assignment.task_id == task_id)
            if session.scalar(had) is None:
                raise DataError("there is no such task", hint="send the message without it")
        message = ThreadMessage(labeler_id=labeler_id, author_id=author, body=body.strip(), task_id=task_id, created_at=now or now_ms())
        session.add(message)
        session.flush()
        return message.id


def thread(db: Database, labeler_id: str, *, before: str | None = None, limit: int = 50) -> list[MessageView]:
    """A labeler's messages, newest first; ``before`` = the identifier of the last one of the page before."""
    query = (
        select(ThreadMessage, Labeler.user_id)
        .join(Labeler, Labeler.id == ThreadMessage.labeler_id)
        .where(ThreadMessage.labeler_id == labeler_id)
        .order_by(ThreadMessage.id.desc())
        .limit(limit)
    )
    if before:
        query = query.where(ThreadMessage.id < before)
    with db.read() as session:
        return [
            MessageView(
                id=row.id,
                body=row.body,
                from_labeler=row.author_id == user_id,
                created_at=row.created_at,
                read_at=row.read_at,
                task_id=row.task_id,
            )
            for row, user_id in session.execute(query)
        ]


def mark_read(db: Database, labeler_id: str, *, by_labeler: bool, now: int | None = None) -> int:
    """Mark what the other side wrote as read; returns how many messages that were."""
    with db.write() as session:
        labeler = require_labeler(session, labeler_id)
        theirs = ThreadMessage.author_id != labeler.user_id if by_labeler else ThreadMessage.author_id == labeler.user_id
        fresh = list(
            session.scalars(select(ThreadMessage.id).where(ThreadMessage.labeler_id == labeler_id, ThreadMessage.read_at.is_(None), theirs))
        )
        if fresh:
            session.execute(update(ThreadMessage).where(ThreadMessage.id.in_(fresh)).values(read_at=now or now_ms()))
        return len(fresh)


def unread_for_labeler(db: Database, labeler: Labeler) -> int:
    """How many messages of the team a labeler has not seen."""
    query = select(func.count()).select_from(ThreadMessage).where(ThreadMessage.labeler_id == labeler.id, ThreadMessage.read_at.is_(None))
    with db.read() as session:
        return session.scalar(query.where(ThreadMessage.author_id != labeler.user_id)) or 0


def threads(db: Database) -> list[ThreadView]:
    """All threads, those with unread messages of their labelers first, then the newest."""
    unread = func.count().filter(ThreadMessage.read_at.is_(None), ThreadMessage.author_id == Labeler.user_id)
    query = (
        select(Labeler.id, Labeler.code, unread, func.max(ThreadMessage.created_at))
        .join(ThreadMessage, ThreadMessage.labeler_id == Labeler.id)
        .group_by(Labeler.id, Labeler.code)
    )
    with db.read() as session:
        rows = [ThreadView(labeler_id=row[0], code=row[1], unread=row[2], last_at=row[3]) for row in session.execute(query)]
    return sorted(rows, key=lambda row: (row.unread == 0, -row.last_at))


def unread_for_team(db: Database) -> int:
    """How many messages of labelers nobody of the team has seen."""
    query = (
        select(func.count())
        .select_from(ThreadMessage)
        .join(Labeler, Labeler.id == ThreadMessage.labeler_id)
        .where(ThreadMessage.read_at.is_(None), ThreadMessage.author_id == Labeler.user_id)
    )
    with db.read() as session:
        return session.scalar(query) or 0
