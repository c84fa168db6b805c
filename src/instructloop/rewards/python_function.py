"""A reward from the user's own Python function, given in code or as ``file.py:function``."""

import importlib
import importlib.util
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from instructloop.core.errors import ConfigError, RewardError
from instructloop.core.hashing import hash_bytes
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
    where, colon, name = path.rpartition(":")
    if not colon or not where or not name:
        raise ConfigError(f"rewards 'python': {path!r} is not of the form file.py:function", hint="for example my_reward.py:score")
    module = _load_file(Path(where)) if where.endswith(".py") else _load_module(where)
    function = getattr(module, name, None)
    if not callable(function):
        raise ConfigError(
            f"rewards 'python': {where} has no function {name!r}", hint="def score(prompts, completions): return [0.0 for _ in completions]"
        )
    return from_function(function, name=path)


def _load_file(file: Path) -> ModuleType:
    if not file.is_file():
        raise ConfigError(f"rewards 'python': no such file: {file}", hint="paths are relative to where the command runs")
    unique = f"instructloop_reward_{hash_bytes(str(file.resolve()).encode())[-12:]}"
    spec = importlib.util.spec_from_file_location(unique, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[unique] = module  # dataclasses and pickles inside the file look themselves up here
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[unique]
        raise ConfigError(f"rewards 'python': {file} cannot be imported: {type(error).__name__}: {error}") from error
    return module


def _load_module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(
            f"rewards 'python': no module {name!r}: {error}", hint="install it, or give a file: my_reward.py:score"
        ) from error
