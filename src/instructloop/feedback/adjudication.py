"""Disagreements, the worst first, and decisions about them. The raw answers stay and are exported too (labeling.md 2.12).

How far the answers to a task lie apart, 0..1: rankings by 1 - agreement with ties as a half, votes likewise, Likert answers by
their distance over 6, flags by the share of unequal pairs; a task with several of these takes the largest.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from instructloop.core.errors import DataError
from instructloop.core.hashing import hash_bytes
from instructloop.core.records import PromptContent
from instructloop.feedback import audit
from instructloop.feedback.analysis import FieldAnswer, RankedAnswer, VoteAnswer, field_answers, ranked_answers, vote_answers
from instructloop.feedback.answer_rows import answer_of, answer_sha256
from instructloop.feedback.answers import Answer
from instructloop.feedback.database import Database
from instructloop.feedback.ids import now_ms
from instructloop.feedback.records import prompt_of
from instructloop.feedback.refusals import UnknownTaskError
from instructloop.feedback.schema import Adjudication, CompletionRow, PromptRow, Queue, Submission, Task, TaskItem
from instructloop.feedback.schema.records import TAXONOMY
from instructloop.feedback.submissions import latest

TAXONOMY_TEXT: Final[Mapping[str, str]] = {
    "ambiguous_prompt": "The prompt can be read in two ways",
    "guideline_gap": "The guidelines do not say",
    "slip": "Somebody slipped",
    "subjective": "A matter of taste",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Disagreement:
    """A task whose answers differ."""

    task_id: str
    queue: str
    kind: str
    answers: int
    distance: float
    """0 = all alike, 1 = opposite."""
    opening: str
    """The prompt's first words."""
    decided: bool


def disagreements(db: Database, *, queue_id: str | None = None, decided: bool | None = False) -> list[Disagreement]:
    """Tasks with two answers or more that differ, the furthest apart first.

    Args:
        db: the open store.
        queue_id: of one queue only.
        decided: False = still open, True = decided, None = both.
    """
    distances = _distances(
        ranked_answers(db, queue_id=queue_id, shared=True),
        vote_answers(db, queue_id=queue_id, shared=True),
        field_answers(db, queue_id=queue_id, shared=True),
    )
    apart = sorted((task for task, value in distances.items() if value > 0), key=lambda task: (-distances[task], task))
    found = []
    with db.read() as session:
        settled = set(session.scalars(select(Adjudication.task_id)))
        for start in range(0, len(apart), 500):
            query = (
                select(Task.id, Queue.name, Queue.kind, Task.done, PromptRow.text)
                .join(Queue, Queue.id == Task.queue_id)
                .join(PromptRow, PromptRow.id == Task.prompt_id)
                .where(Task.id.in_(apart[start : start + 500]))
            )
            rows = {row[0]: row for row in session.execute(query)}
            found += [
                Disagreement(
                    task_id=task,
                    queue=rows[task][1],
                    kind=rows[task][2],
                    answers=rows[task][3],
                    distance=distances[task],
                    opening=(rows[task][4] or "(erased)")[:120],
                    decided=task in settled,
                )
                for task in apart[start : start + 500]
            ]
    return [one for one in found if decided is None or one.decided == decided]


def _distances(rankings: Sequence[RankedAnswer], votes: Sequence[VoteAnswer], fields: Sequence[FieldAnswer]) -> dict[str, float]:
    largest: dict[str, float] = defaultdict(float)

    def take(task: str, value: float | None) -> None:
        if value is not None:
            largest[task] = max(largest[task], value)

    ranked: dict[str, list[tuple[int | None, ...]]] = defaultdict(list)
    for answer in rankings:
        ranked[answer.task_id].append(answer.ranks)
    for task, given in ranked.items():
        take(task, _mean([ranking_distance(a, b) for a, b in combinations(given, 2)]))
    voted: dict[str, list[str]] = defaultdict(list)
    for vote in votes:
        voted[vote.task_id].append(vote.outcome)
    for task, outcomes in voted.items():
        take(task, _mean([_vote_distance(a, b) for a, b in combinations(outcomes, 2)]))
    asked: dict[tuple[str, str | None, str], list[str | int]] = defaultdict(list)
    for field in fields:
        asked[field.task_id, field.completion_id, field.key].append(field.value)
    parts: dict[str, list[float]] = defaultdict(list)
    for (task, _, key), values in asked.items():
        pairs = list(combinations(values, 2))
        parts[task] += [abs(int(a) - int(b)) / 6 if key == "overall" else float(a != b) for a, b in pairs]
    for task, differences in parts.items():
        take(task, _mean(differences))
    return dict(largest)


def ranking_distance(first: Sequence[int | None], second: Sequence[int | None]) -> float | None:
    """1 - the share of pairs ordered alike, one tie a half; None if no pair was ranked by both."""
    parts = []
    for (a, b), (c, d) in zip(combinations(first, 2), combinations(second, 2), strict=True):
        if a is None or b is None or c is None or d is None:
            continue
        left, right = (a > b) - (a < b), (c > d) - (c < d)
        parts.append(abs(left - right) / 2)
    return _mean(parts)


def _vote_distance(first: str, second: str) -> float:
    sides = {"a": 1, "b": -1}
    if first == second:
        return 0.0
    return max(abs(sides.get(first, 0) - sides.get(second, 0)) / 2, 0.25)  # "tie" against "both bad" is a small difference


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """One answer, nameless."""

    letter: str
    submission_id: str
    answer: Answer
    comment: str | None
    confidence: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class DecisionView:
    """What was decided: ``letter`` of the answer that holds, None = unresolved."""

    letter: str | None
    taxonomy: str
    note: str
    created_at: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """A task with all its answers side by side, in an order that says nothing about who gave them."""

    task_id: str
    queue: str
    kind: str
    prompt: PromptContent
    completions: tuple[str, ...]
    columns: tuple[Column, ...]
    decisions: tuple[DecisionView, ...]
    """Newest first; the newest holds."""
    provenance: str


def case(db: Database, task_id: str) -> Case:
    """The answers to a task for adjudication.

    Raises:
        UnknownTaskError: there is no such task.
        DataError: its prompt was erased.
    """
    with db.read() as session:
        task = session.get(Task, task_id)
        if task is None:
            raise UnknownTaskError.of("task", task_id)
        queue = session.get_one(Queue, task.queue_id)
        texts = session.scalars(
            select(CompletionRow.text)
            .join(TaskItem, TaskItem.completion_id == CompletionRow.id)
            .where(TaskItem.task_id == task_id)
            .order_by(TaskItem.slot)
        ).all()
        columns = _columns(session, task_id)
        decisions = _decisions(session, task_id, columns)
        return Case(
            task_id=task_id,
            queue=queue.name,
            kind=queue.kind,
            prompt=prompt_of(session.get_one(PromptRow, task.prompt_id)),
            completions=tuple(text or "(erased)" for text in texts),
            columns=columns,
            decisions=decisions,
            provenance=_provenance(columns, decisions, queue.kind),
        )


def _columns(session: Session, task_id: str) -> tuple[Column, ...]:
    rows = session.scalars(latest().where(Submission.task_id == task_id, Submission.erased_at.is_(None))).all()
    mixed = sorted(rows, key=lambda row: hash_bytes(f"{task_id}/{row.id}".encode()))
    return tuple(
        Column(
            letter=chr(ord("A") + number) if number < 26 else f"A{number}",
            submission_id=row.id,
            answer=answer_of(session, row.id),
            comment=row.comment,
            confidence=row.confidence,
        )
        for number, row in enumerate(mixed)
    )


def _decisions(session: Session, task_id: str, columns: Sequence[Column]) -> tuple[DecisionView, ...]:
    letters = {column.submission_id: column.letter for column in columns}
    rows = session.scalars(select(Adjudication).where(Adjudication.task_id == task_id).order_by(Adjudication.id.desc()))
    return tuple(
        DecisionView(letter=letters.get(row.decision_submission_id or ""), taxonomy=row.taxonomy, note=row.note, created_at=row.created_at)
        for row in rows
    )


def _provenance(columns: Sequence[Column], decisions: Sequence[DecisionView], kind: str) -> str:
    if decisions:
        return "adjudicated" if decisions[0].letter else "unresolved"
    counts = Counter(answer_sha256(kind, column.answer) for column in columns)
    most = max(counts.values(), default=0)
    if most == len(columns):
        return "unanimous"
    return "majority" if most * 2 > len(columns) else "unresolved"


def decide(
    db: Database, task_id: str, *, by: str, actor: str, decision: str | None, taxonomy: str, note: str = "", now: int | None = None
) -> str:
    """Keep a decision; an earlier one stays in the record, the newest holds.

    Args:
        db: the open store.
        task_id: the task in question.
        by: the deciding labeler.
        actor: their account, for the audit log.
        decision: the submission that holds, or None = unresolved.
        taxonomy: why the answers differ.
        note: in words.
        now: the time in UTC milliseconds.

    Raises:
        UnknownTaskError: there is no such task.
        DataError: an unknown taxonomy, an answer to another task, or a decider who answered the task.
    """
    if taxonomy not in TAXONOMY:
        raise DataError("taxonomy: has no answer", hint="say why the answers differ")
    with db.write() as session:
        if session.get(Task, task_id) is None:
            raise UnknownTaskError.of("task", task_id)
        given = {row.id: row for row in session.scalars(latest().where(Submission.task_id == task_id))}
        if decision is not None and decision not in given:
            raise DataError("decision: is not an answer to this task", hint="choose one of the answers shown, or none")
        if any(row.labeler_id == by for row in given.values()):
            raise DataError("you answered this task yourself", hint="leave the decision to somebody else")
        row = Adjudication(
            task_id=task_id,
            decided_by=by,
            decision_submission_id=decision,
            taxonomy=taxonomy,
            note=note.strip()[:8000],
            created_at=now or now_ms(),
        )
        session.add(row)
        session.flush()
        audit.append(
            session, actor=actor, action="adjudicate", object=f"task/{task_id}", detail={"decision": decision, "taxonomy": taxonomy}
        )
        return row.id
