"""Drafts: what a labeler has entered so far, kept on the server within a second of typing."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from instructloop.core.errors import DataError
from instructloop.core.hashing import canonical_json
from instructloop.feedback.database import Database
from instructloop.feedback.ids import now_ms
from instructloop.feedback.refusals import StaleDraftError, UnknownTaskError
from instructloop.feedback.schema import Assignment, Draft

MAX_DRAFT_BYTES = 512_000


@dataclass(frozen=True, slots=True)
class Saved:
    """A draft as the store holds it: its number and the time (UTC ms) for "saved 12:03:04"."""

    rev: int
    at: int


def save_draft(db: Database, assignment_id: str, labeler_id: str, body: dict[str, Any], base_rev: int, *, now: int | None = None) -> Saved:
    """Keep a draft that was made on top of draft number ``base_rev`` (0 = none yet).

    Saving the same body twice (a retry after a lost reply) is the same as saving it once. A draft is taken for as long as the
    assignment exists, also after the lease ran out: typing is never lost.

    Raises:
        UnknownTaskError: not the labeler's.
        StaleDraftError: another tab saved meanwhile, or the answer was submitted; ``current_rev`` is what the store holds.
        DataError: too big.
    """
    if len(canonical_json(body).encode()) > MAX_DRAFT_BYTES:
        raise DataError(f"draft: is longer than {MAX_DRAFT_BYTES:,} bytes", hint="shorten the answer")
    at = now_ms() if now is None else now
    with db.write() as session:
        _own(session, assignment_id, labeler_id, lock=True)
        draft = session.get(Draft, assignment_id)
        if draft is None:
            if base_rev != 0:
                raise StaleDraftError.behind(0)
            session.add(Draft(assignment_id=assignment_id, body=body, rev=1, updated_at=at))
            return Saved(1, at)
        if draft.rev == base_rev + 1 and draft.body == body:
            return Saved(draft.rev, draft.updated_at)
        if draft.rev != base_rev:
            raise StaleDraftError.behind(draft.rev)
        draft.body, draft.rev, draft.updated_at = body, base_rev + 1, at
        return Saved(draft.rev, at)


def load_draft(db: Database, assignment_id: str, labeler_id: str) -> tuple[dict[str, Any], int]:
    """The draft's body ({} = nothing entered) and its number.

    Raises:
        UnknownTaskError: not the labeler's.
    """
    with db.read() as session:
        _own(session, assignment_id, labeler_id)
        return draft_of(session, assignment_id)


def draft_of(session: Session, assignment_id: str) -> tuple[dict[str, Any], int]:
    """Body and number, ``({}, 0)`` where there is none."""
    draft = session.get(Draft, assignment_id)
    return (draft.body, draft.rev) if draft is not None else ({}, 0)


def clear_draft(session: Session, assignment_id: str, now: int) -> None:
    """Empty a draft on submission. Its number goes up, so that a save still on its way is told that it is behind."""
    draft = session.get(Draft, assignment_id)
    if draft is None:
        session.add(Draft(assignment_id=assignment_id, body={}, rev=1, updated_at=now))
    else:
        draft.body, draft.rev, draft.updated_at = {}, draft.rev + 1, now


def _own(session: Session, assignment_id: str, labeler_id: str, *, lock: bool = False) -> None:
    assignment = session.get(Assignment, assignment_id, with_for_update={"key_share": True} if lock else None)
    if assignment is None or assignment.labeler_id != labeler_id:
        raise UnknownTaskError.of("task", assignment_id)
