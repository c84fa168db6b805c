"""Anthropic's HH-RLHF files: pairs of whole transcripts, and the red-team transcripts.

Pairs ``{"chosen", "rejected"}`` (helpful-base, helpful-online, helpful-rejection-sampled, harmless-base) become rankings of two under
the conversation they share. Red-team rows ``{"transcript", "rating", ...}`` hold one conversation and no judgement of an answer, so they
become a prompt (all up to the last human turn); its ``rating`` says how well the attack went and stays in ``meta["hh"]``.
"""

from collections.abc import Iterator
from typing import Any

from instructloop.core.records import Prompt, Ranking
from instructloop.formats import fields as check
from instructloop.formats.foreign import ForeignRecord, Imported, Notes, Source, read_foreign
from instructloop.formats.layouts import transcript, with_ranks
from instructloop.formats.loaded import RowProblemError

TOOL = "hh"


def read_hh(source: Source, *, skip_bad_rows: bool = False) -> Imported:
    """Pairs or red-team transcripts of HH-RLHF.

    Args:
        source: ``.jsonl`` or ``.jsonl.gz`` as published, or rows.
        skip_bad_rows: leave bad rows out (an empty side; two conversations that differ before the last turn), instead of stopping.

    Raises:
        DataError: a bad row, with file, line, field and remedy.
    """
    return read_foreign(source, _records, "HH-RLHF", skip_bad_rows=skip_bad_rows)


def _records(row: dict[str, Any], _: Notes) -> Iterator[ForeignRecord]:
    if "transcript" in row:
        yield _red_team(row)
        return
    for side in ("chosen", "rejected"):
        if not isinstance(row.get(side), str):
            raise RowProblemError(side, "is missing" if side not in row else f"must be a text, got {type(row[side]).__name__}")
        if not row[side].lstrip("\n").startswith("Human:"):
            raise RowProblemError(side, 'does not begin with "Human:"', hint="is this an HH-RLHF file?")
    rest = {name: value for name, value in row.items() if name not in {"chosen", "rejected"}}
    found = with_ranks({"chosen": row["chosen"], "rejected": row["rejected"]})
    chosen = check.completion(found["chosen"], "chosen")
    rejected = check.completion(found["rejected"], "rejected")
    if chosen == rejected:
        raise RowProblemError("rejected", "is identical to chosen")
    yield Ranking(prompt=check.prompt(found["prompt"]), completions=(chosen, rejected), ranks=(0, 1), meta={TOOL: rest} if rest else {})


def _red_team(row: dict[str, Any]) -> Prompt:
    turns = transcript(check.text(row["transcript"], "transcript"))
    asked = [index for index, turn in enumerate(turns) if turn["role"] == "user" and turn["content"]]
    if not asked:
        raise RowProblemError("transcript", "holds no human turn")
    return Prompt(prompt=check.prompt(turns[: asked[-1] + 1], "transcript"), meta={TOOL: row})
