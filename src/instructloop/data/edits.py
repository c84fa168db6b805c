"""Edits as preferences: who rewrote a model's output prefers the new text to the old one (spec L5)."""

from collections.abc import Iterable

from instructloop.core.records import Demonstration, Ranking

_KEPT = ("cohort", "guideline", "submission_id", "prompt_id", "task_id", "use_case")


def edits_as_rankings(demonstrations: Iterable[Demonstration]) -> list[Ranking]:
    """A ranking of two for every demonstration that began as a model's output and differs from it.

    Args:
        demonstrations: rows of a snapshot; an edited one carries the ``original`` text and its labeler.
    """
    found = []
    for row in demonstrations:
        original = row.meta.get("original")
        if not isinstance(original, str) or not original.strip() or original.strip() == row.completion.strip():
            continue
        labeler = row.meta.get("labeler")
        found.append(
            Ranking(
                prompt=row.prompt,
                completions=(row.completion, original),
                ranks=(0, 1),
                labeler=None if labeler is None else str(labeler),
                meta={"from": "edit", **{name: row.meta[name] for name in _KEPT if name in row.meta}},
            )
        )
    return found
