"""What a simulated labeler cares about: a number for each completion of a prompt. Bigger is better; the unit is the project's own.

The utility is stated, so that a rehearsal can be checked: one knows what the labelers wanted, and sees what training made of it.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from instructloop.core.callables import load_function
from instructloop.core.errors import ConfigError, DataError
from instructloop.core.records import Prompt, prompt_text

_EXAMPLE = "def score(prompts, completions): return [0.0 for _ in completions]"


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """A completion as a simulated labeler sees it; ``meta`` is what the store keeps with it."""

    text: str
    meta: Mapping[str, Any] = field(default_factory=dict)


Utility = Callable[[Prompt, Sequence[Candidate]], Sequence[float]]
"""``utility(prompt, candidates) -> one finite number a candidate``."""


def utility_of(name: str) -> Utility:
    """A utility by name.

    Args:
        name: ``overlap`` (words shared with the prompt's ``reference``, else with the prompt itself), ``length`` (logarithm of the
            words), ``meta:FIELD`` (a number that every completion carries in its meta), or ``file.py:function``, called like a
            reward as ``function(prompts, completions)``.

    Raises:
        ConfigError: an unknown name, or a function that cannot be imported.
    """
    if name == "overlap":
        return overlap
    if name == "length":
        return length
    if name.startswith("meta:") and name.removeprefix("meta:"):
        return from_meta(name.removeprefix("meta:"))
    if ":" in name:
        return from_function(load_function(name, what="the labelers' utility", example=_EXAMPLE), name=name)
    raise ConfigError(f"no utility is called {name!r}", hint="overlap, length, meta:FIELD or file.py:function")


def overlap(prompt: Prompt, candidates: Sequence[Candidate]) -> list[float]:
    """F1 of the different words shared with ``prompt.meta["reference"]``; without a reference, with the prompt's own words.

    It knows no language and needs no word list, so it works for any project; what it prefers is no more than on topic.
    """
    reference = prompt.meta.get("reference")
    wanted = words(reference if isinstance(reference, str) else prompt_text(prompt.prompt))
    return [_f1(words(candidate.text), wanted) for candidate in candidates]


def length(prompt: Prompt, candidates: Sequence[Candidate]) -> list[float]:
    """Base-2 logarithm of one plus the words: labelers who only want more (the bias that reward models inherit, spec I19)."""
    del prompt
    return [math.log2(1 + len(candidate.text.split())) for candidate in candidates]


def from_meta(name: str) -> Utility:
    """The number that stands in every completion's meta under ``name``: a table of scores made beforehand.

    Raises (when called):
        DataError: a completion without it.
    """

    def utility(prompt: Prompt, candidates: Sequence[Candidate]) -> list[float]:
        values = []
        for place, candidate in enumerate(candidates):
            value = candidate.meta.get(name)
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise DataError(
                    f"completion {place} of the prompt {prompt_text(prompt.prompt)[:60]!r} has no number {name!r} in its meta",
                    hint="write the score with each completion, or choose another utility",
                )
            values.append(float(value))
        return values

    return utility


def from_function(function: Callable[[list[str], list[str]], Sequence[float]], *, name: str) -> Utility:
    """The user's ``function(prompts, completions)``, the same shape as a Python reward."""

    def utility(prompt: Prompt, candidates: Sequence[Candidate]) -> list[float]:
        values = list(function([prompt_text(prompt.prompt)] * len(candidates), [candidate.text for candidate in candidates]))
        try:
            numbers = [float(value) for value in values]
        except (TypeError, ValueError) as error:
            raise DataError(f"the utility {name} returned something that is no number: {error}", hint=_EXAMPLE) from error
        if len(numbers) != len(candidates):
            raise DataError(f"the utility {name} returned {len(numbers)} numbers for {len(candidates)} completions", hint=_EXAMPLE)
        return numbers

    return utility


def echo(prompt: Prompt, text: str) -> float:
    """Share of the completion's words that the user had said already: a stand-in, without a lexicon, for agreeing with the user."""
    said, own = words(_last_turn(prompt)), words(text)
    return len(said & own) / len(own) if own else 0.0


def words(text: str) -> frozenset[str]:
    """The different words, lower case, without punctuation at their ends."""
    return frozenset(filter(None, (word.strip(".,;:!?\"'()[]{}").casefold() for word in text.split())))


def _last_turn(prompt: Prompt) -> str:
    return prompt.prompt if isinstance(prompt.prompt, str) else prompt.prompt[-1].content


def _f1(own: frozenset[str], wanted: frozenset[str]) -> float:
    shared = len(own & wanted)
    return 2 * shared / (len(own) + len(wanted)) if shared else 0.0
