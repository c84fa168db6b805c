"""Where a model computes, in which precision, and in which mode."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from weakref import WeakKeyDictionary

import torch
from torch import nn

from instructloop.config import ComputeConfig
from instructloop.core.errors import ConfigError

_compute_dtypes: WeakKeyDictionary[nn.Module, torch.dtype] = WeakKeyDictionary()


def resolve_device(compute: ComputeConfig) -> torch.device:
    """The device of a configuration; ``auto`` takes CUDA where there is one, else the CPU.

    Raises:
        ConfigError: the named device is not there.
    """
    if compute.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not available[compute.device]:
        raise ConfigError(f"compute.device is {compute.device!r}, but torch sees no such device", hint="use 'auto' or 'cpu'")
    return torch.device(compute.device)


def resolve_dtype(compute: ComputeConfig) -> torch.dtype:
    """The precision of matrix products; ``auto`` is bfloat16 on CUDA and float32 elsewhere (bfloat16 is slower on most CPUs)."""
    if compute.dtype == "auto":
        return torch.bfloat16 if resolve_device(compute).type == "cuda" else torch.float32
    return torch.bfloat16 if compute.dtype == "bfloat16" else torch.float32


def device_of(model: nn.Module) -> torch.device:
    """The device of a model's first parameter."""
    return next(model.parameters()).device


def set_compute_dtype(model: nn.Module, dtype: torch.dtype) -> None:
    """Remember in which precision this model's matrix products run; its trained weights stay float32.

    NOTE: trained weights are kept in float32 on purpose. At the learning rates of RLHF an update of a bfloat16 weight is
    smaller than its last bit and would be lost.
    """
    _compute_dtypes[model] = dtype


def compute_dtype(model: nn.Module) -> torch.dtype:
    """The precision set with ``set_compute_dtype``, else that of the first parameter."""
    return _compute_dtypes.get(model, next(model.parameters()).dtype)


def precision(model: nn.Module) -> AbstractContextManager[object]:
    """Autocast to the model's compute precision; nothing to do in float32."""
    dtype = compute_dtype(model)
    if dtype == torch.float32:
        return nullcontext()
    return torch.autocast(device_of(model).type, dtype=dtype)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode and no gradients; afterwards every submodule is in the mode it was in."""
    trained = [module for module in model.modules() if module.training]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module in trained:
            module.training = True
