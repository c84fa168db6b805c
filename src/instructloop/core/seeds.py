"""Named random streams: the same seed and names give the same stream on every machine, in every process.

A stage never keeps a running generator. It derives a fresh seed from what it is about to do (``derive(seed, "rollout",
step)``), so that resuming at step 300 equals never having stopped.
"""

import hashlib
import random


def derive(seed: int, *names: str | int) -> int:
    """A 63-bit seed from a base seed and the names of what it is for, e.g. ``derive(7, "rollout", 300)``."""
    text = "/".join([str(seed), *(f"{type(name).__name__}:{name}" for name in names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def stream(seed: int, *names: str | int) -> random.Random:
    """A standard-library generator for one named purpose."""
    return random.Random(derive(seed, *names))


def permutation(n: int, seed: int, *names: str | int) -> list[int]:
    """A shuffled ``range(n)``: the same for the same seed and names."""
    order = list(range(n))
    stream(seed, *names).shuffle(order)
    return order
