"""Votes of people, stored in a file: the one judgement that no model stands behind."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from instructloop.core.errors import DataError
from instructloop.core.records import PromptContent, prompt_text
from instructloop.evaluation.ballots import Ballot
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
    cohort: str | None = None
    """Group of the labeler, e.g. training or heldout (spec G1)."""
    use_case: str | None = None
    a_first: bool | None = None
    """Whether A was shown first (left); None: unknown."""
    likert_a: float | None = None
    """Overall quality of A's answer, 1 to 7."""
    likert_b: float | None = None

    @property
    def key(self) -> str:
        """What intervals cluster by."""
        return prompt_text(self.prompt)

    def ballot(self) -> Ballot:
        """The vote as all tables read it."""
        return Ballot(
            prompt=self.key,
            a=self.model_a,
            b=self.model_b,
            win_a=self.win_a,
            both_bad=self.both_bad,
            use_case=self.use_case,
            characters_a=None if self.completion_a is None else len(self.completion_a),
            characters_b=None if self.completion_b is None else len(self.completion_b),
            a_first=self.a_first,
            labeler=self.labeler,
            cohort=self.cohort,
        )


def read_votes(source: str | Path | Iterable[Mapping[str, Any]]) -> list[Vote]:
    """Rows ``{"prompt", "model_a", "model_b", "winner": "a" | "b" | "tie" | "both_bad"}``; further fields of ``Vote`` are kept where they are given.

    ``winner`` may also be the name of the model that won. ``win_a`` (0 to 1), if given, is the weight of the vote for A.

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
        win_a=_number(where, row, "win_a", 0, 1, _OUTCOMES[named]) or 0.0,
        completion_a=row.get("completion_a"),
        completion_b=row.get("completion_b"),
        labeler=row.get("labeler"),
        both_bad=named == "both_bad",
        cohort=row.get("cohort"),
        use_case=row.get("use_case"),
        a_first=row.get("a_first"),
        likert_a=_number(where, row, "likert_a", 1, 7),
        likert_b=_number(where, row, "likert_b", 1, 7),
    )


def _number(where: str, row: Mapping[str, Any], name: str, low: float, high: float, default: float | None = None) -> float | None:
    value = row.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise DataError(f"{where}: {name}: {value!r} is no number from {low:g} to {high:g}", hint="correct it or leave it out")
    return float(value)
