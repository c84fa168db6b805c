"""Gold items: tasks whose answer is known. In training they explain themselves; in work they look like every other task (spec B21).

An expectation names only what is to be checked; what it leaves out is free:

=================  ==============================================================================================
kind               ``expected``
=================  ==============================================================================================
rank               ``{"tiers": [1, 2, 2]}`` by slot
pairwise           ``{"winner": "0" | "1" | "tie" | "both_bad"}``
instruction        ``{"prompt_flags": {"pii": "no", ...}}``
rate               ``{"outputs": [{"overall": 6, "flags": {...}}, ...], "prompt_flags": {...}}``
rate_and_rank      as ``rate``, and ``"tiers"``
toxicity           ``{"input_toxicity": 1, "outputs": [{"toxicity": 0, ...}], "tiers": [...]}``
=================  ==============================================================================================

Texts (demonstration, edit, critique) and adjudications have no gold: nobody can score them without reading.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import case, func, select

from instructloop.core.errors import DataError
from instructloop.feedback.answers import Answer, InstructionAnswer, PairwiseAnswer, RankingAnswer, RatingAnswer, ToxicityAnswer
from instructloop.feedback.database import Database
from instructloop.feedback.schema import Gold, GoldResult

SCORED_KINDS = ("rank", "rate", "rate_and_rank", "pairwise", "instruction", "toxicity")
NEAR_LIKERT = 1
"""A Likert answer this close to the expected one is right: two careful people often differ by one point."""


def score_gold(kind: str, answer: Answer, expected: Mapping[str, Any], tolerance: float = 0.0) -> float:
    """The share of what is checked that the answer got right, 0..1; see :func:`passes` for the verdict.

    Rankings: over the pairs that the expectation orders, 1 for the same order, a half for a tie, 0 for the reverse. Pairs that
    it ties are free, for who expects a tie sees no difference; if it ties everything, a tie scores 1 and an order a half.

    Args:
        kind: the queue's kind.
        answer: what was answered, by slot.
        expected: as in the table above.
        tolerance: unused by the score; here so that a caller can pass a gold row's columns as they are.

    Raises:
        DataError: the kind has no gold, or answer and expectation do not fit together.
    """
    del tolerance
    parts = _parts(kind, answer, expected)
    if not parts:
        raise DataError(f"gold of kind {kind}: the expectation checks nothing", hint="name at least one tier, flag or number")
    return sum(parts) / len(parts)


def passes(score: float, tolerance: float) -> bool:
    """Whether a score is good enough: at least ``1 - tolerance``."""
    return score >= 1.0 - tolerance - 1e-9


def _parts(kind: str, answer: Answer, expected: Mapping[str, Any]) -> list[float]:
    """One number 0..1 for each thing checked; a ranking counts as one thing."""
    match answer:
        case RankingAnswer():
            return [ranking_score(answer.tiers, expected["tiers"])] if "tiers" in expected else []
        case PairwiseAnswer():
            return [_winner(answer.winner, str(expected.get("winner", "")))]
        case InstructionAnswer():
            return _flags(answer.prompt_flags, expected.get("prompt_flags", {}))
        case RatingAnswer():
            return _rating(answer, expected)
        case ToxicityAnswer():
            return _toxicity(answer, expected)
        case _:
            raise DataError(f"answers of kind {kind!r} have no gold", hint=f"kinds with gold: {', '.join(SCORED_KINDS)}")


def _rating(answer: RatingAnswer, expected: Mapping[str, Any]) -> list[float]:
    parts = _flags(answer.prompt_flags, expected.get("prompt_flags", {}))
    outputs = expected.get("outputs", [])
    _same_length("outputs", len(answer.outputs), len(outputs) or len(answer.outputs))
    for given, wanted in zip(answer.outputs, outputs, strict=False):
        if wanted.get("overall") is not None:
            parts.append(float(abs(given.overall - int(wanted["overall"])) <= NEAR_LIKERT))
        parts += _flags(given.flags, wanted.get("flags", {}))
    if answer.ranking is not None and "tiers" in expected:
        parts.append(ranking_score(answer.ranking.tiers, expected["tiers"]))
    return parts


def _toxicity(answer: ToxicityAnswer, expected: Mapping[str, Any]) -> list[float]:
    parts: list[float] = []
    if expected.get("input_toxicity") is not None:
        parts.append(float(answer.input_toxicity == int(expected["input_toxicity"])))
    outputs = expected.get("outputs", [])
    _same_length("outputs", len(answer.outputs), len(outputs) or len(answer.outputs))
    for given, wanted in zip(answer.outputs, outputs, strict=False):
        exact = [name for name in ("toxicity", "relative") if wanted.get(name) is not None]
        parts += [float(getattr(given, name) == int(wanted[name])) for name in exact]
        if wanted.get("continuity") is not None:
            parts.append(float(abs(given.continuity - int(wanted["continuity"])) <= NEAR_LIKERT))
    if "tiers" in expected:
        parts.append(ranking_score(answer.ranking.tiers, expected["tiers"]))
    return parts


def _flags(given: Mapping[str, str], wanted: Mapping[str, str]) -> list[float]:
    return [float(given.get(key) == value) for key, value in wanted.items()]


def _winner(given: str, wanted: str) -> float:
    """1 for the same vote; a half where one says which and the other sees no difference; "both bad" is a tie too."""
    if given == wanted:
        return 1.0
    ties = {"tie", "both_bad"}
    return 0.5 if given in ties or wanted in ties else 0.0


def ranking_score(given: Sequence[int | None], wanted: Sequence[int | None]) -> float:
    """Agreement of a ranking with the expected one, 0..1, over the pairs that the expectation orders (ties there are free).

    Raises:
        DataError: different numbers of places, or fewer than two expected ones.
    """
    _same_length("tiers", len(given), len(wanted))
    strict: list[float] = []
    tied: list[float] = []
    for i in range(len(wanted)):
        for j in range(i + 1, len(wanted)):
            low, high = wanted[i], wanted[j]
            if low is None or high is None:
                continue
            shown = _sign(given[i], given[j])
            if low == high:
                tied.append(1.0 if shown == 0 else 0.5)
            else:
                strict.append(0.5 if shown == 0 else float(shown == _sign(low, high)))
    pairs = strict or tied
    if not pairs:
        raise DataError("gold: the expected ranking has fewer than two places", hint="give a tier for at least two outputs")
    return sum(pairs) / len(pairs)


def _sign(a: int | None, b: int | None) -> int:
    """-1, 0 or 1; what was left out of the ranking is worse than every place."""
    left = 1_000 if a is None else a
    right = 1_000 if b is None else b
    return (left > right) - (left < right)


def _same_length(name: str, given: int, wanted: int) -> None:
    if given != wanted:
        raise DataError(f"gold: {name} has {wanted} places, the answer {given}", hint="write the expectation for this task's outputs")


def check_expected(kind: str, expected: Mapping[str, Any], k: int) -> None:
    """Raise DataError unless an expectation can be scored for a task of ``k`` outputs."""
    if kind not in SCORED_KINDS:
        raise DataError(f"answers of kind {kind!r} have no gold", hint=f"kinds with gold: {', '.join(SCORED_KINDS)}")
    known = {
        "rank": {"tiers"},
        "rate": {"outputs", "prompt_flags"},
        "rate_and_rank": {"outputs", "prompt_flags", "tiers"},
        "pairwise": {"winner"},
        "instruction": {"prompt_flags"},
        "toxicity": {"input_toxicity", "outputs", "tiers"},
    }[kind]
    unknown = sorted(set(expected) - known)
    if unknown or not expected:
        raise DataError(f"gold of kind {kind}: cannot check {', '.join(unknown) or 'nothing'}", hint=f"use {', '.join(sorted(known))}")
    for name in ("tiers", "outputs"):
        if name in expected:
            _same_length(name, k, len(expected[name]))
    for tier in expected.get("tiers", []):
        if tier is not None and not (isinstance(tier, int) and 1 <= tier <= k):
            raise DataError(f"gold: tier {tier!r} is not within 1..{k}", hint="1 is best; equal tiers are a tie")
    if kind == "pairwise" and expected["winner"] not in {"0", "1", "tie", "both_bad"}:
        raise DataError(f"gold: winner cannot be {expected['winner']!r}", hint='use "0", "1", "tie" or "both_bad"')


def add_gold(
    db: Database, *, kind: str, expected: Mapping[str, Any], k: int, tolerance: float = 0.25, explanation: str = "", active: bool = True
) -> str:
    """Keep an expectation; ``queues.add_tasks`` with its identifier then puts the item before labelers.

    Args:
        db: the open store.
        kind: the queue's kind.
        expected: as in this module's table.
        k: the number of outputs of the task it belongs to.
        tolerance: a score of at least ``1 - tolerance`` passes.
        explanation: why, in the labeler's words; shown in training only.
        active: whether it may be given out.

    Returns:
        The gold item's identifier.

    Raises:
        DataError: the expectation cannot be scored.
    """
    check_expected(kind, expected, k)
    if not 0.0 <= tolerance <= 1.0:
        raise DataError(f"gold: tolerance {tolerance} is not within 0..1", hint="0.25 forgives a quarter of what is checked")
    with db.write() as session:
        gold = Gold(kind=kind, expected=dict(expected), tolerance=tolerance, explanation=explanation, active=active)
        session.add(gold)
        session.flush()
        return gold.id


def set_active(db: Database, gold_id: str, *, active: bool) -> None:
    """Take a gold item out of work, or put it back; its results stay.

    Raises:
        DataError: there is no such item.
    """
    with db.write() as session:
        gold = session.get(Gold, gold_id)
        if gold is None:
            raise DataError(f"no gold item {gold_id}", hint="reload the list")
        gold.active = active


def gold_counts(db: Database, gold_id: str) -> tuple[int, int]:
    """How often an item was answered, and passed."""
    with db.read() as session:
        row = session.execute(
            select(func.count(), func.sum(case((GoldResult.passed, 1), else_=0))).where(GoldResult.gold_id == gold_id)
        ).one()
        return int(row[0]), int(row[1] or 0)
