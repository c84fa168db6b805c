"""Data parallelism: W processes hold the same model, know the same batch, and each computes a share of its rows.

Denominators are taken over the whole batch before it is shared out, and gradients are *summed* over the processes, so a step does
not depend on how many there are (up to the order of additions).
"""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

_BUCKET_ELEMENTS = 1 << 24
"""Gradients are sent in pieces of at most this many numbers (64 MiB)."""


class Ranks:
    """This process's place among ``size`` processes; a group of one does nothing and costs nothing.

    Attributes:
        index: 0 .. size - 1.
        size: how many processes share the work.
    """

    def __init__(self, index: int = 0, size: int = 1) -> None:
        self.index, self.size = index, size

    @property
    def main(self) -> bool:
        """Whether this is the process that writes the run directory."""
        return self.index == 0

    def share(self, lengths: Sequence[int]) -> list[int]:
        """Which rows of a batch this process computes.

        Longest first, each row goes to the process with the fewest tokens so far; every process finds the same division.

        Args:
            lengths: tokens of each row of the whole batch.

        Returns:
            Row numbers in ascending order.
        """
        if self.size == 1:
            return list(range(len(lengths)))
        loads = [0] * self.size
        mine: list[int] = []
        for row in sorted(range(len(lengths)), key=lambda row: (-lengths[row], row)):
            lightest = loads.index(min(loads))
            loads[lightest] += max(lengths[row], 1)
            if lightest == self.index:
                mine.append(row)
        return sorted(mine)

    def sum(self, *values: float) -> tuple[float, ...]:
        """Each value summed over the processes."""
        if self.size == 1:
            return values
        total = torch.tensor(values, dtype=torch.float64, device=_device())
        dist.all_reduce(total)
        return tuple(total.tolist())

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Sum ``.grad`` over the processes, in place; a parameter without one counts as zeros.

        Sharded parameters (DTensor) are left alone: FSDP2 has reduced them in the backward pass.
        """
        if self.size == 1:
            return
        plain = [parameter for parameter in parameters if parameter.requires_grad and not isinstance(parameter, DTensor)]
        for parameter in plain:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        bucket: list[Tensor] = []
        for parameter in plain:
            assert parameter.grad is not None
            bucket.append(parameter.grad)
            if sum(piece.numel() for piece in bucket) >= _BUCKET_ELEMENTS:
                _sum_together(bucket)
                bucket = []
        if bucket:
            _sum_together(bucket)

    def gather(self, value: Any) -> list[Any]:
        """One picklable object of every process, in their order."""
        if self.size == 1:
            return [value]
        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, value)
        return found

    def barrier(self) -> None:
        """Wait until all processes are here."""
        if self.size > 1:
            dist.barrier()


ALONE = Ranks()
"""One process."""


def joined() -> Ranks:
    """The ranks of the process group that this process has joined, ``ALONE`` without one."""
    if not (dist.is_available() and dist.is_initialized()):
        return ALONE
    return Ranks(dist.get_rank(), dist.get_world_size())


def _sum_together(gradients: list[Tensor]) -> None:
    flat = torch.cat([gradient.reshape(-1).float() for gradient in gradients])
    dist.all_reduce(flat)
    for gradient, total in zip(gradients, flat.split([gradient.numel() for gradient in gradients]), strict=True):
        gradient.copy_(total.view_as(gradient))


def _device() -> torch.device:
    """Where collectives of the group work: NCCL takes CUDA tensors only."""
    return torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else torch.device("cpu")
