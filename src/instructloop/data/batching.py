"""Which rows form a batch: pure functions of the step, so that resuming needs no stored position."""

from collections.abc import Sequence
from functools import lru_cache
from math import ceil

from instructloop.core.errors import ConfigError
from instructloop.core.seeds import permutation


def micro_batches(lengths: Sequence[int], budget_tokens: int, *, multiple: int = 1) -> list[list[int]]:
    """Split rows into micro-batches whose padded area (rows x longest row) stays within a budget.

    Rows are sorted by length, longest first, so that little is padding and a memory shortage shows in the first pass.
    A row longer than the budget stands alone. Every index appears exactly once; the result depends on the arguments alone.

    Args:
        lengths: tokens per row.
        budget_tokens: largest padded area.
        multiple: lengths count as rounded up to a multiple of this.
    """
    return grouped_micro_batches([[length] for length in lengths], budget_tokens, multiple=multiple)


def grouped_micro_batches(groups: Sequence[Sequence[int]], budget_tokens: int, *, multiple: int = 1) -> list[list[int]]:
    """The same for groups of rows that must share a backward pass, e.g. the K completions of one prompt (spec D3).

    Args:
        groups: tokens per row, per group; an empty group takes no room.
        budget_tokens: largest padded area of a micro-batch; a group larger than that stands alone.
        multiple: lengths count as rounded up to a multiple of this.

    Returns:
        Lists of group indices.
    """
    if budget_tokens < 1 or multiple < 1:
        raise ConfigError(f"a micro-batch needs a positive budget and multiple, got {budget_tokens} and {multiple}")
    longest = [ceil(max(group, default=0) / multiple) * multiple for group in groups]
    batches: list[list[int]] = []
    rows = widest = 0
    for index in sorted(range(len(groups)), key=lambda i: (-longest[i], i)):
        size = len(groups[index])
        widest = max(widest, longest[index])
        if batches and (rows + size) * widest <= budget_tokens:
            batches[-1].append(index)
            rows += size
        else:
            batches.append([index])
            rows, widest = size, longest[index]
    return batches


def epoch_order(n: int, seed: int, epoch: int) -> list[int]:
    """The order in which an epoch visits ``range(n)``."""
    return list(_order(n, seed, epoch))


@lru_cache(maxsize=8)
def _order(n: int, seed: int, epoch: int) -> tuple[int, ...]:
    """Shuffling 30,000 rows takes 15 ms, and every step of an epoch asks for the same order."""
    return tuple(permutation(n, seed, "epoch", epoch))


def steps_in(n: int, batch_size: int, epochs: int) -> int:
    """Optimizer steps that ``epochs`` passes over ``n`` rows take; only the very last batch may be short."""
    return ceil(n * epochs / batch_size)


def batch_at(step: int, n: int, batch_size: int, seed: int, *, epochs: int | None = None) -> list[int]:
    """Row indices of a step's batch: shuffled epochs laid end to end and cut into batches.

    A batch may run over the border of two epochs, so all are full; each epoch visits every row exactly once.

    Args:
        step: optimizer step from 0.
        n: rows in the data.
        batch_size: rows a batch holds.
        seed: base seed of the stage.
        epochs: rows after this many epochs are not given out, so the last batch may be short (and later ones empty).
    """
    if n < 1 or batch_size < 1 or step < 0:
        raise ConfigError(f"no batch of {batch_size} from {n} rows at step {step}", hint="check that the data file is not empty")
    start = step * batch_size
    stop = start + batch_size if epochs is None else min(start + batch_size, n * epochs)
    picked: list[int] = []
    position = start
    while position < stop:
        epoch, offset = divmod(position, n)
        taken = _order(n, seed, epoch)[offset : offset + stop - position]
        picked += taken
        position += len(taken)
    return picked
