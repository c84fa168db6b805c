"""The complete state of a training run on disk, so that resuming gives the same bits as never having stopped."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from instructloop.core.errors import CheckpointError
from instructloop.models.adapters import has_adapters
from instructloop.models.ranks import ALONE, Ranks
from instructloop.models.sharded_state import has_split_tensors, is_split, load_split, map_tensors, save_split, split_like

STATE_FILE = "state.pt"
_OTHER_MODEL = "resume with the model the run was started with"


class Stateful(Protocol):
    """Anything with PyTorch's pair of methods: a module, an optimizer, an EMA."""

    def state_dict(self) -> Any:
        """The state as plain values and tensors."""
        ...

    def load_state_dict(self, state: Any, /) -> Any:
        """Restore it."""
        ...


def save_state(
    path: Path,
    *,
    modules: Mapping[str, Stateful],
    optimizers: Mapping[str, Stateful] | None = None,
    extra: Mapping[str, Any] | None = None,
    ranks: Ranks = ALONE,
) -> None:
    """Write modules, optimizers and plain values into the directory ``path``.

    Of a module with adapters only the trained parameters are kept: the frozen ones come from where the run took them.

    Args:
        path: an existing or new directory (``RunDir.checkpoint`` passes one and renames it when it is complete).
        modules: models and averages by name.
        optimizers: optimizers by name.
        extra: numbers, texts, lists, dicts and tensors.
        ranks: the processes that hold this state alike, of which the main one writes.
    """
    state = {
        "modules": {name: _state_of(module) for name, module in modules.items()},
        "optimizers": {name: optimizer.state_dict() for name, optimizer in (optimizers or {}).items()},
        "extra": dict(extra or {}),
    }
    if has_split_tensors(state):
        save_split(path, state, STATE_FILE, ranks)
    elif ranks.main:
        path.mkdir(parents=True, exist_ok=True)
        torch.save(state, path / STATE_FILE)


def load_state(path: Path, *, modules: Mapping[str, Stateful], optimizers: Mapping[str, Stateful] | None = None) -> dict[str, Any]:
    """Restore what ``save_state`` wrote into the given objects and return ``extra``.

    However many processes wrote it, and however many read it now.

    Raises:
        CheckpointError: the file is missing or broken, or holds other names.
    """
    file = path / STATE_FILE
    try:
        # the tensors go to the CPU first; load_state_dict copies each to where its module lives
        state = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise CheckpointError(f"no training state in {path}", hint="this checkpoint is incomplete; resume from an earlier one") from error
    except Exception as error:
        raise CheckpointError(f"{file} cannot be read ({error})", hint="the file is damaged; resume from an earlier checkpoint") from error
    for kind, targets in (("modules", modules), ("optimizers", optimizers or {})):
        if state[kind].keys() != targets.keys():
            raise CheckpointError(
                f"{file} holds the {kind} {sorted(state[kind])}, expected {sorted(targets)}",
                hint="resume with the configuration the run was started with",
            )
    form = _Forms({"modules": modules, "optimizers": optimizers or {}}, file)
    if is_split(path):
        state = load_split(path, state, form.to_read_into)
    else:
        state = map_tensors(state, lambda place, tensor: split_like(tensor, form.of(place, tensor.shape)))
    for kind, targets in (("modules", modules), ("optimizers", optimizers or {})):
        for name, target in targets.items():
            _restore(target, state[kind][name], f"{file}: {name}")
    extra: dict[str, Any] = state["extra"]
    return extra


class _Forms:
    """Which tensor of the objects that are restored a stored one belongs to; it may be split over the processes."""

    def __init__(self, targets: Mapping[str, Mapping[str, Stateful]], where: Path) -> None:
        self.where = where
        self.own: dict[str, Tensor] = {}
        self.parameters: dict[str, list[Tensor]] = {}
        for kind, named in targets.items():
            for name, target in named.items():
                if isinstance(target, torch.optim.Optimizer):
                    self.parameters[name] = [value for group in target.param_groups for value in group["params"]]
                else:
                    map_tensors(_state_of(target), self.own.__setitem__, f"/{kind}/{name}")

    def of(self, place: str, shape: Sequence[int]) -> Tensor | None:
        """The tensor at a place of the state; for an optimizer's moment its parameter, None for what has no counterpart."""
        if not place.startswith("/optimizers/"):
            return self.own.get(place)
        _, _, name, _, number, _ = place.split("/")
        parameter = self.parameters[name][int(number)]
        return parameter if parameter.shape == torch.Size(shape) else None

    def to_read_into(self, place: str, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """A tensor for the stored one; of a module its own, which is thereby restored."""
        own = self.of(place, shape)
        if own is None:
            return torch.zeros(tuple(shape), dtype=dtype)
        if own.shape != torch.Size(shape):
            raise CheckpointError(f"{self.where}: {place} does not fit this model", hint=_OTHER_MODEL)
        return torch.zeros_like(own, dtype=dtype) if place.startswith("/optimizers/") else own.detach()


def _state_of(module: Stateful) -> dict[str, Any]:
    if isinstance(module, nn.Module) and has_adapters(module):
        trained: dict[str, Tensor] = {name: value.detach() for name, value in module.named_parameters() if value.requires_grad}
        trained.update(module.named_buffers())
        return trained
    state: dict[str, Any] = module.state_dict()
    return state


def _restore(target: Stateful, state: dict[str, Any], where: str) -> None:
    if not isinstance(target, nn.Module):
        target.load_state_dict(state)
        return
    missing = set(_state_of(target)) - set(state)
    shapes = target.state_dict()
    wrong = [name for name in state if name in shapes and shapes[name].shape != state[name].shape]
    if missing or wrong:
        name = min(missing or wrong)
        raise CheckpointError(f"{where}: {name} does not fit this model", hint=_OTHER_MODEL)
    target.load_state_dict(state, strict=False)
