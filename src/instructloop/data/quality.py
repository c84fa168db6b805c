"""What may be wrong with demonstrations before a model inherits it (spec I19): found by rules, told by row, removed by nobody.

The rules are ours and crude on purpose; each has a stated limit and counts what a person should look at. They need no model and
no word lists but two short English ones (refusals, yes and no).
"""

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import median
from typing import Any

import numpy as np

from instructloop.core.records import Demonstration, prompt_text

NEAR = 0.8
"""Completions whose word 3-grams overlap this much (Jaccard) are nearly the same."""
SHORT_WORDS = 2
LONG_FACTOR = 8
"""Longer than so many times the median of all, and than 100 words: too long."""
COPIED = 0.8
"""Share of the completion's word 4-grams that stand in the prompt."""
APART = 0.1
"""Two answers to one prompt with less word overlap (F1) than this contradict each other, or the prompt is unclear."""
_COPYING_TASKS = frozenset({"extraction", "extract", "rewriting", "rewrite", "summarization", "closed_qa", "classification"})
_REFUSALS = (
    "i can't",
    "i cannot",
    "i can not",
    "i won't",
    "i will not",
    "i'm sorry",
    "i am sorry",
    "sorry,",
    "i'm unable",
    "i am unable",
    "as an ai",
)
_YES, _NO = frozenset({"yes", "true", "correct"}), frozenset({"no", "false", "incorrect"})
_MIN_ROWS = 5
_BANDS, _ROWS = 12, 4
_SHOWN = 5

CHECKS: Mapping[str, str] = {
    "duplicate": "the same prompt and completion again",
    "near_duplicate": f"nearly the completion of another prompt ({NEAR:.0%} of the 3-grams)",
    "too_short": f"fewer than {SHORT_WORDS} words where others wrote more",
    "too_long": f"more than {LONG_FACTOR} times the median length",
    "copied_prompt": f"{COPIED:.0%} of it stands in the prompt",
    "contradictory": "another answer to the same prompt has next to no word in common, or says no for yes",
    "refusal": "declines to answer",
    "unlike_others": "its labeler writes much longer, shorter or more declining answers than the others",
}
"""Name and meaning of every check."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One row that a person should look at."""

    check: str
    row: int
    """Index into the demonstrations, from 0."""
    why: str
    other: int | None = None
    """The row it clashes with."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DemonstrationReport:
    """All findings, and the labelers side by side."""

    rows: int
    findings: tuple[Finding, ...]
    labelers: Mapping[str, Mapping[str, float]]
    """Code to ``rows``, ``median_words``, ``refusal_share``, ``flagged_share``."""

    @property
    def counts(self) -> dict[str, int]:
        """Rows by check."""
        found: dict[str, set[int]] = defaultdict(set)
        for finding in self.findings:
            found[finding.check].add(finding.row)
        return {name: len(found[name]) for name in CHECKS if found[name]}

    def describe(self) -> str:
        """One line."""
        shown = ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in self.counts.items())
        return f"{self.rows} demonstrations checked: {shown or 'nothing found'}"

    def as_json(self) -> dict[str, Any]:
        """Counts, a few rows of each check, and the labelers' table."""
        shown: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for finding in self.findings:
            if len(shown[finding.check]) < _SHOWN:
                shown[finding.check].append({"row": finding.row, "other": finding.other, "why": finding.why})
        return {
            "rows": self.rows,
            "counts": self.counts,
            "examples": dict(shown),
            "labelers": {k: dict(v) for k, v in self.labelers.items()},
        }


def check_demonstrations(rows: Sequence[Demonstration]) -> DemonstrationReport:
    """Look at demonstrations for what a model would inherit (spec I19).

    Args:
        rows: in any order; ``meta["labeler"]`` and ``meta["use_case"]`` are used where they stand.
    """
    texts = [row.completion.strip() for row in rows]
    words = [_words(text) for text in texts]
    findings = [*_duplicates(rows, texts), *_near(rows, texts, words), *_lengths(words), *_copied(rows, words)]
    findings += _contradictions(rows, words)
    refusals = {place for place, text in enumerate(texts) if text.lower().replace("\u2019", "'").startswith(_REFUSALS)}
    findings += [Finding("refusal", place, texts[place][:60]) for place in sorted(refusals)]
    strange, labelers = _labelers(rows, words, refusals, {finding.row for finding in findings})
    return DemonstrationReport(rows=len(rows), findings=(*findings, *strange), labelers=labelers)


def _words(text: str) -> list[str]:
    return [word for word in (part.strip(".,;:!?\"'()[]{}").casefold() for part in text.split()) if word]


def _duplicates(rows: Sequence[Demonstration], texts: Sequence[str]) -> Iterable[Finding]:
    first: dict[tuple[str, str], int] = {}
    for place, (row, text) in enumerate(zip(rows, texts, strict=True)):
        other = first.setdefault((prompt_text(row.prompt), text), place)
        if other != place:
            yield Finding("duplicate", place, f"the same as row {other}", other)


def _near(rows: Sequence[Demonstration], texts: Sequence[str], words: Sequence[Sequence[str]]) -> Iterable[Finding]:
    """Near duplicates among completions of at least six words, found by min-hash bands and confirmed by counting."""
    grams = [{_hash(" ".join(own[at : at + 3])) for at in range(len(own) - 2)} if len(own) >= 6 else set() for own in words]
    buckets: dict[tuple[int, tuple[int, ...]], list[int]] = defaultdict(list)
    for place, own in enumerate(grams):
        if own:
            signature = np.bitwise_xor.outer(_MASKS, np.fromiter(own, np.uint64, len(own))).min(axis=1).reshape(_BANDS, _ROWS)
            for band, key in enumerate(map(tuple, signature.tolist())):
                buckets[band, key].append(place)
    seen: set[int] = set()
    for places in buckets.values():
        first = places[0]
        for place in places[1:]:
            alike = len(grams[first] & grams[place]) / len(grams[first] | grams[place])
            if place not in seen and alike >= NEAR and (rows[first].prompt != rows[place].prompt or texts[first] != texts[place]):
                seen.add(place)
                yield Finding("near_duplicate", place, f"{alike:.0%} like row {first}", first)


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


_MASKS = np.array([_hash(f"mask {number}") for number in range(_BANDS * _ROWS)], np.uint64)


def _lengths(words: Sequence[Sequence[str]]) -> Iterable[Finding]:
    if not words:
        return
    usual = median(len(own) for own in words)
    for place, own in enumerate(words):
        if len(own) < SHORT_WORDS and usual >= 2 * SHORT_WORDS:
            yield Finding("too_short", place, f"{len(own)} words, the median is {usual:g}")
        elif len(own) > max(100, LONG_FACTOR * usual):
            yield Finding("too_long", place, f"{len(own)} words, the median is {usual:g}")


def _copied(rows: Sequence[Demonstration], words: Sequence[Sequence[str]]) -> Iterable[Finding]:
    for place, (row, own) in enumerate(zip(rows, words, strict=True)):
        if len(own) < 8 or str(row.meta.get("use_case", "")).lower() in _COPYING_TASKS:
            continue
        asked = _words(prompt_text(row.prompt))
        there = {tuple(asked[at : at + 4]) for at in range(len(asked) - 3)}
        grams = [tuple(own[at : at + 4]) for at in range(len(own) - 3)]
        share = sum(gram in there for gram in grams) / len(grams)
        if share >= COPIED:
            yield Finding("copied_prompt", place, f"{share:.0%} of it stands in the prompt")


def _contradictions(rows: Sequence[Demonstration], words: Sequence[Sequence[str]]) -> Iterable[Finding]:
    by_prompt: dict[str, list[int]] = defaultdict(list)
    for place, row in enumerate(rows):
        by_prompt[prompt_text(row.prompt)].append(place)
    for places in by_prompt.values():
        for a, b in combinations(places, 2):
            first, second = set(words[a]), set(words[b])
            if not first or not second:
                continue
            opposed = {_verdict(words[a]), _verdict(words[b])} == {"yes", "no"}
            overlap = 2 * len(first & second) / (len(first) + len(second))
            if opposed or overlap < APART:
                yield Finding("contradictory", b, "says yes and no" if opposed else f"word overlap {overlap:.0%} with row {a}", a)


def _verdict(words: Sequence[str]) -> str:
    return "yes" if words[0] in _YES else "no" if words[0] in _NO else ""


def _labelers(
    rows: Sequence[Demonstration], words: Sequence[Sequence[str]], refusals: set[int], flagged: set[int]
) -> tuple[list[Finding], dict[str, dict[str, float]]]:
    """Labelers far from the others: median length by a factor of e, or refusals beyond three standard errors of the others' share."""
    own: dict[str, list[int]] = defaultdict(list)
    for place, row in enumerate(rows):
        if row.meta.get("labeler") is not None:
            own[str(row.meta["labeler"])].append(place)
    table = {
        code: {
            "rows": len(places),
            "median_words": median(len(words[place]) for place in places),
            "refusal_share": sum(place in refusals for place in places) / len(places),
            "flagged_share": sum(place in flagged for place in places) / len(places),
        }
        for code, places in sorted(own.items())
    }
    found = []
    counts = Counter({code: len(places) for code, places in own.items()})
    for code, places in own.items():
        others = [place for other, theirs in own.items() if other != code for place in theirs]
        if counts[code] < _MIN_ROWS or len(others) < _MIN_ROWS:
            continue
        ratio = math.log((1 + table[code]["median_words"]) / (1 + median(len(words[place]) for place in others)))
        share = sum(place in refusals for place in others) / len(others)
        error = math.sqrt(max(share * (1 - share), 1 / len(others)) / len(places))
        why = []
        if abs(ratio) > 1:
            why.append(f"{code}'s median is {table[code]['median_words']:g} words, the others' {math.exp(-ratio):.2g} times that")
        if abs(table[code]["refusal_share"] - share) > 3 * error:
            why.append(f"{code} declines {table[code]['refusal_share']:.0%}, the others {share:.0%}")
        if why:
            found.append(Finding("unlike_others", places[0], "; ".join(why)))
    return found, table
