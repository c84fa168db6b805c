"""What an engine returns: prompts, the completions sampled for them, and how likely each token was."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from instructloop.core.errors import DataError
from instructloop.core.records import Prompt
from instructloop.data import TokenBatch, collate


class FinishReason(StrEnum):
    """Why a completion ended."""

    STOP = "stop"
    """It ended itself: an end token (also as the very last token allowed: ppo-details T14) or a stop text."""
    LENGTH = "length"
    """It reached ``max_new_tokens``."""


@dataclass(frozen=True, slots=True)
class Rollouts:
    """B sampled completions. The ids here are the ids sampled: what is scored is never text encoded again (T4).

    Attributes:
        batch: prompts and completions as right-padded ids; a sampled end token belongs to the completion.
        logprobs: ln pi(y_t | x, y_<t) of the sampling pass under the model's own distribution at the sampling temperature
            (at 1 for greedy sampling), 0 outside the mask.
        entropies: entropy of that distribution before each token (nats), 0 outside the mask; None if not measured.
        finish_reasons: one per row.
        prompts: one per row.
        completions: text per row without end token and stop text.
    """

    batch: TokenBatch
    logprobs: Float[Tensor, "B R"]
    entropies: Float[Tensor, "B R"] | None
    finish_reasons: tuple[FinishReason, ...]
    prompts: tuple[Prompt, ...]
    completions: tuple[str, ...]

    def __post_init__(self) -> None:
        rows = {len(self.batch), len(self.logprobs), len(self.finish_reasons), len(self.prompts), len(self.completions)}
        if len(rows) != 1 or self.logprobs.shape != self.mask.shape:
            raise DataError(f"rollouts of unequal parts: rows {sorted(rows)}, log-probabilities {tuple(self.logprobs.shape)}")

    def __len__(self) -> int:
        return len(self.completions)

    @property
    def mask(self) -> Bool[Tensor, "B R"]:
        """True at completion tokens."""
        return self.batch.completion_mask

    @property
    def ended(self) -> Bool[Tensor, "B"]:
        """True where the completion ended itself."""
        return torch.tensor([reason is FinishReason.STOP for reason in self.finish_reasons], device=self.logprobs.device)

    def select(self, indices: Sequence[int] | Tensor) -> "Rollouts":
        """Some rows in the given order, cut to the longest of them."""
        order = [int(index) for index in indices]
        batch = self.batch.select(order)
        width = batch.completion_mask.shape[1]
        return Rollouts(
            batch=batch,
            logprobs=self.logprobs[order, :width],
            entropies=None if self.entropies is None else self.entropies[order, :width],
            finish_reasons=tuple(self.finish_reasons[index] for index in order),
            prompts=tuple(self.prompts[index] for index in order),
            completions=tuple(self.completions[index] for index in order),
        )

    @staticmethod
    def concat(parts: Sequence["Rollouts"], *, pad_id: int = 0) -> "Rollouts":
        """All rows of several rollouts in order; ``pad_id`` is filler that nothing reads.

        Raises:
            DataError: there is no part.
        """
        if not parts:
            raise DataError("there are no rollouts to put together")
        batch = collate([row for part in parts for row in part.batch.sequences()], pad_id).to(parts[0].logprobs.device)
        width = batch.completion_mask.shape[1]
        entropies = [part.entropies for part in parts if part.entropies is not None]
        return Rollouts(
            batch=batch,
            logprobs=_stack([part.logprobs for part in parts], width),
            entropies=_stack(entropies, width) if len(entropies) == len(parts) else None,
            finish_reasons=tuple(reason for part in parts for reason in part.finish_reasons),
            prompts=tuple(prompt for part in parts for prompt in part.prompts),
            completions=tuple(text for part in parts for text in part.completions),
        )


def _stack(matrices: Sequence[Tensor], width: int) -> Tensor:
    return torch.cat([F.pad(matrix, (0, width - matrix.shape[1])) for matrix in matrices])
