"""A reward from the user's own Python function, given in code or as ``file.py:function``."""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from instructloop.core.callables import load_function
from instructloop.core.errors import RewardError
from instructloop.core.records import prompt_text
from instructloop.generation.rollouts import Rollouts
from instructloop.rewards.base import Reward, RewardOutput, rewards

TextReward = Callable[[list[str], list[str]], Sequence[float]]
"""``function(prompts, completions) -> one number a completion``."""


def from_function(function: TextReward, *, name: str | None = None) -> Reward:
    """Wrap ``function(prompts, completions) -> numbers`` as a Reward.

    Raises (when called):
        RewardError: not one number a completion; the message names the reward and the row.
    """
    label = name or str(getattr(function, "__name__", type(function).__name__))

    def score(rollouts: Rollouts) -> RewardOutput:
        prompts = [prompt_text(prompt.prompt) for prompt in rollouts.prompts]
        return RewardOutput(
            scores=_numbers(label, function(prompts, list(rollouts.completions)), len(prompts)).to(rollouts.logprobs.device)
        )

    return score


def _numbers(label: str, values: Any, expected: int) -> torch.Tensor:
    if isinstance(values, torch.Tensor):
        values = values.detach().tolist()
    try:
        row_values = list(values)
    except TypeError as error:
        raise RewardError(
            f"reward {label!r} returned {type(values).__name__} instead of a list of numbers",
            hint="return one number for each completion",
        ) from error
    if len(row_values) != expected:
        raise RewardError(
            f"reward {label!r} returned {len(row_values)} scores for {expected} completions",
            hint="return one number for each completion",
        )
    numbers = []
    for row, value in enumerate(row_values):
        try:
            numbers.append(float(value))
        except (TypeError, ValueError) as error:
            raise RewardError(
                f"reward {label!r}: row {row}: {value!r} is not a number", hint="return one number for each completion"
            ) from error
    return torch.tensor(numbers, dtype=torch.float32)


@rewards.register("python")
def python(path: str) -> Reward:
    """A function of yours: ``file.py:function`` or ``package.module:function``, called as ``function(prompts, completions)``.

    Raises:
        ConfigError: there is no such file, module or function.
    """
    example = "def score(prompts, completions): return [0.0 for _ in completions]"
    function = load_function(path, what="rewards 'python'", example=example)
    return from_function(function, name=path)
