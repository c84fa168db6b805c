"""How varied a set of texts is, and how often one text repeats itself (spec I14: diversity loss, repetition, truncation).

Words are what whitespace separates, as they stand. Every measure depends on how many texts, and how long ones, are compared: compare
models on the same prompts, with the same number of draws.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence

from instructloop.core.errors import DataError
from instructloop.core.seeds import stream

SELF_BLEU_TEXTS = 100
"""Most hypotheses, and most references each, that ``self_bleu`` looks at."""
_BLEU_ORDER = 4
_HASH_BASE, _HASH_MODULUS = 1_000_003, 2**61 - 1


def distinct_n(texts: Sequence[str], n: int = 2) -> float:
    """Different n-grams of words over all n-grams (distinct-n, Li et al. 2016); 0 where no text has n words."""
    counts = _pooled(texts, n)
    return len(counts) / counts.total() if counts else 0.0


def ngram_entropy(texts: Sequence[str], n: int = 2) -> float:
    """Shannon entropy of the pooled n-grams of words, in bits; 0 where all are one n-gram, or none."""
    counts = _pooled(texts, n)
    total = counts.total()
    return -sum(count / total * math.log2(count / total) for count in counts.values()) if len(counts) > 1 else 0.0


def mode_share(texts: Sequence[str]) -> float:
    """Share of the texts that equal the most frequent one (after trimming); 1/n where all differ, 1 where all agree, 0 without texts."""
    return max(Counter(text.strip() for text in texts).values()) / len(texts) if texts else 0.0


def repetition(text: str, n: int = 4) -> float:
    """Share of a text's word n-grams that have occurred in it before: 0 where all differ, near 1 in a loop; 0 below n words."""
    grams = list(_grams(text.split(), n))
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def longest_repeat(text: str) -> int:
    """Words in the longest run that occurs at least twice in the text (the two may overlap)."""
    words = text.split()
    numbers = {word: number for number, word in enumerate(dict.fromkeys(words), start=1)}
    ids = [numbers[word] for word in words]
    low, high = 0, max(len(ids) - 1, 0)
    while low < high:  # a text that repeats k words repeats k - 1 words too
        middle = (low + high + 1) // 2
        low, high = (middle, high) if _repeats(ids, middle) else (low, middle - 1)
    return low


def _repeats(ids: Sequence[int], n: int) -> bool:
    """Whether a run of n ids occurs twice, by a rolling hash: linear time also where runs are thousands of words long."""
    first, rolled = pow(_HASH_BASE, n, _HASH_MODULUS), 0
    seen: set[int] = set()
    for place, one in enumerate(ids):
        rolled = (rolled * _HASH_BASE + one - (ids[place - n] * first if place >= n else 0)) % _HASH_MODULUS
        if place >= n - 1:
            if rolled in seen:
                return True
            seen.add(rolled)
    return False


def truncated(ended: Sequence[bool]) -> float:
    """Share of completions that did not end by themselves; 0 without completions."""
    return 1 - sum(ended) / len(ended) if ended else 0.0


def self_bleu(texts: Sequence[str], *, limit: int = SELF_BLEU_TEXTS, seed: int = 0) -> float:
    """Mean BLEU-4 (0..1) of each text against all others as references (Zhu et al. 2018): higher is less varied.

    Sentence BLEU with clipped counts, the closest reference length, uniform weights over the orders that the text has, and
    +1 smoothing of orders above one (Lin and Och 2004). A text without words is left out.

    Args:
        texts: completions of the same kind, e.g. one per prompt.
        limit: above this many texts, a seeded sample of them is compared.
        seed: of that sample.

    Raises:
        DataError: fewer than two texts with words.
    """
    split = [words for words in (text.split() for text in texts) if words]
    if len(split) < 2:
        raise DataError(f"self-BLEU compares texts with each other, got {len(split)} with words", hint="give at least two completions")
    if len(split) > limit:
        split = stream(seed, "self_bleu").sample(split, limit)
    counts = [[Counter(_grams(words, n)) for words in split] for n in range(1, _BLEU_ORDER + 1)]
    tops = [_two_highest(own) for own in counts]
    lengths = [len(words) for words in split]
    return math.fsum(_bleu_of(index, counts, tops, lengths) for index in range(len(split))) / len(split)


_Gram = tuple[str, ...]


def _grams(words: Sequence[str], n: int) -> Iterable[_Gram]:
    return zip(*(words[start:] for start in range(n)), strict=False)


def _pooled(texts: Sequence[str], n: int) -> Counter[_Gram]:
    return Counter(gram for text in texts for gram in _grams(text.split(), n))


def _two_highest(counts: Sequence[Counter[_Gram]]) -> dict[_Gram, tuple[int, int, int]]:
    """Of each n-gram: its highest count in one text, which text that is, and the highest count in the others."""
    found: dict[_Gram, tuple[int, int, int]] = {}
    for index, own in enumerate(counts):
        for gram, count in own.items():
            top, owner, second = found.get(gram, (0, -1, 0))
            found[gram] = (count, index, top) if count > top else (top, owner, max(second, count))
    return found


def _bleu_of(
    index: int, counts: Sequence[Sequence[Counter[_Gram]]], tops: Sequence[dict[_Gram, tuple[int, int, int]]], lengths: Sequence[int]
) -> float:
    logs = []
    for order, (own, top) in enumerate(zip((held[index] for held in counts), tops, strict=True), start=1):
        total = own.total()
        if not total:
            break  # shorter than this order
        matched = 0
        for gram, count in own.items():
            highest, owner, second = top[gram]
            matched += min(count, second if owner == index else highest)
        if order == 1 and not matched:
            return 0.0
        smooth = int(order > 1)
        logs.append(math.log((matched + smooth) / (total + smooth)))
    own_length = lengths[index]
    closest = min((length for other, length in enumerate(lengths) if other != index), key=lambda length: (abs(length - own_length), length))
    brevity = min(0.0, 1 - closest / own_length)
    return math.exp(brevity + math.fsum(logs) / len(logs))
