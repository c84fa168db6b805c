"""Bytes that torch holds, counted exactly: every storage from the operation that makes it until its last reference goes.

The resident size that the operating system reports depends on the allocator, on what ran before and on page caches; these counts depend on
the program alone, so a test can hold an estimate against them on any machine. Scratch room inside of a kernel is not seen.
"""

import weakref
from types import TracebackType
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Largest(NamedTuple):
    """The largest storage that was made under a meter."""

    bytes: int = 0
    shape: tuple[int, ...] = ()
    operation: str = ""


class MemoryMeter(TorchDispatchMode):
    """Counts the storages that operations make inside the ``with`` block; what was there before counts as nothing.

    Works on real and on fake tensors, and in the backward pass.

    Args:
        width: tensors whose last dimension is this (the vocabulary's size finds logits) are counted apart.

    Attributes:
        live: bytes held now.
        peak: most bytes held at once since the beginning.
        peak_wide: the same of tensors of the given width.
        peak_narrow: the same of all others.
        largest: the largest single storage.
    """

    def __init__(self, *, width: int = 0) -> None:
        super().__init__()
        self.width = width
        self.live = self.peak = self.peak_wide = self.peak_narrow = 0
        self.largest = Largest()
        self._live_wide = 0
        self._known: dict[int, tuple[int, bool]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        """Run one operation and enter what it made."""
        result = func(*args, **(kwargs or {}))
        given: set[int] | None = None
        for leaf in tree_leaves(result):
            if not isinstance(leaf, Tensor):
                continue
            storage = leaf.untyped_storage()
            if storage._cdata in self._known:
                continue
            if given is None:  # a view of something older than the block is no allocation
                given = {one.untyped_storage()._cdata for one in tree_leaves((args, kwargs)) if isinstance(one, Tensor)}
            size = 0 if storage._cdata in given else storage.nbytes()
            wide = self.width > 0 and leaf.ndim > 0 and leaf.shape[-1] == self.width
            self._watch(storage, size, wide)
            if size > self.largest.bytes:
                self.largest = Largest(size, tuple(leaf.shape), str(func))
        self.peak = max(self.peak, self.live)
        self.peak_wide = max(self.peak_wide, self._live_wide)
        self.peak_narrow = max(self.peak_narrow, self.live - self._live_wide)
        return result

    def _watch(self, storage: torch.UntypedStorage, size: int, wide: bool) -> None:
        key = storage._cdata
        self._known[key] = (size, wide)
        self.live += size
        self._live_wide += size if wide else 0
        weakref.finalize(storage, self._gone, key).atexit = False

    def _gone(self, key: int) -> None:
        size, wide = self._known.pop(key, (0, False))
        self.live -= size
        self._live_wide -= size if wide else 0


class CudaMeter:
    """The same reading from CUDA's own allocator: ``peak`` bytes above what was there at the beginning of the ``with`` block."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.peak = 0
        self._before = 0

    def __enter__(self) -> "CudaMeter":
        torch.cuda.synchronize(self.device)
        torch.cuda.reset_peak_memory_stats(self.device)
        self._before = torch.cuda.memory_allocated(self.device)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        torch.cuda.synchronize(self.device)
        self.peak = torch.cuda.max_memory_allocated(self.device) - self._before
