"""Training states whose tensors are split over processes: each writes its parts, and any number of processes reads them again.

    shards/        every tensor under its path in the state (torch.distributed.checkpoint)
    state.pt       everything else, with a note {"tensor": path, "shape": ...} where a tensor belongs

The folder must be one that all processes see (on several machines: a shared file system).
"""

import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor

from instructloop.core.errors import CheckpointError
from instructloop.models.ranks import Ranks

SHARDS = "shards"
_NOTE = "tensor"


def has_split_tensors(state: Any) -> bool:
    """Whether a nested state holds a part of a tensor rather than all of it."""
    if isinstance(state, Mapping):
        return any(has_split_tensors(value) for value in state.values())
    if isinstance(state, list | tuple):
        return any(has_split_tensors(value) for value in state)
    return isinstance(state, DTensor)


def save_split(path: Path, state: Mapping[str, Any], file: str, ranks: Ranks) -> None:
    """Write a nested state of which every process holds its parts; all processes call this with the same ``path``.

    Args:
        path: a directory that the main process has made.
        state: dictionaries and lists of tensors and plain values.
        file: name of the file for everything that is no tensor.
        ranks: the processes.
    """
    from torch.distributed.checkpoint.filesystem import FileSystemWriter
    from torch.distributed.checkpoint.state_dict_saver import save

    tensors: dict[str, Tensor] = {}

    def note(place: str, tensor: Tensor) -> dict[str, Any]:
        tensors[place] = tensor
        return {_NOTE: place, "shape": list(tensor.shape), "dtype": str(tensor.dtype).removeprefix("torch.")}

    outline = map_tensors(state, note)
    ranks.barrier()  # the main process made the directory before it came here
    save(tensors, storage_writer=FileSystemWriter(path / SHARDS))
    if ranks.main:
        torch.save(outline, path / file)


def is_split(path: Path) -> bool:
    """Whether ``save_split`` wrote this directory."""
    return (path / SHARDS).is_dir()


def load_split(path: Path, outline: Any, into: Callable[[str, tuple[int, ...], torch.dtype], Tensor]) -> Any:
    """The state that ``save_split`` wrote.

    Args:
        path: its directory.
        outline: what lay in its file.
        into: the tensor (whole or split) to read a tensor into, from its path in the state, shape and type.

    Raises:
        CheckpointError: the parts cannot be read.
    """
    from torch.distributed.checkpoint.filesystem import FileSystemReader
    from torch.distributed.checkpoint.state_dict_loader import load

    wanted = {place: into(place, shape, dtype) for place, shape, dtype in _notes(outline)}
    alone = not (dist.is_available() and dist.is_initialized())
    try:
        with warnings.catch_warnings():
            # a single process is told that it is one
            warnings.filterwarnings("ignore", message="torch.distributed is disabled")
            load(wanted, storage_reader=FileSystemReader(path / SHARDS), no_dist=alone)
    except Exception as error:
        raise CheckpointError(
            f"{path / SHARDS} cannot be read ({str(error).splitlines()[0]})",
            hint="the files are damaged; resume from an earlier checkpoint",
        ) from error
    return _filled(outline, wanted)


def split_like(value: Tensor, model: Tensor | None) -> Tensor:
    """A whole tensor in the form of another one: this process's part of it where that one is split."""
    if isinstance(model, DTensor) and not isinstance(value, DTensor):
        # every process has all of it, so nothing is sent
        return distribute_tensor(value.to(model.device), model.device_mesh, model.placements, src_data_rank=None)
    return value


def map_tensors(value: Any, change: Callable[[str, Tensor], Any], place: str = "") -> Any:
    """A nested state with every tensor changed by a function of its path (``/modules/policy/lm_head.weight``) and itself."""
    if isinstance(value, Tensor):
        return change(place, value)
    if isinstance(value, Mapping):
        return {key: map_tensors(one, change, f"{place}/{key}") for key, one in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map_tensors(one, change, f"{place}/{number}") for number, one in enumerate(value))
    return value


def _is_note(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {_NOTE, "shape", "dtype"}


def _notes(outline: Any) -> Iterator[tuple[str, tuple[int, ...], torch.dtype]]:
    if _is_note(outline):
        yield outline[_NOTE], tuple(outline["shape"]), getattr(torch, outline["dtype"])
    elif isinstance(outline, dict | list | tuple):
        for value in outline.values() if isinstance(outline, dict) else outline:
            yield from _notes(value)


def _filled(outline: Any, tensors: Mapping[str, Tensor]) -> Any:
    if _is_note(outline):
        return tensors[outline[_NOTE]]
    if isinstance(outline, dict):
        return {key: _filled(value, tensors) for key, value in outline.items()}
    if isinstance(outline, list | tuple):
        return type(outline)(_filled(value, tensors) for value in outline)
    return outline
