"""Multiple choice: by the likelihood of the options (spec G5, J-P4), or by which option a written answer names."""

import math
import re
from collections.abc import Sequence
from typing import Literal, TypeAlias

from instructloop.core.errors import DataError
from instructloop.scoring.answers import normalize

Norm: TypeAlias = Literal["mean", "sum", "bytes"]
"""``mean``: log-probability per token, the paper's; ``sum``: of the whole option; ``bytes``: per UTF-8 byte, which no tokenizer changes."""

_WORD = re.compile(r"\w+")


def pick(logprobs: Sequence[float], lengths: Sequence[int] = (), *, norm: Norm = "mean") -> int:
    """Number of the option with the highest log-probability under ``norm``; the first at a tie.

    The paper prints "lowest average per-token log probability"; the ruling is the highest (J-P4).

    Args:
        logprobs: total log-probability of each option after the prompt, in nats.
        lengths: tokens of each option (``mean``) or bytes (``bytes``, see ``byte_lengths``); not needed for ``sum``.
        norm: what the log-probability is divided by.

    Raises:
        DataError: no option, NaN, or lengths that do not fit.
    """
    if not logprobs or any(math.isnan(value) for value in logprobs):
        raise DataError(f"cannot choose between the log-probabilities {list(logprobs)}", hint="one finite number per option")
    if norm == "sum":
        values = list(logprobs)
    else:
        if len(lengths) != len(logprobs) or min(lengths) < 1:
            raise DataError(f"{len(logprobs)} options but the lengths {list(lengths)}", hint="one length of at least 1 per option")
        values = [logprob / length for logprob, length in zip(logprobs, lengths, strict=True)]
    return max(range(len(values)), key=values.__getitem__)


def byte_lengths(options: Sequence[str]) -> list[int]:
    """UTF-8 bytes of each option, for ``pick(..., norm="bytes")``."""
    return [len(option.encode()) for option in options]


def accuracy(picks: Sequence[int | None], answers: Sequence[int]) -> float:
    """Share of picks that are the answer, 0..1; None (nothing could be read) is wrong.

    Raises:
        DataError: no item, or not as many picks as answers.
    """
    if not answers or len(picks) != len(answers):
        raise DataError(f"{len(picks)} picks for {len(answers)} answers", hint="one pick per item, at least one item")
    return sum(chosen == answer for chosen, answer in zip(picks, answers, strict=True)) / len(answers)


def contained(text: str, options: Sequence[str]) -> int | None:
    """Number of the option that a written answer names first, as whole words in any case; None where it names none.

    Of two options that start at the same word, the longer one is meant ("North Sea" rather than "North"). WSC is mapped to True or
    False in this way: by whether the answer contains the noun (G8, J-P20).
    """
    words = [word.lower() for word in _WORD.findall(text)]
    best: tuple[int, int, int] | None = None
    for number, option in enumerate(options):
        wanted = [word.lower() for word in _WORD.findall(option)]
        starts = (place for place in range(len(words) - len(wanted) + 1) if words[place : place + len(wanted)] == wanted)
        place = next(starts, None) if wanted else None
        if place is not None and (best is None or (place, -len(wanted)) < best[:2]):
            best = (place, -len(wanted), number)
    return None if best is None else best[2]


def names_noun(text: str, noun: str) -> bool:
    """Whether a written answer of WSC names a noun: its words stand in the answer in a row, articles and punctuation aside (J-P20).

    "The trophy." and "trophy" name "the trophy"; "the brown suitcase" does not name "the suitcase".
    """
    return contained(normalize(text), [normalize(noun)]) is not None


def letter(text: str, count: int) -> int | None:
    """Number of the option that an answer names by its letter: ``B``, ``(b)``, ``B. because``, ``Answer: B``; None where none does.

    A letter with words behind it and no sign between ("A dog") is no choice.
    """
    letters = "".join(chr(ord("A") + number) for number in range(count))
    found = re.match(
        rf"\s*(?:(?:the\s+)?(?:correct\s+)?(?:answer|option)\s*(?:is)?\s*:?\s*)?\(?([{letters}])(?:[).:,]|\s*$|\s*\n)", text, re.IGNORECASE
    )
    return None if found is None else letters.index(found.group(1).upper())
