"""Answers coming in: checked, stored once, never thrown away. An edit is a new revision; nothing is overwritten."""

from dataclasses import dataclass

from sqlalchemy import Select, select
from sqlalchemy.orm import Session, aliased

from instructloop.core.errors import DataError
from instructloop.feedback.answer_rows import answer_of, answer_sha256, check_answer, clean, slots_of, write_answer
from instructloop.feedback.answers import MAX_TEXT_BYTES, Answer, InstructionAnswer, RankingAnswer, RatingAnswer, ToxicityAnswer
from instructloop.feedback.assignment import owned, set_aside
from instructloop.feedback.database import Database
from instructloop.feedback.drafts import clear_draft
from instructloop.feedback.gold import passes, score_gold
from instructloop.feedback.ids import now_ms
from instructloop.feedback.refusals import NotEditableError, UnknownTaskError
from instructloop.feedback.schema import (
    Adjudication,
    Assignment,
    CompletionRow,
    Gold,
    GoldResult,
    PromptRow,
    Queue,
    Submission,
    Task,
)
from instructloop.feedback.slots import lock_task, settle, take

__all__ = ["Receipt", "answer_of", "asks_prompt_flags", "last_submission", "latest", "revise", "submit"]

FASTEST_MS = 2_000
READING_WORDS_PER_MINUTE = 900
"""Nobody reads faster: an answer in less than the words take, or in less than two seconds, is marked (never rejected)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Receipt:
    """Proof that an answer is on disk."""

    submission_id: str
    rev: int
    surplus: bool
    """The task had all its answers by then; kept, and marked."""
    too_fast: bool
    warnings: tuple[str, ...]
    repeated: bool
    """The same submission had arrived before; nothing was added."""


@dataclass(frozen=True, slots=True)
class _Given:
    """What comes with an answer, beside it."""

    active_ms: int
    wall_ms: int
    confidence: int | None
    comment: str | None
    ui_version: str
    now: int


def submit(
    db: Database,
    assignment_id: str,
    labeler_id: str,
    idem_key: str,
    answer: Answer,
    *,
    active_ms: int = 0,
    wall_ms: int = 0,
    confidence: int | None = None,
    comment: str | None = None,
    ui_version: str = "",
    now: int | None = None,
) -> Receipt:
    """Store the answer to a leased task, in one short transaction; when this returns it is on disk.

    A lease that ran out does not matter: the answer counts if the task still wants one, otherwise it is kept as surplus.
    Repeating a submission gives the first receipt. A gold item is scored here; "contains personal information" quarantines the
    prompt here.

    Args:
        db: the store.
        idem_key: the lease's.
        active_ms: time on the task, see ``assignment.heartbeat``; a heartbeat's larger number holds.
        confidence: 1..9, None = not asked.
        ui_version: of the page, for later questions.

    Raises:
        UnknownTaskError: not the labeler's.
        DataError: the answer cannot be stored; the message begins with the field's name.
    """
    given = _given(active_ms, wall_ms, confidence, comment, ui_version, now)
    return db.transact(lambda session: _submit(session, assignment_id, labeler_id, idem_key, answer, given))


def revise(
    db: Database,
    submission_id: str,
    labeler_id: str,
    idem_key: str,
    answer: Answer,
    *,
    active_ms: int = 0,
    wall_ms: int = 0,
    confidence: int | None = None,
    comment: str | None = None,
    ui_version: str = "",
    now: int | None = None,
) -> Receipt:
    """Store an edited answer as the next revision.

    Args:
        submission_id: the newest revision, the one the labeler saw.
        idem_key: ``revision_key(...)`` of the edit, from ``task_view(...).lease.idem_key`` of the edit page.

    Raises:
        UnknownTaskError: not the labeler's.
        NotEditableError: ``edit_minutes`` after the first revision, or adjudicated, or a newer revision exists.
        DataError: as :func:`submit`.
    """
    given = _given(active_ms, wall_ms, confidence, comment, ui_version, now)
    return db.transact(lambda session: _revise(session, submission_id, labeler_id, idem_key, answer, given))


def revision_key(idem_key: str, rev: int) -> str:
    """The key of revision ``rev`` of the assignment whose key is ``idem_key``."""
    return idem_key if rev == 1 else f"{idem_key}:{rev}"


def _given(active_ms: int, wall_ms: int, confidence: int | None, comment: str | None, ui_version: str, now: int | None) -> _Given:
    if confidence is not None and not 1 <= confidence <= 9:
        raise DataError(f"confidence: {confidence} is not within 1..9", hint="1 = a guess ... 9 = certain")
    comment = clean(comment).strip() if comment else None
    if comment and len(comment.encode()) > MAX_TEXT_BYTES:
        raise DataError(f"comment: is longer than {MAX_TEXT_BYTES:,} bytes", hint="shorten it")
    return _Given(max(active_ms, 0), max(wall_ms, 0), confidence, comment or None, ui_version[:200], now_ms() if now is None else now)


def _submit(session: Session, assignment_id: str, labeler_id: str, idem_key: str, answer: Answer, given: _Given) -> Receipt:
    assignment = owned(session, assignment_id, labeler_id)
    if idem_key != assignment.idem_key:
        raise DataError("idem_key: is not this task's", hint="reload the page")
    before = session.scalars(select(Submission).where(Submission.idem_key == idem_key)).one_or_none()
    if before is not None:
        return _receipt(session, before, repeated=True)
    queue = session.get_one(Queue, assignment.queue_id)
    task = lock_task(session, assignment.task_id)
    assert task is not None  # a foreign key says so
    _check(queue, answer, task.k)
    counts = task.state != "withdrawn" if assignment.state == "leased" else take(session, task)
    assignment.state, assignment.ended_at = ("submitted" if counts else "surplus"), given.now
    assignment.active_ms = max(assignment.active_ms, given.active_ms)
    assignment.wall_ms = max(assignment.wall_ms, given.wall_ms) or max(given.now - assignment.leased_at, 0)
    submission = _store(session, assignment, task, queue, answer, given, previous=None, surplus=not counts)
    if counts and task.gold_id is None:
        task.done += 1
        task.taken = max(task.taken, task.done)
        settle(session, task, queue)
    clear_draft(session, assignment_id, given.now)
    _after(session, assignment, task, answer, queue, given.now)
    return _receipt(session, submission, repeated=False)


def _revise(session: Session, submission_id: str, labeler_id: str, idem_key: str, answer: Answer, given: _Given) -> Receipt:
    previous = session.get(Submission, submission_id)
    if previous is None or previous.labeler_id != labeler_id:
        raise UnknownTaskError.of("answer", submission_id)
    assignment = owned(session, previous.assignment_id, labeler_id)
    repeated = session.scalars(select(Submission).where(Submission.idem_key == idem_key, Submission.rev > 1)).one_or_none()
    if repeated is not None and repeated.assignment_id == assignment.id:
        return _receipt(session, repeated, repeated=True)
    why = why_not_editable(session, previous, given.now)
    if why:
        raise NotEditableError(why, hint="write to the research team if it matters")
    if idem_key != revision_key(assignment.idem_key, previous.rev + 1):
        raise DataError("idem_key: is not this edit's", hint="reload the page")
    queue = session.get_one(Queue, assignment.queue_id)
    task = lock_task(session, assignment.task_id)
    assert task is not None  # a foreign key says so
    _check(queue, answer, task.k)
    submission = _store(session, assignment, task, queue, answer, given, previous=previous, surplus=previous.surplus)
    if not previous.surplus:
        settle(session, task, queue)
    clear_draft(session, assignment.id, given.now)
    _after(session, assignment, task, answer, queue, given.now)
    return _receipt(session, submission, repeated=False)


def why_not_editable(session: Session, submission: Submission, now: int) -> str:
    """Why an answer can no longer be edited; empty = it can."""
    if submission.erased_at is not None:
        return "this answer was erased"
    if session.scalar(select(Submission.id).where(Submission.supersedes == submission.id)):
        return "this answer was edited meanwhile; a newer revision exists"
    if session.scalar(select(Adjudication.id).where(Adjudication.task_id == submission.task_id)):
        return "this task was adjudicated"
    if now > edit_until(session, submission):
        return "the time for editing is over"
    return ""


def edit_until(session: Session, submission: Submission) -> int:
    """Until when (UTC ms) an answer may be edited: ``edit_minutes`` after its first revision."""
    first = select(Submission.created_at).where(Submission.assignment_id == submission.assignment_id, Submission.rev == 1)
    minutes = select(Queue.edit_minutes).join(Task, Task.queue_id == Queue.id).where(Task.id == submission.task_id)
    return session.scalars(first).one() + session.scalars(minutes).one() * 60_000


def asks_prompt_flags(queue: Queue) -> bool:
    """Whether the page asks the fields of the instruction; a rating page does unless the queue says otherwise (spec B10)."""
    return queue.kind == "instruction" or (queue.kind in {"rate", "rate_and_rank"} and bool(queue.settings.get("ask_prompt_flags", True)))


def _check(queue: Queue, answer: Answer, k: int) -> None:
    check_answer(queue.kind, answer, k)
    if isinstance(answer, RatingAnswer) and asks_prompt_flags(queue):
        InstructionAnswer(prompt_flags=answer.prompt_flags).check(k)


def _store(
    session: Session,
    assignment: Assignment,
    task: Task,
    queue: Queue,
    answer: Answer,
    given: _Given,
    *,
    previous: Submission | None,
    surplus: bool,
) -> Submission:
    completions = slots_of(session, task.id)
    rev = 1 if previous is None else previous.rev + 1
    # an edit states its own time; a first answer also what heartbeats brought
    active = given.active_ms if previous else assignment.active_ms
    wall = given.wall_ms if previous else assignment.wall_ms
    submission = Submission(
        assignment_id=assignment.id,
        task_id=task.id,
        labeler_id=assignment.labeler_id,
        kind=queue.kind,
        rev=rev,
        supersedes=None if previous is None else previous.id,
        idem_key=revision_key(assignment.idem_key, rev),
        guideline_id=assignment.guideline_id or queue.guideline_id,
        ui_version=given.ui_version,
        display_order={"slots": list(assignment.display_order)},
        confidence=given.confidence,
        comment=given.comment,
        active_ms=active,
        wall_ms=wall,
        too_fast=previous is None and (active or wall) < _fastest_ms(session, task, completions),
        surplus=surplus,
        origin={},
        sha256=answer_sha256(queue.kind, answer),
        created_at=given.now,
    )
    session.add(submission)
    session.flush()
    left_is_a = not assignment.display_order or assignment.display_order[0] == 0
    write_answer(session, submission, answer, completions, left_is_a=left_is_a, keep_flags=asks_prompt_flags(queue))
    session.flush()
    if task.gold_id is not None:
        gold = session.get_one(Gold, task.gold_id)
        score = score_gold(queue.kind, answer, gold.expected, gold.tolerance)
        session.add(GoldResult(submission_id=submission.id, gold_id=gold.id, score=score, passed=passes(score, gold.tolerance)))
        session.flush()
    return submission


def _fastest_ms(session: Session, task: Task, completions: list[str]) -> int:
    texts = [session.scalars(select(PromptRow.text).where(PromptRow.id == task.prompt_id)).one()]
    if completions:
        texts += session.scalars(select(CompletionRow.text).where(CompletionRow.id.in_(completions))).all()
    words = sum(len((text or "").split()) for text in texts)
    return max(FASTEST_MS, words * 60_000 // READING_WORDS_PER_MINUTE)


def _after(session: Session, assignment: Assignment, task: Task, answer: Answer, queue: Queue, now: int) -> None:
    """What an answer sets off beyond its own rows."""
    if isinstance(answer, RatingAnswer | InstructionAnswer) and answer.prompt_flags.get("pii") == "yes" and asks_prompt_flags(queue):
        prompt = session.get_one(PromptRow, task.prompt_id)
        if prompt.pii_status != "quarantined":
            set_aside(session, assignment, now)


def _receipt(session: Session, submission: Submission, *, repeated: bool) -> Receipt:
    return Receipt(
        submission_id=submission.id,
        rev=submission.rev,
        surplus=submission.surplus,
        too_fast=submission.too_fast,
        warnings=contradictions(answer_of(session, submission.id)),
        repeated=repeated,
    )


def contradictions(answer: Answer) -> tuple[str, ...]:
    """Where Likert and ranking order two outputs in opposite ways: said, never refused, and both are kept."""
    if not isinstance(answer, RatingAnswer) or answer.ranking is None:
        return ()
    ranks, found = answer.ranking.ranks, []
    for i, first in enumerate(answer.outputs):
        for j, second in enumerate(answer.outputs):
            a, b = ranks[i], ranks[j]
            if a is not None and b is not None and a < b and first.overall < second.overall:
                found.append(f"slot {i} is ranked above slot {j}, but rated {first.overall} against {second.overall}")
    return tuple(found)


def latest() -> Select[Submission]:
    """Submissions that are the newest revision of their assignment, surplus ones among them; add your own ``where``."""
    newer = aliased(Submission)
    return select(Submission).where(~select(newer.id).where(newer.supersedes == Submission.id).exists())


def last_submission(db: Database, labeler_id: str) -> Submission | None:
    """The labeler's most recent answer (newest revision), for "Edit last"."""
    with db.read() as session:
        mine = latest().where(Submission.labeler_id == labeler_id).order_by(Submission.created_at.desc(), Submission.id.desc())
        return session.scalars(mine.limit(1)).one_or_none()


def ranking_of(answer: Answer) -> RankingAnswer | None:
    """The ranking within an answer of any kind, if it has one."""
    match answer:
        case RankingAnswer():
            return answer
        case RatingAnswer() | ToxicityAnswer():
            return answer.ranking
        case _:
            return None
