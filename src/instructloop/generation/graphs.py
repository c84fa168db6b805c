"""Decoding steps of static shapes: on CUDA each is captured once as a graph and replayed, which spares launching its kernels.

Rows and columns are rounded up to sizes of their own, so that few graphs are needed. On a CPU the same padded step runs as it
is; that is the twin that tests compare with the plain step.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from instructloop.generation.library import StepFunction
from instructloop.generation.slots import SlotCache, Zone

FEWEST_COLUMNS = 128
"""Columns are rounded up to this times a power of two."""
_WARM_UPS = 2


class StaticStep:
    """``StepFunction`` that pads rows and columns of another one.

    NOTE: a graph holds the addresses of what it read when it was captured: weights, cache, and the copies in lower precision
    that autocast keeps until its context ends. So a ``StaticStep`` lives no longer than one call of ``generate``, inside one
    ``precision`` context, and belongs to one cache.

    Args:
        step: what to pad; it must not look at values on the host.
        device: where it runs.
    """

    def __init__(self, step: StepFunction, device: torch.device) -> None:
        self._step, self._device = step, device
        self._tokens: Tensor | None = None
        self._columns: Tensor | None = None
        self._graphs: dict[tuple[int, int], tuple[torch.cuda.CUDAGraph, Tensor]] = {}

    def __call__(self, tokens: Int[Tensor, "rows"], cache: SlotCache) -> Float[Tensor, "rows V"]:
        """Logits after one more token a row; valid until the next call."""
        rows, columns = len(tokens), cache.columns
        if self._tokens is None or self._columns is None:
            self._tokens = torch.zeros(cache.slots, dtype=torch.long, device=self._device)
            self._columns = torch.zeros_like(self._tokens)
        shape = static_shape(rows, cache)
        self._tokens[:rows], self._columns[:rows] = tokens, columns
        # rows added write the first column of slots that are not in play: whatever begins there overwrites it
        self._tokens[rows : shape[0]], self._columns[rows : shape[0]] = 0, 0
        if self._device.type != "cuda":
            return self._run(shape, cache)[:rows]
        if shape not in self._graphs:
            self._graphs[shape] = self._capture(shape, cache)
        graph, logits = self._graphs[shape]
        graph.replay()
        return logits[:rows]

    def _run(self, shape: tuple[int, int], cache: SlotCache) -> Tensor:
        assert self._tokens is not None
        assert self._columns is not None
        cache.begin(self._columns[: shape[0]], [Zone(0, *shape)])
        return self._step(self._tokens[: shape[0]], cache)

    def _capture(self, shape: tuple[int, int], cache: SlotCache) -> tuple[torch.cuda.CUDAGraph, Tensor]:
        """Run it for warmth (writing the same columns again changes nothing) and record it."""
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(_WARM_UPS):
                self._run(shape, cache)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        pool = next(iter(self._graphs.values()))[0].pool() if self._graphs else None
        with torch.cuda.graph(graph, pool=pool):
            logits = self._run(shape, cache)
        return graph, logits


def static_shape(rows: int, cache: SlotCache) -> tuple[int, int]:
    """Rows and columns rounded up: to a power of two, and to ``FEWEST_COLUMNS`` times one; never beyond the cache."""
    columns = FEWEST_COLUMNS
    while columns < cache.longest:
        columns *= 2
    return min(1 << (rows - 1).bit_length(), cache.slots), min(columns, cache.capacity)
