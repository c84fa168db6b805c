"""Prompts that say the same: exactly, by a long common beginning, or nearly (spec A3).

The authors dropped prompts that share a long common prefix and gave no length. **Ours**: two prompts share a long prefix if their
first 200 characters are equal once case, Unicode form and white space are evened out (shorter prompts: all of them); system turns of
a conversation do not count, since one system text may head very different requests. The key is ``records.prefix_key``. Near duplicates (also ours): Jaccard similarity of at least 0.8 between the sets of word 3-grams.
"""

import functools
import re
import unicodedata
import zlib
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from instructloop.core.errors import ConfigError
from instructloop.core.hashing import hash_bytes
from instructloop.core.records import PromptContent, prompt_text
from instructloop.core.seeds import stream

NEAR_SIMILARITY = 0.8
_SHINGLE_WORDS = 3
_PERMUTATIONS = 128
_MISSED = 0.002
_SPACE = re.compile(r"\s+")
_WORD = re.compile(r"\w+")


def evened(content: PromptContent) -> str:
    """The text without what does not matter for likeness: system turns, case, Unicode form, runs of white space."""
    if not isinstance(content, str):
        content = prompt_text(tuple(message for message in content if message.role != "system"))
    return _SPACE.sub(" ", unicodedata.normalize("NFC", content).casefold()).strip()


def exact_key(content: PromptContent) -> str:
    """``sha256:<hex>``, equal for prompts that differ in case, Unicode form or white space at most."""
    return hash_bytes(evened(content).encode())


def shingles(text: str) -> frozenset[int]:
    """Hashes of all word 3-grams; a text of fewer words is one shingle."""
    words = _WORD.findall(text)
    if len(words) <= _SHINGLE_WORDS:
        return frozenset({zlib.crc32(" ".join(words).encode())})
    return frozenset(zlib.crc32(" ".join(words[i : i + _SHINGLE_WORDS]).encode()) for i in range(len(words) - _SHINGLE_WORDS + 1))


def similarity(first: frozenset[int], second: frozenset[int]) -> float:
    """Jaccard similarity: shared shingles over all shingles, in [0, 1]; two empty sets are alike."""
    union = len(first | second)
    return len(first & second) / union if union else 1.0


class NearIndex:
    """Texts seen so far, asked for one that is nearly the same: MinHash finds candidates, the exact similarity decides.

    A pair at the threshold is missed with a probability of at most 0.002, a pair above it less often; a pair below it is never
    reported. The hash functions are fixed, so the same texts always give the same answer.
    """

    def __init__(self, threshold: float = NEAR_SIMILARITY) -> None:
        """Start empty.

        Args:
            threshold: least Jaccard similarity that counts as nearly the same, in (0, 1).

        Raises:
            ConfigError: a threshold outside (0, 1).
        """
        if not 0 < threshold < 1:
            raise ConfigError(f"the similarity of near duplicates must be in (0, 1), got {threshold}", hint="ours is 0.8")
        self.threshold = threshold
        self._rows = _rows_per_band(threshold)
        self._bands: list[dict[bytes, list[str]]] = [{} for _ in range(_PERMUTATIONS // self._rows)]
        self._shingles: dict[str, frozenset[int]] = {}

    def find(self, content: PromptContent, *, ignore: Callable[[str], bool] | None = None) -> str | None:
        """The key of the most similar text at or above the threshold, or None; ``ignore`` names keys that do not count."""
        found = shingles(evened(content))
        return self._nearest(found, self._buckets(found), ignore)

    def add(self, key: str, content: PromptContent) -> None:
        """Remember a text under a key."""
        found = shingles(evened(content))
        self._insert(key, found, self._buckets(found))

    def _buckets(self, found: frozenset[int]) -> list[bytes]:
        sketch = _sketch(found)
        return [sketch[band * self._rows : (band + 1) * self._rows].tobytes() for band in range(len(self._bands))]

    def _insert(self, key: str, found: frozenset[int], buckets: Sequence[bytes]) -> None:
        self._shingles[key] = found
        for band, bucket in zip(self._bands, buckets, strict=True):
            band.setdefault(bucket, []).append(key)

    def _nearest(self, found: frozenset[int], buckets: Sequence[bytes], ignore: Callable[[str], bool] | None) -> str | None:
        candidates = {key for band, bucket in zip(self._bands, buckets, strict=True) for key in band.get(bucket, ())}
        if ignore is not None:
            candidates = {key for key in candidates if not ignore(key)}
        best = max(((similarity(found, self._shingles[key]), key) for key in candidates), default=(0.0, ""))
        return best[1] if best[0] >= self.threshold else None


def _rows_per_band(threshold: float) -> int:
    """Most rows a band may have so that a pair at the threshold is missed with a probability of at most 0.002.

    Two sets of similarity s agree in one row with probability s, so in none of the b bands of r rows with (1 - s^r)^b.
    """
    return max((rows for rows in range(1, 33) if (1 - threshold**rows) ** (_PERMUTATIONS // rows) <= _MISSED), default=1)


@functools.cache
def _permutations() -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Factors (odd) and offsets of h -> (a h + b) mod 2^64, whose upper half is taken: multiply-shift hashing."""
    random = stream(0, "minhash")
    factors = [random.getrandbits(64) | 1 for _ in range(_PERMUTATIONS)]
    return np.array(factors, dtype=np.uint64), np.array([random.getrandbits(64) for _ in range(_PERMUTATIONS)], dtype=np.uint64)


def _sketch(found: frozenset[int]) -> NDArray[np.uint32]:
    """The least hash of the set under each permutation, shape (128,)."""
    factors, offsets = _permutations()
    values = np.fromiter(found, dtype=np.uint64, count=len(found))
    hashed = (values[:, None] * factors + offsets) >> np.uint64(32)  # unsigned arithmetic wraps, which is the modulus
    least: NDArray[np.uint32] = hashed.min(axis=0).astype(np.uint32)
    return least
