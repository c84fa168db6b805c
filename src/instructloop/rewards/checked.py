"""A guard around every reward: one finite score a row, or an error that names the reward and the row."""

from collections.abc import Mapping
from typing import Any

import torch

from instructloop.config.ppo import RewardSpec
from instructloop.core.errors import InstructLoopError, RewardError
from instructloop.generation.rollouts import Rollouts
from instructloop.rewards.base import Reward, RewardOutput, rewards
from instructloop.rewards.python_function import from_function

_SHOWN_CHARACTERS = 80


class CheckedReward:
    """Calls a reward and refuses what a trainer cannot use."""

    def __init__(self, reward: Reward, name: str) -> None:
        self.inner = reward
        self.name = name

    def __call__(self, rollouts: Rollouts, /) -> RewardOutput:
        """Score the rows.

        Raises:
            RewardError: the reward raised, returned another number of scores, or a score that is NaN or infinite.
        """
        rows = len(rollouts.completions)
        try:
            output = self.inner(rollouts)
        except InstructLoopError:
            raise
        except Exception as error:
            raise RewardError(
                f"reward {self.name!r} raised {type(error).__name__}: {error}{self._first_bad_row(rollouts)}",
                hint="call the reward on that completion alone to see where it fails",
            ) from error
        self._check(output.scores, (rows,), rollouts, "scores")
        for part, values in output.parts.items():
            self._check(values, (rows,), rollouts, f"part {part!r}")
        if output.token_scores is not None:
            self._check(output.token_scores, tuple(rollouts.mask.shape), rollouts, "token_scores")
        return output

    def _check(self, values: torch.Tensor, shape: tuple[int, ...], rollouts: Rollouts, what: str) -> None:
        if tuple(values.shape) != shape:
            raise RewardError(
                f"reward {self.name!r} returned {what} of shape {tuple(values.shape)} for {shape[0]} completions (expected {shape})",
                hint="return one number for each completion",
            )
        finite = torch.isfinite(values)
        if values.dim() == 2:
            finite = (finite | ~rollouts.mask.to(finite.device)).all(dim=1)
        if not bool(finite.all()):
            row = int((~finite).nonzero()[0])
            found = values[row].item() if values.dim() == 1 else "a value that is not finite"
            raise RewardError(
                f"reward {self.name!r}: row {row}: {what} is {found}; completion: {_short(rollouts.completions[row])}",
                hint="a reward must be a finite number for every completion, empty ones included",
            )

    def _first_bad_row(self, rollouts: Rollouts) -> str:
        """The first row that fails alone, for the message (the batch call does not say which one it was)."""
        if len(rollouts.completions) == 1:
            return f"; row 0: {_short(rollouts.completions[0])}"
        for row in range(len(rollouts.completions)):
            try:
                self.inner(rollouts.select([row]))
            except Exception:  # noqa: BLE001 - a user's function may raise anything; we only look for the row
                return f"; row {row}: {_short(rollouts.completions[row])}"
        return "; every row alone is scored without an error"


def _short(text: str) -> str:
    return repr(text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "...")


def checked(reward: Reward, *, name: str | None = None) -> CheckedReward:
    """The reward behind the guard; a guarded one is returned as it is."""
    if isinstance(reward, CheckedReward):
        return reward
    return CheckedReward(reward, name or str(getattr(reward, "__name__", type(reward).__name__)))


def as_reward(source: Any, *, name: str | None = None) -> CheckedReward:
    """Anything a user may pass as a reward, behind the guard.

    Args:
        source: a RewardSpec, a mapping ``{"name", "args"}``, a registered name, a Reward, or a plain function
            ``(prompts, completions) -> numbers`` (told apart by its two parameters).
        name: how errors call it.
    """
    if isinstance(source, str):
        source = RewardSpec(name=source)
    if isinstance(source, RewardSpec):
        return checked(rewards.build(source.name, source.args), name=name or source.name)
    if isinstance(source, Mapping):
        return checked(rewards.build(source["name"], source.get("args")), name=name or source["name"])
    if _takes_prompts_and_completions(source):
        return checked(from_function(source), name=name or getattr(source, "__name__", "function"))
    return checked(source, name=name)


def _takes_prompts_and_completions(function: Any) -> bool:
    import inspect

    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return False
    needed = [p for p in parameters if p.default is p.empty and p.kind in {p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD}]
    return len(needed) == 2
