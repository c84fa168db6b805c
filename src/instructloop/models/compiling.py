"""``torch.compile`` of the trunk in training passes, as an option: minutes of compilation against a fifth of a small model's step."""

from collections.abc import Callable
from functools import cache
from weakref import WeakSet

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

_wanted: WeakSet[nn.Module] = WeakSet()
_MOST_VERSIONS = 64
"""Compiled versions kept: each model in train and evaluation mode, with and without gradient, and for a single row."""


def set_compile(trunk: nn.Module, wanted: bool) -> None:
    """Remember whether right-padded passes of this trunk run compiled; packed ones and the rollout engine never do."""
    if wanted:
        _wanted.add(trunk)
    else:
        _wanted.discard(trunk)


def compiles(trunk: nn.Module) -> bool:
    """What ``set_compile`` said, else False."""
    return trunk in _wanted


def last_hidden(trunk: nn.Module, tokens: Int[Tensor, "B T"]) -> Float[Tensor, "B T h"]:
    """The trunk's last hidden states of right-padded rows."""
    if trunk not in _wanted:
        return _call(trunk, tokens)
    import torch._dynamo

    # torch keeps 8 versions of a function and then silently stops compiling
    with torch._dynamo.config.patch(recompile_limit=_MOST_VERSIONS):
        return _compiled()(trunk, tokens)


def _call(trunk: nn.Module, tokens: Tensor) -> Tensor:
    result: Tensor = trunk(input_ids=tokens, use_cache=False).last_hidden_state
    return result


@cache
def _compiled() -> Callable[[nn.Module, Tensor], Tensor]:
    """Made at the first use: it loads half of torch that nobody else needs."""
    made: Callable[[nn.Module, Tensor], Tensor] = torch.compile(_call, dynamic=True)
    return made
