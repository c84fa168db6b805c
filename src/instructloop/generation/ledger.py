"""The rows of one call as they grow: tokens, scores, and why each ended."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from instructloop.generation.requests import Step


class Ledger:
    """Takes down every step and says which rows it completes.

    Args:
        limits: most tokens of each row.
        stop_ids: tokens that end a row.
        hits_stop_text: whether ids end in a stop text; None where there are no stop texts.
        device: where the steps come from.
    """

    def __init__(
        self, limits: Sequence[int], stop_ids: frozenset[int], hits_stop_text: Callable[[list[int]], bool] | None, device: torch.device
    ) -> None:
        shape = (len(limits), max(limits))
        self.tokens: Int[Tensor, "B R"] = torch.zeros(shape, dtype=torch.long, device=device)
        self.logprobs: Float[Tensor, "B R"] = torch.zeros(shape, device=device)
        self.entropies: Float[Tensor, "B R"] = torch.zeros(shape, device=device)
        self._lengths = torch.zeros(len(limits), dtype=torch.long, device=device)
        self._stopped = torch.zeros(len(limits), dtype=torch.bool, device=device)
        self._limits = torch.tensor(list(limits), device=device)
        self._stop_ids = torch.tensor(sorted(stop_ids), dtype=torch.long, device=device)
        self._hits_stop_text = hits_stop_text

    def record(self, step: Step) -> Bool[Tensor, "n"]:
        """Note a step; True for rows that it completes."""
        rows, positions, drawn = step
        self.tokens[rows, positions] = drawn.tokens
        self.logprobs[rows, positions] = drawn.logprobs
        self.entropies[rows, positions] = drawn.entropies
        self._lengths[rows] = positions + 1
        stopped = (drawn.tokens[:, None] == self._stop_ids).any(1)
        if self._hits_stop_text is not None:
            texts = [self._hits_stop_text(self.tokens[row, :length].tolist()) for row, length in zip(rows, positions + 1, strict=True)]
            stopped = stopped | torch.tensor(texts, device=stopped.device)
        self._stopped[rows] = stopped
        return stopped | (positions + 1 >= self._limits[rows])

    def completions(self) -> list[list[int]]:
        """The ids of each row."""
        return [row[:length] for row, length in zip(self.tokens.tolist(), self._lengths.tolist(), strict=True)]

    def stopped(self) -> list[bool]:
        """For each row whether it ended itself."""
        return [bool(one) for one in self._stopped.tolist()]
