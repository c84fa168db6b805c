"""Scores of the screening's parts: pure functions of items and answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from instructloop.core.errors import DataError
from instructloop.feedback.answers import wrong
from instructloop.feedback.gold import ranking_score


@dataclass(frozen=True, kw_only=True, slots=True)
class Scored:
    """The result of one part. ``score`` is a share, or 1..7 for demonstrations, or None where nothing is scored (yet)."""

    score: float | None
    items: tuple[float | None, ...]


def score_items(kind: str, expected: Sequence[Mapping[str, Any]], answers: Sequence[Mapping[str, Any]]) -> Scored:
    """Score the answers to one part's items, in order.

    sensitive: share of items with the researchers' yes or no. ranking: mean over items of the pairwise agreement with the
    researchers' ranking (:func:`instructloop.feedback.gold.ranking_score`: pairs they tie are free, a tie of a pair they order is
    a half). demonstration: mean over texts of the mean rating 1..7, None until each text is rated. self: None.

    Raises:
        DataError: an answer does not fit its item.
    """
    if len(expected) != len(answers):
        raise DataError(f"screening: {len(answers)} answers for {len(expected)} questions", hint="reload the page")
    items = tuple(_one(kind, wanted, given) for wanted, given in zip(expected, answers, strict=True))
    known = [value for value in items if value is not None]
    complete = bool(items) and len(known) == len(items)
    return Scored(score=sum(known) / len(known) if complete else None, items=items)


def _one(kind: str, expected: Mapping[str, Any], answer: Mapping[str, Any]) -> float | None:
    if kind == "sensitive":
        return float(answer["sensitive"] == expected["sensitive"])
    if kind == "ranking":
        return ranking_score(answer["tiers"], expected["tiers"])
    if kind == "demonstration":
        ratings = answer.get("ratings", {})
        return sum(ratings.values()) / len(ratings) if ratings else None
    return None


def check_answer(kind: str, payload: Mapping[str, Any], answer: Mapping[str, Any], name: str) -> None:
    """Raise DataError, its message beginning with ``name``, unless an answer is complete."""
    if kind == "sensitive" and answer.get("sensitive") not in {"yes", "no"}:
        raise wrong(name, "has no answer", "choose yes or no")
    if kind == "ranking":
        k = len(payload["outputs"])
        tiers = answer.get("tiers")
        if not isinstance(tiers, list) or len(tiers) != k or not all(isinstance(tier, int) and 1 <= tier <= k for tier in tiers):
            raise wrong(name, "has an answer without a rank", "give every answer a rank; equal ranks are a tie")
    if kind == "demonstration":
        text = str(answer.get("text", ""))
        if not text.strip():
            raise wrong(name, "is empty", "write an answer")
        if len(text.encode()) > 16_000:
            raise wrong(name, "is longer than 16,000 bytes", "shorten it")
    if kind == "self" and len(str(answer.get("text", "")).encode()) > 4_000:
        raise wrong(name, "is longer than 4,000 bytes", "shorten it")


def check_item(kind: str, payload: Mapping[str, Any], expected: Mapping[str, Any], where: str) -> None:
    """Raise DataError unless a question can be shown and scored.

    Raises:
        DataError: naming the place and the field.
    """
    if kind == "sensitive":
        if not str(payload.get("text", "")).strip():
            raise DataError(f"{where}: payload.text is missing", hint='{"payload": {"text": "..."}, "expected": {"sensitive": "yes"}}')
        if expected.get("sensitive") not in {"yes", "no"}:
            raise DataError(f"{where}: expected.sensitive must be yes or no", hint="say what the researchers answered")
    elif kind == "ranking":
        outputs, tiers = payload.get("outputs"), expected.get("tiers")
        if not str(payload.get("prompt", "")).strip() or not isinstance(outputs, list) or not 2 <= len(outputs) <= 9:
            raise DataError(
                f"{where}: payload needs prompt and 2 to 9 outputs", hint='{"payload": {"prompt": "...", "outputs": ["...", "..."]}}'
            )
        if (
            not isinstance(tiers, list)
            or len(tiers) != len(outputs)
            or not all(isinstance(t, int) and 1 <= t <= len(outputs) for t in tiers)
        ):
            raise DataError(f"{where}: expected.tiers needs a number 1..{len(outputs)} for each output", hint="1 is best, equal is a tie")
    elif kind == "demonstration":
        if not str(payload.get("prompt", "")).strip():
            raise DataError(f"{where}: payload.prompt is missing", hint='{"payload": {"prompt": "..."}}')
    elif kind == "self":
        if not str(payload.get("question", "")).strip() or not isinstance(payload.get("options", []), list):
            raise DataError(
                f"{where}: payload needs question and a list options (may be empty)", hint='{"payload": {"question": "...", "options": []}}'
            )
    else:
        raise DataError(f"{where}: kind {kind!r} is not known", hint="sensitive, ranking, demonstration or self")
