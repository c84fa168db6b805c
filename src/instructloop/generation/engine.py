"""What every rollout engine promises."""

from collections.abc import Sequence
from typing import Protocol

from instructloop.config import SamplingConfig
from instructloop.core.records import Prompt
from instructloop.generation.rollouts import Rollouts


class Engine(Protocol):
    """Samples completions. Row r of a call draws from the stream keyed (seed, r), whatever else is in the batch."""

    def generate(self, prompts: Sequence[Prompt], *, n: int = 1, sampling: SamplingConfig, seed: int) -> Rollouts:
        """``n`` completions of each prompt, prompt-major: rows 0..n-1 belong to the first prompt."""
        ...
