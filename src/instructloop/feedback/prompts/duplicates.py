"""Prompts that say the same: exactly, by a long common beginning, or nearly (spec A3).

The authors dropped prompts that share a long common prefix and gave no length. **Ours**: two prompts share a long prefix if their
first 200 characters are equal once case, Unicode form and white space are evened out (shorter prompts: all of them); system turns of
a conversation do not count, since one system text may head very different requests. The same key serves as ``prefix_key`` in the
store. Near duplicates (also ours): Jaccard similarity of at least 0.8 between the sets of word 3-grams.
"""

import functools
import re
import unicodedata
import zlib
from typing import Any

from instructloop.core.errors import ConfigError, MissingExtraError
from instructloop.core.hashing import hash_bytes
from instructloop.core.records import Message, PromptContent, prompt_text

PREFIX_CHARS = 200
NEAR_SIMILARITY = 0.8
_SHINGLE_WORDS = 3
_PERMUTATIONS = 128
_SEARCH_MARGIN = 0.1
_SPACE = re.compile(r"\s+")
_WORD = re.compile(r"\w+")


def to_nfc(content: PromptContent) -> PromptContent:
    """The prompt in Unicode's composed form, the form in which the store keeps text."""
    if isinstance(content, str):
        return unicodedata.normalize("NFC", content)
    return tuple(Message(message.role, unicodedata.normalize("NFC", message.content)) for message in content)


def evened(content: PromptContent) -> str:
    """The text without what does not matter for likeness: system turns, case, Unicode form, runs of white space."""
    if not isinstance(content, str):
        content = prompt_text(tuple(message for message in content if message.role != "system"))
    return _SPACE.sub(" ", unicodedata.normalize("NFC", content).casefold()).strip()


def exact_key(content: PromptContent) -> str:
    """``sha256:<hex>``, equal for prompts that differ in case, Unicode form or white space at most."""
    return hash_bytes(evened(content).encode())


def prefix_key(content: PromptContent, *, chars: int = PREFIX_CHARS) -> str:
    """``sha256:<hex>``, equal for prompts that share their first ``chars`` characters (see the module)."""
    return hash_bytes(evened(content)[:chars].encode())


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

    A pair well above the threshold is missed with a probability below one in a thousand; a pair below it is never reported.
    """

    def __init__(self, threshold: float = NEAR_SIMILARITY) -> None:
        """Start empty.

        Args:
            threshold: least Jaccard similarity that counts as nearly the same, in (0, 1).

        Raises:
            ConfigError: a threshold outside (0, 1).
            MissingExtraError: ``datasketch`` is not installed.
        """
        if not 0 < threshold < 1:
            raise ConfigError(f"the similarity of near duplicates must be in (0, 1), got {threshold}")
        self.threshold = threshold
        # looking a little below the threshold costs candidates, which are checked, and saves misses, which are not
        self._lsh = _datasketch().MinHashLSH(threshold=max(0.05, threshold - _SEARCH_MARGIN), num_perm=_PERMUTATIONS)
        self._shingles: dict[str, frozenset[int]] = {}

    def find(self, content: PromptContent) -> str | None:
        """The key of the most similar text at or above the threshold, or None."""
        return self._nearest(shingles(evened(content)))[0]

    def add(self, key: str, content: PromptContent) -> None:
        """Remember a text under a key."""
        found = shingles(evened(content))
        self._insert(key, found, _sketch(found))

    def find_or_add(self, key: str, content: PromptContent) -> str | None:
        """The key of a text that is nearly the same; where there is none, remember this one."""
        found = shingles(evened(content))
        near, sketch = self._nearest(found)
        if near is None:
            self._insert(key, found, sketch)
        return near

    def _insert(self, key: str, found: frozenset[int], sketch: Any) -> None:
        self._lsh.insert(key, sketch)
        self._shingles[key] = found

    def _nearest(self, found: frozenset[int]) -> tuple[str | None, Any]:
        sketch = _sketch(found)
        scored = [(similarity(found, self._shingles[key]), key) for key in self._lsh.query(sketch)]
        best = max(scored, key=lambda pair: (pair[0], pair[1]), default=(0.0, ""))
        return (best[1] if best[0] >= self.threshold else None), sketch


@functools.cache
def _datasketch() -> Any:
    try:
        import datasketch
    except ImportError as error:
        raise MissingExtraError.for_extra("datasketch", "prompts") from error
    return datasketch


@functools.cache
def _permutations() -> Any:
    return _datasketch().MinHash(num_perm=_PERMUTATIONS, seed=1).permutations


def _sketch(found: frozenset[int]) -> Any:
    """A MinHash over shingles that are hashes already; the permutations are fixed, so results never vary."""
    sketch = _datasketch().MinHash(num_perm=_PERMUTATIONS, seed=1, permutations=_permutations(), hashfunc=_as_is)
    sketch.update_batch(sorted(found))
    return sketch


def _as_is(value: int) -> int:
    return value
