"""Answers to rows and back: the one place that knows in which tables an answer lies."""

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from instructloop.core.errors import DataError
from instructloop.core.hashing import hash_bytes, hash_json
from instructloop.feedback.answers import (
    AdjudicationAnswer,
    Answer,
    CritiqueAnswer,
    DemonstrationAnswer,
    InstructionAnswer,
    OutputRating,
    OutputToxicity,
    PairwiseAnswer,
    RankingAnswer,
    RatingAnswer,
    ToxicityAnswer,
)
from instructloop.feedback.schema import (
    Adjudication,
    Critique,
    DemonstrationRow,
    Flag,
    PairwiseVote,
    RankingItem,
    RankingRow,
    Rating,
    Submission,
    Task,
    TaskItem,
    Toxicity,
)

ANSWERS: Mapping[str, type[Answer]] = {
    "demonstration": DemonstrationAnswer,
    "edit": DemonstrationAnswer,
    "rank": RankingAnswer,
    "rate": RatingAnswer,
    "rate_and_rank": RatingAnswer,
    "pairwise": PairwiseAnswer,
    "instruction": InstructionAnswer,
    "toxicity": ToxicityAnswer,
    "critique": CritiqueAnswer,
    "adjudicate": AdjudicationAnswer,
}
OUTCOMES = {"0": "a", "1": "b", "tie": "tie", "both_bad": "both_bad"}
_WINNERS = {outcome: winner for winner, outcome in OUTCOMES.items()}


def check_answer(kind: str, answer: Answer, k: int) -> None:
    """Raise DataError unless the answer is one of the queue's kind and can be stored for a task of ``k`` completions."""
    wanted = ANSWERS[kind]
    if not isinstance(answer, wanted):
        raise DataError(f"answer: a {kind} task takes a {wanted.__name__}, not a {type(answer).__name__}", hint="reload the page")
    if isinstance(answer, RatingAnswer) and (answer.ranking is not None) != (kind == "rate_and_rank"):
        raise DataError(f"tiers: a {kind} task takes {'a' if kind == 'rate_and_rank' else 'no'} ranking", hint="reload the page")
    answer.check(k)


def clean(text: str) -> str:
    """NFC, and U+FFFD for U+0000, which PostgreSQL cannot hold."""
    return unicodedata.normalize("NFC", text.replace("\0", "\ufffd"))


def answer_json(answer: Answer) -> dict[str, Any]:
    """The answer as plain JSON, for its hash."""
    value: dict[str, Any] = asdict(answer)
    for part in (value, value.get("ranking") or {}):
        if "left_out" in part:
            part["left_out"] = sorted(part["left_out"])
    return value


def answer_sha256(kind: str, answer: Answer) -> str:
    """Hash of the kind and the whole answer."""
    return hash_json([kind, answer_json(answer)])


def slots_of(session: Session, task_id: str) -> list[str]:
    """The task's completions by slot."""
    return list(session.scalars(select(TaskItem.completion_id).where(TaskItem.task_id == task_id).order_by(TaskItem.slot)))


def write_answer(
    session: Session, submission: Submission, answer: Answer, completions: Sequence[str], *, left_is_a: bool = True, keep_flags: bool = True
) -> None:
    """Add the typed rows of an answer (append-only: nothing is changed).

    Args:
        session: in the submitting transaction, the submission already flushed.
        completions: identifiers by slot.
        left_is_a: whether slot 0 was shown on the left (pairwise).
        keep_flags: whether the instruction's fields were asked here; else they only said which output fields apply.
    """
    match answer:
        case DemonstrationAnswer():
            text = clean(answer.text)
            came_from = None if answer.edited_from is None else completions[answer.edited_from]
            row = DemonstrationRow(submission_id=submission.id, text=text, sha256=hash_bytes(text.encode()), edited_from=came_from)
            session.add(row)
        case RankingAnswer():
            _write_ranking(session, submission.id, answer, completions)
        case RatingAnswer():
            _write_rating(session, submission.id, answer, completions, keep_flags=keep_flags)
        case InstructionAnswer():
            _write_flags(session, submission.id, None, answer.prompt_flags)
        case PairwiseAnswer():
            vote = PairwiseVote(
                submission_id=submission.id,
                completion_a=completions[0],
                completion_b=completions[1],
                outcome=OUTCOMES[answer.winner],
                strength=answer.strength,
                left_is_a=left_is_a,
            )
            session.add(vote)
        case ToxicityAnswer():
            _write_toxicity(session, submission.id, answer, completions)
        case CritiqueAnswer():
            for completion, given in zip(completions, answer.texts, strict=True):
                text = clean(given)
                session.add(Critique(submission_id=submission.id, completion_id=completion, text=text, sha256=hash_bytes(text.encode())))
        case AdjudicationAnswer():
            _write_adjudication(session, submission, answer)


def _write_ranking(session: Session, submission_id: str, answer: RankingAnswer, completions: Sequence[str]) -> None:
    session.add(RankingRow(submission_id=submission_id, none_acceptable=answer.none_acceptable))
    session.flush()
    for completion, tier, rank in zip(completions, answer.tiers, answer.ranks, strict=True):
        session.add(RankingItem(submission_id=submission_id, completion_id=completion, tier=tier, rank=rank))


def _write_rating(session: Session, submission_id: str, answer: RatingAnswer, completions: Sequence[str], *, keep_flags: bool) -> None:
    if keep_flags:
        _write_flags(session, submission_id, None, answer.prompt_flags)
    for completion, output in zip(completions, answer.outputs, strict=True):
        session.add(
            Rating(
                submission_id=submission_id,
                completion_id=completion,
                overall=output.overall,
                included=output.included,
                note=clean(output.note) or None,
            )
        )
        _write_flags(session, submission_id, completion, output.flags)
    if answer.ranking is not None:
        _write_ranking(session, submission_id, answer.ranking, completions)


def _write_flags(session: Session, submission_id: str, completion: str | None, flags: Mapping[str, str]) -> None:
    for key, value in flags.items():
        session.add(Flag(submission_id=submission_id, completion_id=completion, key=key, value=value))


def _write_toxicity(session: Session, submission_id: str, answer: ToxicityAnswer, completions: Sequence[str]) -> None:
    session.add(Toxicity(submission_id=submission_id, completion_id=None, toxicity=answer.input_toxicity))
    for completion, output in zip(completions, answer.outputs, strict=True):
        session.add(
            Toxicity(
                submission_id=submission_id,
                completion_id=completion,
                toxicity=output.toxicity,
                relative=output.relative,
                continuity=output.continuity,
            )
        )
    _write_ranking(session, submission_id, answer.ranking, completions)


def _write_adjudication(session: Session, submission: Submission, answer: AdjudicationAnswer) -> None:
    task = session.get_one(Task, submission.task_id)
    about = task.adjudicates or task.id
    if answer.decision is not None:
        chosen = session.get(Submission, answer.decision)
        if chosen is None or chosen.task_id != about:
            raise DataError("decision: is not an answer to the task in question", hint="choose one of the answers shown, or none")
    session.add(
        Adjudication(
            task_id=about,
            submission_id=submission.id,
            decided_by=submission.labeler_id,
            decision_submission_id=answer.decision,
            taxonomy=answer.taxonomy,
            note=clean(answer.note),
        )
    )


def answer_of(session: Session, submission_id: str) -> Answer:
    """Read an answer back as it was given, by slot. Erased texts come back empty.

    Raises:
        DataError: there is no such submission.
    """
    submission = session.get(Submission, submission_id)
    if submission is None:
        raise DataError(f"there is no submission {submission_id!r}", hint="reload the page")
    completions = slots_of(session, submission.task_id)
    match submission.kind:
        case "demonstration" | "edit":
            written = session.get_one(DemonstrationRow, submission_id)
            slot = completions.index(written.edited_from) if written.edited_from in completions else None
            return DemonstrationAnswer(text=written.text or "", edited_from=slot)
        case "rank":
            return _read_ranking(session, submission_id, completions)
        case "rate" | "rate_and_rank":
            return _read_rating(session, submission, completions)
        case "instruction":
            return InstructionAnswer(prompt_flags=_read_flags(session, submission_id).get(None, {}))
        case "pairwise":
            vote = session.get_one(PairwiseVote, submission_id)
            return PairwiseAnswer(winner=_WINNERS[vote.outcome], strength=vote.strength)
        case "toxicity":
            return _read_toxicity(session, submission_id, completions)
        case "critique":
            rows = session.scalars(select(Critique).where(Critique.submission_id == submission_id))
            texts = {row.completion_id: row.text or "" for row in rows}
            return CritiqueAnswer(texts=tuple(texts.get(completion, "") for completion in completions))
        case _:
            decided = session.scalars(select(Adjudication).where(Adjudication.submission_id == submission_id)).one()
            return AdjudicationAnswer(decision=decided.decision_submission_id, taxonomy=decided.taxonomy, note=decided.note)


def _read_ranking(
    session: Session, submission_id: str, completions: Sequence[str], left_out: frozenset[int] = frozenset()
) -> RankingAnswer:
    frame = session.get_one(RankingRow, submission_id)
    rows = session.scalars(select(RankingItem).where(RankingItem.submission_id == submission_id))
    tiers = {row.completion_id: row.tier for row in rows}
    given = tuple(tiers.get(completion) for completion in completions)
    if not frame.none_acceptable:
        left_out = frozenset(slot for slot, tier in enumerate(given) if tier is None)
    return RankingAnswer(tiers=given, none_acceptable=frame.none_acceptable, left_out=left_out)


def _read_flags(session: Session, submission_id: str) -> dict[str | None, dict[str, str]]:
    """Flags by completion; None = the instruction's."""
    found: dict[str | None, dict[str, str]] = {}
    for row in session.scalars(select(Flag).where(Flag.submission_id == submission_id).order_by(Flag.id)):
        found.setdefault(row.completion_id, {})[row.key] = row.value
    return found


def _read_rating(session: Session, submission: Submission, completions: Sequence[str]) -> RatingAnswer:
    flags = _read_flags(session, submission.id)
    rows = {row.completion_id: row for row in session.scalars(select(Rating).where(Rating.submission_id == submission.id))}
    outputs = tuple(
        OutputRating(
            overall=rows[completion].overall,
            flags=flags.get(completion, {}),
            note=rows[completion].note or "",
            included=rows[completion].included,
        )
        for completion in completions
    )
    ranking = None
    if submission.kind == "rate_and_rank":
        left_out = frozenset(slot for slot, output in enumerate(outputs) if not output.included)
        ranking = _read_ranking(session, submission.id, completions, left_out)
    return RatingAnswer(prompt_flags=flags.get(None, {}), outputs=outputs, ranking=ranking)


def _read_toxicity(session: Session, submission_id: str, completions: Sequence[str]) -> ToxicityAnswer:
    rows = {row.completion_id: row for row in session.scalars(select(Toxicity).where(Toxicity.submission_id == submission_id))}
    outputs = tuple(
        OutputToxicity(toxicity=rows[c].toxicity, relative=rows[c].relative or 0, continuity=rows[c].continuity or 0) for c in completions
    )
    ranking = _read_ranking(session, submission_id, completions)
    return ToxicityAnswer(input_toxicity=rows[None].toxicity, outputs=outputs, ranking=ranking)
