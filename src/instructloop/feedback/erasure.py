"""Erasure as a recorded tombstone: texts go, counts and hashes stay, and the exports that hold what went are named.

What was erased cannot be read from the store's file either: on SQLite freed pages are overwritten and the write-ahead log is
emptied. Copies that left before (exports, snapshots, backups) are not ours to reach: the tombstone lists the exports.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from sqlalchemy import select, text, update
from sqlalchemy.orm import Session

from instructloop.core.errors import DataError
from instructloop.core.hashing import hash_json
from instructloop.feedback import audit
from instructloop.feedback.database import Database
from instructloop.feedback.ids import now_ms
from instructloop.feedback.schema import (
    Adjudication,
    Assignment,
    Chat,
    ChatMessage,
    CompletionRow,
    Consent,
    Critique,
    DemonstrationRow,
    Draft,
    Erasure,
    Export,
    Labeler,
    Login,
    OneTimeLink,
    PromptRow,
    Rating,
    ScreenAttempt,
    Submission,
    Task,
    ThreadMessage,
    User,
)

GONE = "(erased)"
_BATCH = 500


@dataclass(frozen=True, kw_only=True, slots=True)
class Erased:
    """What an erasure did."""

    subject: str
    prompts: int
    completions: int
    submissions: int
    affected_exports: tuple[str, ...]
    """Exports that left before and hold some of it: whoever has them must be told."""
    repeated: bool = False


def erase_prompt(db: Database, prompt_id: str, *, reason: str, actor: str, now: int | None = None) -> Erased:
    """Erase a prompt with everything that could quote it: what was made from it, its completions, the texts of its answers.

    Rankings, ratings and flags stay as numbers on completions without text. Erasing twice is erasing once.

    Raises:
        DataError: there is no such prompt.
    """
    at = now_ms() if now is None else now

    def work(session: Session) -> Erased:
        prompt = session.get(PromptRow, prompt_id)
        if prompt is None:
            raise DataError(f"there is no prompt {prompt_id!r}", hint="look its identifier up in the export's lineage")
        before = _repeated(session, f"prompt/{prompt_id}")
        if before is not None:
            return before
        _overwrite(session)
        prompts = _family(session, [prompt_id])
        counts = _erase_prompts(session, prompts, at)
        return _tombstone(session, f"prompt/{prompt_id}", prompt.sha256, reason, actor, prompts, counts, at)

    erased = db.transact(work)
    _empty_log(db)
    return erased


def erase_user(db: Database, user_id: str, *, reason: str, actor: str, now: int | None = None) -> Erased:
    """Erase a person: the account's data, the prompts given under their consents, and every text they wrote as a labeler.

    Their rankings, ratings and flags stay under the pseudonymous code; the account becomes a tombstone that cannot log in.

    Raises:
        DataError: there is no such account.
    """
    at = now_ms() if now is None else now

    def work(session: Session) -> Erased:
        user = session.get(User, user_id)
        if user is None:
            raise DataError(f"there is no account {user_id!r}", hint="look it up among the users")
        before = _repeated(session, f"user_account/{user_id}")
        if before is not None:
            return before
        _overwrite(session)
        sha = hash_json([user.email, user.name])
        own = select(PromptRow.id).join(Consent, Consent.id == PromptRow.consent_id).where(Consent.user_id == user_id)
        prompts = _family(session, session.scalars(own).all())
        counts = _erase_prompts(session, prompts, at)
        touched = _erase_labeler(session, user_id, counts, at)
        _erase_account(session, user, at)
        return _tombstone(session, f"user_account/{user_id}", sha, reason, actor, [*prompts, *touched], counts, at)

    erased = db.transact(work)
    _empty_log(db)
    return erased


def exports_with(session: Session, prompt_ids: Iterable[str]) -> tuple[str, ...]:
    """Identifiers of the exports and snapshots that hold one of these prompts, the oldest first."""
    wanted = set(prompt_ids)
    rows = session.execute(select(Export.id, Export.prompt_ids).order_by(Export.id))
    return tuple(row.id for row in rows if not wanted.isdisjoint(row.prompt_ids.get("ids", ())))


@dataclass(slots=True)
class _Counts:
    prompts: int = 0
    completions: int = 0
    submissions: int = 0


def _erased(subject: str, affected: tuple[str, ...], counts: _Counts, *, repeated: bool = False) -> Erased:
    return Erased(
        subject=subject,
        prompts=counts.prompts,
        completions=counts.completions,
        submissions=counts.submissions,
        affected_exports=affected,
        repeated=repeated,
    )


def _repeated(session: Session, subject: str) -> Erased | None:
    row = session.scalars(select(Erasure).where(Erasure.subject == subject)).one_or_none()
    if row is None:
        return None
    return _erased(subject, tuple(row.affected_exports["ids"]), _Counts(**row.affected_exports["counts"]), repeated=True)


def _family(session: Session, roots: Sequence[str]) -> list[str]:
    """The prompts, and those made from them (redacted copies, expanded templates)."""
    found = list(dict.fromkeys(roots))
    level = found
    while level:
        children: list[str] = []
        for batch in _batches(level):
            children += session.scalars(select(PromptRow.id).where(PromptRow.parent_id.in_(batch)))
        level = [child for child in children if child not in found]
        found += level
    return found


def _batches(ids: Sequence[str]) -> Iterable[Sequence[str]]:
    return (ids[start : start + _BATCH] for start in range(0, len(ids), _BATCH))


def _erase_prompts(session: Session, prompts: Sequence[str], now: int) -> _Counts:
    counts = _Counts(prompts=len(prompts))
    for batch in _batches(prompts):
        session.execute(
            update(PromptRow).where(PromptRow.id.in_(batch)).values(text=None, messages=None, meta={}, pii_report={}, erased_at=now)
        )
        completions = session.scalars(select(CompletionRow.id).where(CompletionRow.prompt_id.in_(batch))).all()
        counts.completions += len(completions)
        for part in _batches(completions):
            session.execute(update(CompletionRow).where(CompletionRow.id.in_(part)).values(text=None, meta={}, erased_at=now))
            session.execute(update(ChatMessage).where(ChatMessage.completion_id.in_(part)).values(text=None, erased_at=now))
        session.execute(update(Task).where(Task.prompt_id.in_(batch), Task.state == "open").values(state="withdrawn"))
        tasks = session.scalars(select(Task.id).where(Task.prompt_id.in_(batch))).all()
        for part in _batches(tasks):
            session.execute(update(ThreadMessage).where(ThreadMessage.task_id.in_(part)).values(body=GONE))
            session.execute(update(Adjudication).where(Adjudication.task_id.in_(part)).values(note=""))
            assignments = session.scalars(select(Assignment.id).where(Assignment.task_id.in_(part))).all()
            _erase_assignments(session, assignments, now)
            submissions = session.scalars(select(Submission.id).where(Submission.task_id.in_(part), Submission.erased_at.is_(None))).all()
            counts.submissions += len(submissions)
            _erase_texts(session, submissions, now)
    return counts


def _erase_assignments(session: Session, assignments: Sequence[str], now: int) -> None:
    for part in _batches(assignments):
        session.execute(update(Assignment).where(Assignment.id.in_(part)).values(skip_note=None, client={}))
        session.execute(update(Draft).where(Draft.assignment_id.in_(part)).values(body={}, rev=Draft.rev + 1, updated_at=now))


def _erase_texts(session: Session, submissions: Sequence[str], now: int) -> None:
    """The mark goes first: the database lets go of an answer's texts only once its submission is marked as erased."""
    for part in _batches(submissions):
        session.execute(update(Submission).where(Submission.id.in_(part)).values(comment=None, erased_at=now))
        for table in (DemonstrationRow, Critique):
            session.execute(update(table).where(table.submission_id.in_(part)).values(text=None))
        session.execute(update(Rating).where(Rating.submission_id.in_(part)).values(note=None))


def _erase_labeler(session: Session, user_id: str, counts: _Counts, now: int) -> list[str]:
    """A labeler's texts; returns the prompts they wrote about."""
    labeler = session.scalars(select(Labeler).where(Labeler.user_id == user_id)).one_or_none()
    if labeler is None:
        return []
    labeler.expertise, labeler.preferences, labeler.pay_reference, labeler.state = {}, {}, None, "retired"
    rows = session.execute(
        select(Submission.id, Task.prompt_id)
        .join(Task, Task.id == Submission.task_id)
        .where(Submission.labeler_id == labeler.id, Submission.erased_at.is_(None))
    ).all()
    counts.submissions += len(rows)
    _erase_texts(session, [row.id for row in rows], now)
    _erase_assignments(session, session.scalars(select(Assignment.id).where(Assignment.labeler_id == labeler.id)).all(), now)
    session.execute(update(Adjudication).where(Adjudication.decided_by == labeler.id).values(note=""))
    session.execute(update(ThreadMessage).where(ThreadMessage.labeler_id == labeler.id).values(body=GONE))
    session.execute(update(ScreenAttempt).where(ScreenAttempt.labeler_id == labeler.id).values(detail={}))
    return list(dict.fromkeys(row.prompt_id for row in rows))


def _erase_account(session: Session, user: User, now: int) -> None:
    session.execute(update(OneTimeLink).where(OneTimeLink.email == user.email).values(email=None))
    session.execute(update(Login).where(Login.user_id == user.id, Login.revoked_at.is_(None)).values(revoked_at=now))
    session.execute(update(Consent).where(Consent.user_id == user.id, Consent.revoked_at.is_(None)).values(revoked_at=now))
    chats = select(Chat.id).where(Chat.user_id == user.id)
    session.execute(update(ChatMessage).where(ChatMessage.chat_id.in_(chats)).values(text=None, erased_at=now))
    session.execute(update(ThreadMessage).where(ThreadMessage.author_id == user.id).values(body=GONE))
    user.email, user.name, user.password_hash, user.status = f"erased-{user.id}@invalid", "", None, "erased"


def _tombstone(
    session: Session, subject: str, sha: str, reason: str, actor: str, prompts: Sequence[str], counts: _Counts, now: int
) -> Erased:
    affected = exports_with(session, prompts)
    numbers = asdict(counts)
    session.add(
        Erasure(
            subject=subject,
            sha256=sha,
            reason=reason[:200],
            actor=actor,
            affected_exports={"ids": list(affected), "counts": numbers},
            created_at=now,
        )
    )
    session.flush()
    detail = {"reason": reason[:200], "affected_exports": list(affected), **numbers}
    audit.append(session, actor=actor, action="erase", object=subject, detail=detail, now=now)
    return _erased(subject, affected, counts)


def _overwrite(session: Session) -> None:
    """Let SQLite overwrite what it frees with zeros, in this transaction."""
    if session.get_bind().dialect.name == "sqlite":
        session.execute(text("PRAGMA secure_delete=ON"))


def _empty_log(db: Database) -> None:
    """Move the write-ahead log into the file and empty it: it still holds the pages as they were."""
    if db.dialect == "sqlite":
        connection = db.engine.raw_connection()
        try:
            connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            connection.close()
