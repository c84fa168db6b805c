"""Data parallelism: W processes hold the same model, know the same batch, and each computes a share of its rows.

Denominators are taken over the whole batch before it is shared out, and gradients are *summed* over the processes, so a step does
not depend on how many there are (up to the order of additions).
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from instructloop.core.errors import InstructLoopError, RankLost

T = TypeVar("T")
TIMEOUT_VARIABLE = "INSTRUCTLOOP_RANK_TIMEOUT"
"""Environment variable: seconds that a process waits for the others before it gives up."""
_PATIENCE_S = 1800
"""A process that died closes its connections and is noticed at once; this is for one that hangs, and must outlast a slow evaluation."""
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
        with _together("a sum"):
            dist.all_reduce(total)
        return tuple(total.tolist())

    def sum_rows(self, matrix: Tensor) -> Tensor:
        """A matrix of which every process filled in its own rows and left the others 0, made whole in place."""
        if self.size > 1:
            whole = matrix.to(_device())
            with _together("the rows of a batch"):
                dist.all_reduce(whole)
            matrix.copy_(whole)
        return matrix

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Sum ``.grad`` over the processes, in place; where some have one and others none, none counts as zeros.

        Sharded parameters (DTensor) are left alone: FSDP2 has reduced them in the backward pass.
        """
        if self.size == 1:
            return
        plain = [parameter for parameter in parameters if parameter.requires_grad and not isinstance(parameter, DTensor)]
        # what no process used keeps no gradient, as in one process: the optimizer passes it over
        used = torch.tensor([parameter.grad is not None for parameter in plain], dtype=torch.uint8, device=_device())
        with _together("the gradient"):
            dist.all_reduce(used, op=dist.ReduceOp.MAX)
        plain = [parameter for parameter, anywhere in zip(plain, used.tolist(), strict=True) if anywhere]
        for parameter in plain:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        bucket: list[Tensor] = []
        elements = 0
        with _together("the gradient"):
            for parameter in plain:
                assert parameter.grad is not None
                bucket.append(parameter.grad)
                elements += parameter.grad.numel()
                if elements >= _BUCKET_ELEMENTS or parameter is plain[-1]:
                    _sum_together(bucket)
                    bucket, elements = [], 0

    def gather(self, value: Any) -> list[Any]:
        """One picklable object of every process, in their order."""
        if self.size == 1:
            return [value]
        found: list[Any] = [None] * self.size
        with _together("an exchange of values"):
            dist.all_gather_object(found, value)
        return found

    def each(self, work: Callable[[], T]) -> list[T]:
        """Do ``work`` on every process and gather the results; an error that a user can mend on one is raised on all.

        Raises:
            InstructLoopError: the error of the first process that has one.
        """
        if self.size == 1:
            return [work()]
        done: tuple[T | None, InstructLoopError | None]
        try:
            done = work(), None
        except InstructLoopError as error:
            done = None, error
        results = []
        for value, failed in self.gather(done):
            if failed is not None:
                raise failed
            results.append(value)
        return results

    def by_main(self, work: Callable[[], T]) -> T:
        """Let the main process do ``work``; all get its (picklable) result, or its error."""
        found = self.each(lambda: [work()] if self.main else [])
        return found[0][0]

    def in_step(self, parts: Iterable[T], *, idle: Callable[[], T], sharded: bool) -> Iterator[tuple[T, float]]:
        """Micro-batches with the weight 1, and where weights are sharded also idle ones with weight 0, until all processes had as many.

        A pass through a sharded layer needs all processes, so each must make as many passes as the others.

        Args:
            parts: this process's micro-batches.
            idle: makes a micro-batch (a small one) for a process that has none left.
            sharded: whether the model's weights are (``models.sharding.is_sharded``).
        """
        if not sharded or self.size == 1:
            for part in parts:
                yield part, 1.0
            return
        own = list(parts)
        rounds = torch.tensor(len(own), device=_device())
        with _together("the number of micro-batches"):
            dist.all_reduce(rounds, op=dist.ReduceOp.MAX)
        for part in own:
            yield part, 1.0
        for _ in range(int(rounds) - len(own)):
            yield idle(), 0.0

    def barrier(self) -> None:
        """Wait until all processes are here."""
        if self.size > 1:
            with _together("a barrier"):
                dist.barrier()


ALONE = Ranks()
"""One process."""


def joined() -> Ranks:
    """The ranks of the process group that this process has joined, ``ALONE`` without one."""
    if not (dist.is_available() and dist.is_initialized()):
        return ALONE
    return Ranks(dist.get_rank(), dist.get_world_size())


def join(backend: str | None = None) -> Ranks:
    """Join the process group that the environment describes (RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT: torchrun's convention).

    Args:
        backend: if left out, ``gloo``, and NCCL beside it for what lies on a GPU. With CUDA, a process takes the device LOCAL_RANK.

    Raises:
        RankLost: the others did not come.
    """
    if joined().size > 1:
        return joined()
    backend = backend or ("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    if "nccl" in backend:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    with _together("the start"):
        dist.init_process_group(backend, timeout=timedelta(seconds=float(os.environ.get(TIMEOUT_VARIABLE, _PATIENCE_S))))
    return joined()


def leave() -> None:
    """Leave the process group; nothing to do outside one."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


@contextmanager
def _together(what: str) -> Iterator[None]:
    """Say who is missing when a collective fails: gloo and NCCL name sockets."""
    try:
        yield
    except (RuntimeError, ValueError) as error:
        if isinstance(error, InstructLoopError):
            raise
        place = f"process {dist.get_rank()} of {dist.get_world_size()}" if dist.is_initialized() else "this process"
        raise RankLost(
            f"{place} lost the others while waiting for {what}: {str(error).splitlines()[0]}",
            hint="the first error of another process says why; --resume continues from the last checkpoint",
        ) from error


def _sum_together(gradients: list[Tensor]) -> None:
    flat = torch.cat([gradient.reshape(-1).float() for gradient in gradients])
    dist.all_reduce(flat)
    for gradient, total in zip(gradients, flat.split([gradient.numel() for gradient in gradients]), strict=True):
        gradient.copy_(total.view_as(gradient))


def _device() -> torch.device:
    """Where numbers are exchanged: on the CPU by gloo, or where there is NCCL alone (it takes CUDA tensors only) on the GPU."""
    if "gloo" in dist.get_backend_config():
        return torch.device("cpu")
    return torch.device("cuda", torch.cuda.current_device())
