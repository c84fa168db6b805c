"""Log-probabilities of a frozen reference for losses on fixed preferences (the DPO family): computed once, kept in a file.

Such a loss needs the reference's log-probability of every completion in every epoch, and neither the reference nor the completions
change. With the file, training needs no reference model in memory and no forward pass of it, and a resumed run reads what it had.
"""

import math
from collections.abc import Sequence
from pathlib import Path

from transformers import PreTrainedModel

from instructloop.core.errors import DataError
from instructloop.core.files import read_jsonl, write_jsonl
from instructloop.core.hashing import hash_json
from instructloop.data.batching import micro_batches
from instructloop.data.sequences import TokenSequence, collate
from instructloop.models.device import evaluating
from instructloop.models.logprobs import completion_logprobs
from instructloop.models.ranks import ALONE, Ranks

_AT_ONCE = 1024
"""Sequences between two writes: what a kill costs at most."""


def reference_logprobs(
    folder: Path,
    identity: str,
    model: PreTrainedModel | None,
    sequences: Sequence[TokenSequence],
    pad_id: int,
    micro_batch_tokens: int,
    *,
    ranks: Ranks = ALONE,
) -> list[float]:
    """Sums of ln pi_ref over the completion tokens of each sequence, nats; from the file as far as they are there.

    Args:
        folder: where the file lies, e.g. the run directory; one file for each reference.
        identity: names the reference's weights, e.g. the SHA-256 of its directory; another reference has another file.
        model: the reference; None if the file is known to hold everything.
        sequences: any number, repeated ones are computed once.
        pad_id: filler.
        micro_batch_tokens: tokens, padding included, of one forward pass.
        ranks: the processes that share the work; the first one writes.

    Raises:
        DataError: a sequence is missing in the file and there is no model to compute it.
    """
    place = folder / f"reference_logprobs-{hash_json(identity)[:16]}.jsonl"
    known: dict[str, float] = {}
    if place.is_file():
        known = {row["key"]: row["logprob"] for row in read_jsonl(place)}
    keys = [hash_json([sequence.prompt_length, *sequence.ids]) for sequence in sequences]
    missing = list({key: sequence for key, sequence in zip(keys, sequences, strict=True) if key not in known}.items())
    if missing and model is None:
        raise DataError(
            f"{place.name}: {len(missing)} of {len(keys)} sequences are missing", hint="give the reference model to compute them"
        )
    ranks.barrier()
    for start in range(0, len(missing), _AT_ONCE):
        assert model is not None
        known |= _compute(model, missing[start : start + _AT_ONCE], pad_id, micro_batch_tokens, ranks)
        if ranks.main:
            folder.mkdir(parents=True, exist_ok=True)
            write_jsonl(place, ({"key": key, "logprob": value} for key, value in known.items()))
    return [known[key] for key in keys]


def _compute(
    model: PreTrainedModel, items: Sequence[tuple[str, TokenSequence]], pad_id: int, micro_batch_tokens: int, ranks: Ranks
) -> dict[str, float]:
    mine = [items[row] for row in ranks.share([len(sequence) for _, sequence in items])]
    found: dict[str, float] = {}
    with evaluating(model):
        for part in micro_batches([len(sequence) for _, sequence in mine], micro_batch_tokens):
            scored = completion_logprobs(model, collate([mine[row][1] for row in part], pad_id))
            found.update(zip((mine[row][0] for row in part), scored.logprobs.sum(1).tolist(), strict=True))
    everything = {key: value for part in ranks.gather(found) for key, value in part.items()}
    broken = next((key for key, value in everything.items() if not math.isfinite(value)), None)
    if broken is not None:
        raise DataError(
            f"the reference gives a sequence the log-probability {everything[broken]}", hint="check the reference model's weights"
        )
    return everything
