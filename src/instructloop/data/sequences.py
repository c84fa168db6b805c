"""A prompt and its completion as one row of ids, and rows of different length as one right-padded batch."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from instructloop.core.errors import DataError


@dataclass(frozen=True, slots=True)
class TokenSequence:
    """Ids of a prompt followed by those of its completion (end token included).

    Raises:
        DataError: ``prompt_length`` lies outside 0..len(ids), or there is no token at all.
    """

    ids: tuple[int, ...]
    prompt_length: int

    def __post_init__(self) -> None:
        if not self.ids or not 0 <= self.prompt_length <= len(self.ids):
            raise DataError(f"a sequence of {len(self.ids)} tokens cannot have a prompt of {self.prompt_length}")

    @property
    def completion(self) -> tuple[int, ...]:
        """Ids after the prompt."""
        return self.ids[self.prompt_length :]

    @property
    def completion_length(self) -> int:
        """Tokens after the prompt."""
        return len(self.ids) - self.prompt_length

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class TokenBatch:
    """B right-padded rows. Every mask comes from the lengths, so the filler's value never matters.

    Shapes: B rows, T longest row, R longest completion (at least 1, so that no matrix is empty).
    Column t of a completion-aligned matrix [B, R] is the t-th completion token.
    """

    tokens: Int[Tensor, "B T"]
    lengths: Int[Tensor, "B"]
    prompt_lengths: Int[Tensor, "B"]

    @property
    def attention_mask(self) -> Bool[Tensor, "B T"]:
        """True at real tokens."""
        return torch.arange(self.tokens.shape[1], device=self.tokens.device)[None, :] < self.lengths[:, None]

    @property
    def completion_lengths(self) -> Int[Tensor, "B"]:
        """Completion tokens per row, end token included."""
        return self.lengths - self.prompt_lengths

    @property
    def completion_mask(self) -> Bool[Tensor, "B R"]:
        """True where column t is a completion token of the row."""
        lengths = self.completion_lengths
        return self._columns()[None, :] < lengths[:, None]

    @property
    def completion_positions(self) -> Int[Tensor, "B R"]:
        """Column of ``tokens`` that holds the t-th completion token; past the end it repeats the row's last token (never -1: T10)."""
        places = self.prompt_lengths[:, None] + self._columns()[None, :]
        return torch.minimum(places, (self.lengths - 1)[:, None])

    @property
    def completion_tokens(self) -> Int[Tensor, "B R"]:
        """Completion ids; where ``completion_mask`` is False the value means nothing."""
        return self.tokens.gather(1, self.completion_positions)

    @property
    def last_positions(self) -> Int[Tensor, "B"]:
        """Column of each row's last real token, where a reward model reads its score (spec D)."""
        return self.lengths - 1

    def __len__(self) -> int:
        return int(self.tokens.shape[0])

    def to(self, device: torch.device | str) -> "TokenBatch":
        """The same batch on another device."""
        return TokenBatch(self.tokens.to(device), self.lengths.to(device), self.prompt_lengths.to(device))

    def select(self, indices: Sequence[int] | Tensor) -> "TokenBatch":
        """Some rows in the given order, cut to the longest of them."""
        index = torch.as_tensor(indices, dtype=torch.long, device=self.tokens.device)
        lengths = self.lengths[index]
        width = int(lengths.max()) if len(index) else 0
        return TokenBatch(self.tokens[index, :width], lengths, self.prompt_lengths[index])

    def sequences(self) -> list[TokenSequence]:
        """The rows without their padding."""
        lengths, prompts = self.lengths.tolist(), self.prompt_lengths.tolist()
        return [
            TokenSequence(tuple(row[:length]), prompt) for row, length, prompt in zip(self.tokens.tolist(), lengths, prompts, strict=True)
        ]

    def _columns(self) -> Int[Tensor, "R"]:
        widest = int(self.completion_lengths.max()) if len(self) else 0
        return torch.arange(max(widest, 1), device=self.tokens.device)


def collate(sequences: Sequence[TokenSequence], pad_id: int) -> TokenBatch:
    """Right-pad rows into one batch of int64 ids on the CPU.

    Raises:
        DataError: there is no row.
    """
    if not sequences:
        raise DataError("a batch needs at least one sequence")
    lengths = torch.tensor([len(sequence) for sequence in sequences], dtype=torch.long)
    tokens = torch.full((len(sequences), int(lengths.max())), pad_id, dtype=torch.long)
    for row, sequence in enumerate(sequences):
        tokens[row, : len(sequence)] = torch.tensor(sequence.ids, dtype=torch.long)
    prompts = torch.tensor([sequence.prompt_length for sequence in sequences], dtype=torch.long)
    return TokenBatch(tokens, lengths, prompts)
