"""Votes of people, stored in a file: the one judgement that no model stands behind."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from instructloop.core.errors import DataError
from instructloop.core.records import PromptContent, prompt_text
from instructloop.formats import read_rows
from instructloop.formats.fields import prompt as read_prompt
from instructloop.formats.loaded import RowProblemError

_OUTCOMES: Mapping[str, float] = {"a": 1.0, "b": 0.0, "tie": 0.5, "both_bad": 0.5}


@dataclass(frozen=True, kw_only=True, slots=True)
class Vote:
    """One blind comparison."""

    prompt: PromptContent
    model_a: str
    model_b: str
    win_a: float
    """1 if A was better, 0 if B was, 0.5 for a tie or for both bad."""
    completion_a: str | None = None
    completion_b: str | None = None
    labeler: str | None = None
    both_bad: bool = False
    """A tie in which neither was good enough; counted as a tie and told apart."""

    @property
    def key(self) -> str:
        """What intervals cluster by."""
        return prompt_text(self.prompt)


def read_votes(source: str | Path | Iterable[Mapping[str, Any]]) -> list[Vote]:
    """Rows ``{"prompt", "model_a", "model_b", "winner": "a" | "b" | "tie" | "both_bad"}``; ``completion_a``, ``completion_b`` and ``labeler`` are kept.

    ``winner`` may also be the name of the model that won.

    Raises:
        DataError: a row misses a field, compares a model with itself or has another winner; or there is no row.
    """
    votes = []
    if isinstance(source, str | Path):
        rows: Iterable[tuple[str, Mapping[str, Any]]] = ((str(where), row) for where, row in read_rows(source))
    else:
        rows = ((f"<list>:{number}", row) for number, row in enumerate(source, start=1))
    for where, row in rows:
        votes.append(_vote(where, row))
    if not votes:
        raise DataError(
            f"{source}: no votes", hint='one row a vote: {"prompt", "model_a", "model_b", "winner": "a" | "b" | "tie" | "both_bad"}'
        )
    return votes


def _vote(where: str, row: Mapping[str, Any]) -> Vote:
    for name in ("prompt", "model_a", "model_b", "winner"):
        if row.get(name) in (None, ""):
            raise DataError(f"{where}: {name}: missing", hint='a vote needs "prompt", "model_a", "model_b" and "winner"')
    a, b, winner = str(row["model_a"]), str(row["model_b"]), str(row["winner"]).strip()
    if a == b:
        raise DataError(f"{where}: model_b: {b!r} is compared with itself", hint="remove the row")
    named = {a: "a", b: "b"}.get(winner, winner.lower())
    if named not in _OUTCOMES:
        raise DataError(f"{where}: winner: {winner!r} is none of a, b, tie, both_bad", hint=f"or one of the models' names: {a}, {b}")
    try:
        prompt = read_prompt(row["prompt"])
    except RowProblemError as problem:
        raise DataError(f"{where}: prompt: {problem}", hint="a text, or a list of messages") from problem
    return Vote(
        prompt=prompt,
        model_a=a,
        model_b=b,
        win_a=_OUTCOMES[named],
        completion_a=row.get("completion_a"),
        completion_b=row.get("completion_b"),
        labeler=row.get("labeler"),
        both_bad=named == "both_bad",
    )
