"""The typed rows of an imported answer."""

from collections.abc import Mapping, Sequence
from typing import Any

from instructloop.core.hashing import hash_bytes
from instructloop.feedback import records
from instructloop.feedback import schema as table
from instructloop.feedback.exchange.incoming import Incoming
from instructloop.feedback.exchange.ledger import Row
from instructloop.feedback.ids import new_id


def _row(model: type[table.Base], **values: Any) -> Row:
    return model, values


def part_of(row: Incoming) -> str:
    """Which part of a submission a row is; each may stand in an import once."""
    if row.overall is not None:
        return f"rating of slot {row.slot}"
    if row.critique is not None:
        return f"critique of slot {row.slot}"
    if row.winner is not None:
        return "vote as a ranking" if row.as_ranking else "vote"
    return (
        "demonstration" if row.text is not None else "ranking" if row.ranks is not None else "toxicity" if row.toxicity else "instruction"
    )


def typed_rows(row: Incoming, submission_id: str, slots: Sequence[str], *, with_prompt_flags: bool) -> list[Row]:
    """The typed rows of an imported row.

    Args:
        row: a checked row.
        submission_id: the submission it belongs to.
        slots: the task's completions.
        with_prompt_flags: also the answers about the instruction (they stand in every rating of a submission).
    """
    rows: list[Row] = []
    slot = row.slot or 0
    if row.text is not None:
        text = records.nfc(row.text)
        assert isinstance(text, str)
        edited = None if row.edited_from is None else slots[row.edited_from]
        rows.append(
            _row(table.DemonstrationRow, submission_id=submission_id, text=text, sha256=hash_bytes(text.encode()), edited_from=edited)
        )
    if row.ranks is not None:
        rows.append(_row(table.RankingRow, submission_id=submission_id, none_acceptable=row.none_acceptable))
        tiers = row.tiers or tuple(None if rank is None else rank + 1 for rank in row.ranks)
        places = zip(slots, tiers, row.ranks, strict=True)
        rows += [
            _row(table.RankingItem, submission_id=submission_id, completion_id=name, tier=tier, rank=rank) for name, tier, rank in places
        ]
    if row.winner is not None:
        rows.append(
            _row(
                table.PairwiseVote,
                submission_id=submission_id,
                completion_a=slots[0],
                completion_b=slots[1],
                outcome=row.winner,
                strength=row.lineage.strength,
                left_is_a=row.lineage.left_is_a,
            )
        )
    if row.overall is not None:
        rows.append(
            _row(
                table.Rating,
                submission_id=submission_id,
                completion_id=slots[slot],
                overall=row.overall,
                included=row.included,
                note=row.note,
            )
        )
        rows += _flag_rows(submission_id, slots[slot], row.flags)
    if row.critique is not None:
        rows.append(
            _row(
                table.Critique,
                submission_id=submission_id,
                completion_id=slots[slot],
                text=row.critique,
                sha256=hash_bytes(row.critique.encode()),
            )
        )
    if row.input_toxicity is not None:
        rows.append(_row(table.Toxicity, id=new_id(), submission_id=submission_id, toxicity=row.input_toxicity))
        rows += [
            _row(
                table.Toxicity,
                id=new_id(),
                submission_id=submission_id,
                completion_id=name,
                toxicity=score,
                relative=relative,
                continuity=continuity,
            )
            for name, (score, relative, continuity) in zip(slots, row.toxicity, strict=True)
        ]
    if with_prompt_flags:
        rows += _flag_rows(submission_id, None, row.prompt_flags)
    return rows


def _flag_rows(submission_id: str, about: str | None, flags: Mapping[str, str]) -> list[Row]:
    return [
        _row(table.Flag, id=new_id(), submission_id=submission_id, completion_id=about, key=key, value=value)
        for key, value in flags.items()
    ]
