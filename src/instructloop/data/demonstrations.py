"""Demonstrations into sequences for SFT (spec C)."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from instructloop.core.errors import DataError
from instructloop.core.records import Demonstration
from instructloop.data.codec import TextCodec
from instructloop.data.sequences import TokenSequence


@dataclass(frozen=True, slots=True)
class Tokenized:
    """Sequences that fit, the index of the record each came from, and why others did not."""

    sequences: tuple[TokenSequence, ...]
    sources: tuple[int, ...]
    skipped: Mapping[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.sequences)


def tokenize_demonstrations(demonstrations: Sequence[Demonstration], codec: TextCodec, max_tokens: int) -> Tokenized:
    """Prompt + completion + EOS per row; a row that does not fit whole is left out and counted as ``over_long``.

    Nothing is ever cut, so every target ends in EOS (ppo-details T3).

    Raises:
        DataError: an empty completion, or not a single row fits.
    """
    sequences: list[TokenSequence] = []
    sources: list[int] = []
    skipped: Counter[str] = Counter()
    for index, row in enumerate(demonstrations):
        prompt = codec.encode_prompt(row.prompt)
        ids = (*prompt, *codec.encode_completion(row.completion))
        if len(ids) > max_tokens:
            skipped["over_long"] += 1
            continue
        sequences.append(TokenSequence(ids, len(prompt)))
        sources.append(index)
    if demonstrations and not sequences:
        raise DataError(
            f"none of the {len(demonstrations)} demonstrations fits into {max_tokens} tokens",
            hint="raise max_tokens, take a model with a longer context, or shorten the rows",
        )
    return Tokenized(tuple(sequences), tuple(sources), dict(skipped))
