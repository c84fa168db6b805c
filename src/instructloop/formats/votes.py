"""Blind comparisons and ratings in our own layouts: one row a vote, one row a rated completion."""

from typing import Any

from instructloop.core.records import Comparison, Rating
from instructloop.formats import fields as check
from instructloop.formats.foreign import Imported, Notes, Source, read_foreign
from instructloop.formats.loaded import RowProblemError

_WINNERS = ("a", "b", "tie", "both_bad")
_VOTE = ("prompt", "completion_a", "completion_b", "winner", "model_a", "model_b", "strength", "labeler")
_RATING = ("prompt", "completion", "overall", "labeler")


def read_comparisons(source: Source, *, skip_bad_rows: bool = False) -> Imported:
    """Rows ``{"prompt", "completion_a", "completion_b", "winner": "a" | "b" | "tie" | "both_bad", "model_a"?, "model_b"?, "strength"?}``.

    Raises:
        DataError: a bad row (unless ``skip_bad_rows``), an unreadable file, or no usable row at all.
    """
    return read_foreign(source, _vote, "votes", skip_bad_rows=skip_bad_rows)


def read_ratings(source: Source, *, skip_bad_rows: bool = False) -> Imported:
    """Rows ``{"prompt", "completion", "overall": 1..7}`` (spec B12).

    Raises:
        DataError: a bad row (unless ``skip_bad_rows``), an unreadable file, or no usable row at all.
    """
    return read_foreign(source, _rating, "ratings", skip_bad_rows=skip_bad_rows)


def _vote(row: dict[str, Any], _: Notes) -> list[Comparison]:
    winner = check.required(row, "winner")
    if winner not in _WINNERS:
        raise RowProblemError("winner", f"{winner!r} is none of {', '.join(_WINNERS)}")
    strength = row.get("strength")
    if strength is not None and (isinstance(strength, bool) or strength not in {1, 2, 3}):
        raise RowProblemError("strength", f"must be 1, 2 or 3, got {strength!r}")
    return [
        Comparison(
            prompt=check.prompt(check.required(row, "prompt")),
            completion_a=check.completion(check.required(row, "completion_a"), "completion_a"),
            completion_b=check.completion(check.required(row, "completion_b"), "completion_b"),
            winner=winner,
            model_a=check.labeler(row.get("model_a")),
            model_b=check.labeler(row.get("model_b")),
            strength=strength,
            labeler=check.labeler(row.get("labeler")),
            meta={name: value for name, value in row.items() if name not in _VOTE},
        )
    ]


def _rating(row: dict[str, Any], _: Notes) -> list[Rating]:
    overall = check.required(row, "overall")
    if isinstance(overall, bool) or not isinstance(overall, int | float) or overall not in range(1, 8):
        raise RowProblemError("overall", f"must be a whole number from 1 to 7, got {overall!r}")
    return [
        Rating(
            prompt=check.prompt(check.required(row, "prompt")),
            completion=check.completion(check.required(row, "completion")),
            overall=int(overall),
            labeler=check.labeler(row.get("labeler")),
            meta={name: value for name, value in row.items() if name not in _RATING},
        )
    ]
