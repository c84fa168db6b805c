"""IFEval's 25 checkable instructions (Zhou et al. 2023), strict and loose, as the official program decides them.

A rule looks at the text alone, so the same functions serve as a verifiable reward. What cannot be decided on this machine (the language
of a text without langdetect) is None: left out of every share, counted and named, and never taken for right.

Differences from the official program: an argument of 0 is 0, where it draws a number at random; so is a letter outside a-z itself, where
it draws another one (two of the 541 prompts ask for ``#`` and ``!``); langdetect starts from a fixed seed.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from instructloop.core.errors import DataError
from instructloop.scoring.ifeval_text import (
    can_tell_languages,
    count_capital_words,
    count_sentences,
    count_words,
    language,
    sentence_counter,
)

Arguments = Mapping[str, Any]
Verdict = bool | None
_CONSTRAINED = ("My answer is yes.", "My answer is no.", "My answer is maybe.")
_FENCE = re.compile(r"^(?:```json)?(?:```Json)?(?:```JSON)?(?:```)?")
_FIRST_WORD_ENDS = re.compile(r"[.,?!'\"]")


def _holds(relation: str, count: int, bound: int) -> bool:
    if relation not in ("less than", "at least"):
        raise DataError(f"IFEval compares with 'less than' or 'at least', not {relation!r}", hint="see the field kwargs of the prompt")
    return count < bound if relation == "less than" else count >= bound


def _pattern(text: str, ends: str = "") -> re.Pattern[str]:
    """The keyword as the official program reads it, a regular expression; as plain text where it is none (``C++``)."""
    try:
        return re.compile(f"{ends}{text}{ends}", re.IGNORECASE)
    except re.error:
        return re.compile(re.escape(text), re.IGNORECASE)


def _keywords(text: str, given: Arguments) -> bool:
    return all(_pattern(word).search(text) for word in given["keywords"])


def _frequency(text: str, given: Arguments) -> bool:
    return _holds(given["relation"], len(_pattern(given["keyword"].strip()).findall(text)), given["frequency"])


def _forbidden(text: str, given: Arguments) -> bool:
    return not any(_pattern(word, r"\b").search(text) for word in given["forbidden_words"])


def _letters(text: str, given: Arguments) -> bool:
    return _holds(given["let_relation"], text.lower().count(given["letter"].strip().lower()), given["let_frequency"])


def _language(text: str, given: Arguments) -> Verdict:
    found = language(text)
    # NOTE: the official program lets a text pass in which there is nothing to tell a language by (digits alone)
    return None if found is None else found in ("", given["language"])


def _upper(text: str, _: Arguments) -> Verdict:
    return text.isupper() and _language(text, {"language": "en"})


def _lower(text: str, _: Arguments) -> Verdict:
    return text.islower() and _language(text, {"language": "en"})


def _sentences(text: str, given: Arguments) -> bool:
    return _holds(given["relation"], count_sentences(text), given["num_sentences"])


def _words(text: str, given: Arguments) -> bool:
    return _holds(given["relation"], count_words(text), given["num_words"])


def _parts(text: str, divider: str) -> list[str] | None:
    """What stands between dividers; an empty first or last part is none; None where an inner part is empty."""
    parts = re.split(divider, text)
    inner = parts[1:-1]
    if any(not part.strip() for part in inner):
        return None
    return [part for part in parts if part.strip()]


def _paragraphs(text: str, given: Arguments) -> bool:
    parts = _parts(text, r"\s?\*\*\*\s?")
    return parts is not None and bool(len(parts) == given["num_paragraphs"])


def _nth_paragraph(text: str, given: Arguments) -> bool:
    parts = text.split("\n\n")
    wanted, count = given["nth_paragraph"], sum(bool(part.strip()) for part in parts)
    if not 1 <= wanted <= count or not parts[wanted - 1].strip():
        return False
    opening = parts[wanted - 1].split()[0].lstrip("'").lstrip('"')
    return bool(count == given["num_paragraphs"]) and bool(_FIRST_WORD_ENDS.split(opening)[0].lower() == given["first_word"].lower())


def _placeholders(text: str, given: Arguments) -> bool:
    return bool(len(re.findall(r"\[.*?\]", text)) >= given["num_placeholders"])


def _postscript(text: str, given: Arguments) -> bool:
    marker = given["postscript_marker"].strip()
    known = {"P.P.S": r"p\.\s?p\.\s?s", "P.S.": r"p\.\s?s\."}
    return re.search(known.get(marker, marker.lower()), text.lower()) is not None


def _bullets(text: str, given: Arguments) -> bool:
    starred, dashed = re.findall(r"^\s*\*[^*].*$", text, re.MULTILINE), re.findall(r"^\s*-.*$", text, re.MULTILINE)
    return bool(len(starred) + len(dashed) == given["num_bullets"])


def _constrained(text: str, _: Arguments) -> bool:
    return any(option in text for option in _CONSTRAINED)


def _highlights(text: str, given: Arguments) -> bool:
    single = [found for found in re.findall(r"\*[^\n*]*\*", text) if found.strip("*").strip()]
    double = [found for found in re.findall(r"\*\*[^\n*]*\*\*", text) if found[2:-2].strip()]
    return bool(len(single) + len(double) >= given["num_highlights"])


def _sections(text: str, given: Arguments) -> bool:
    return bool(len(re.findall(rf"{given['section_spliter'].strip()}\s?\d+", text)) >= given["num_sections"])


def _json(text: str, _: Arguments) -> bool:
    try:
        json.loads(_FENCE.sub("", text.strip()).removesuffix("```").strip())
    except (ValueError, RecursionError):
        return False
    return True


def _title(text: str, _: Arguments) -> bool:
    return any(found.lstrip("<").rstrip(">").strip() for found in re.findall(r"<<[^\n]+>>", text))


def _two_responses(text: str, _: Arguments) -> bool:
    parts = _parts(text, r"\*{6}")
    return parts is not None and len(parts) == 2 and parts[0].strip() != parts[1].strip()


def _repeats(text: str, given: Arguments) -> bool:
    return text.strip().lower().startswith(given["prompt_to_repeat"].strip().lower())


def _ending(text: str, given: Arguments) -> bool:
    return text.strip().strip('"').lower().endswith(given["end_phrase"].strip().lower())


def _capital_words(text: str, given: Arguments) -> bool:
    return _holds(given["capital_relation"], count_capital_words(text), given["capital_frequency"])


def _no_comma(text: str, _: Arguments) -> bool:
    return "," not in text


def _quoted(text: str, _: Arguments) -> bool:
    whole = text.strip()
    return len(whole) > 1 and whole[0] == whole[-1] == '"'


RULES: Mapping[str, Callable[[str, Arguments], Verdict]] = {
    "keywords:existence": _keywords,
    "keywords:frequency": _frequency,
    "keywords:forbidden_words": _forbidden,
    "keywords:letter_frequency": _letters,
    "language:response_language": _language,
    "length_constraints:number_sentences": _sentences,
    "length_constraints:number_paragraphs": _paragraphs,
    "length_constraints:number_words": _words,
    "length_constraints:nth_paragraph_first_word": _nth_paragraph,
    "detectable_content:number_placeholders": _placeholders,
    "detectable_content:postscript": _postscript,
    "detectable_format:number_bullet_lists": _bullets,
    "detectable_format:constrained_response": _constrained,
    "detectable_format:number_highlighted_sections": _highlights,
    "detectable_format:multiple_sections": _sections,
    "detectable_format:json_format": _json,
    "detectable_format:title": _title,
    "combination:two_responses": _two_responses,
    "combination:repeat_prompt": _repeats,
    "startend:end_checker": _ending,
    "startend:quotation": _quoted,
    "change_case:capital_word_frequency": _capital_words,
    "change_case:english_capital": _upper,
    "change_case:english_lowercase": _lower,
    "punctuation:no_comma": _no_comma,
}
"""Name of an instruction kind to its rule: text and the prompt's arguments to a verdict."""


@dataclass(frozen=True, slots=True)
class Followed:
    """One completion against its prompt's instructions, in their order; None = could not be decided here."""

    kinds: tuple[str, ...]
    strict: tuple[Verdict, ...]
    loose: tuple[Verdict, ...]

    @property
    def all_strict(self) -> Verdict:
        """Whether every instruction is followed; None if that hangs on one that could not be decided."""
        return _all(self.strict)

    @property
    def all_loose(self) -> Verdict:
        """The same under the loose reading."""
        return _all(self.loose)

    @property
    def share(self) -> float:
        """Share of the decided instructions that are followed (strict), the natural reward; 0 if none could be decided."""
        decided = [one for one in self.strict if one is not None]
        return sum(decided) / len(decided) if decided else 0.0


def follows(kind: str, text: str, arguments: Arguments) -> Verdict:
    """Whether a text follows one instruction; an empty text follows none.

    Args:
        kind: a name in ``RULES``.
        text: the completion.
        arguments: the prompt's ``kwargs`` of this instruction; null fields, as the hub's copy has them, are no arguments.

    Raises:
        DataError: the kind is unknown, or an argument is missing.
    """
    if kind not in RULES:
        raise DataError(f"IFEval has no instruction {kind!r}", hint=f"the kinds are: {', '.join(RULES)}")
    if not text.strip():
        return False
    try:
        return RULES[kind](text, {name: value for name, value in arguments.items() if value is not None})
    except KeyError as error:
        raise DataError(f"the instruction {kind} has no argument {error}", hint="see the field kwargs of the prompt") from error


def check(text: str, kinds: Sequence[str], arguments: Sequence[Arguments]) -> Followed:
    """A completion against all instructions of its prompt (``instruction_id_list`` and ``kwargs`` of the official file).

    Loose means: followed by the text, or by it without stars, without its first line, without its last one, or several of these.
    """
    readings = _readings(text)
    strict, loose = [], []
    for kind, given in zip(kinds, arguments, strict=True):
        strict.append(follows(kind, text, given))
        verdicts = [follows(kind, reading, given) for reading in readings]
        loose.append(True if True in verdicts else None if None in verdicts else False)
    return Followed(tuple(kinds), tuple(strict), tuple(loose))


def _readings(text: str) -> tuple[str, ...]:
    lines = text.split("\n")
    cut = (text, *("\n".join(part).strip() for part in (lines[1:], lines[:-1], lines[1:-1])))
    return tuple(dict.fromkeys((*cut, *(one.replace("*", "") for one in cut))))


def _all(verdicts: Sequence[Verdict]) -> Verdict:
    return False if False in verdicts else None if None in verdicts else True


def accuracies(results: Sequence[Followed]) -> dict[str, list[float]]:
    """The four accuracies' items, 0 or 1 each: ``prompt_strict``, ``prompt_loose``, ``instruction_strict``, ``instruction_loose``.

    What could not be decided is left out; ``undecided`` says how much that is.
    """
    columns: dict[str, list[Verdict]] = {
        "prompt_strict": [one.all_strict for one in results],
        "prompt_loose": [one.all_loose for one in results],
        "instruction_strict": [verdict for one in results for verdict in one.strict],
        "instruction_loose": [verdict for one in results for verdict in one.loose],
    }
    return {name: [float(verdict) for verdict in column if verdict is not None] for name, column in columns.items()}


def undecided(results: Sequence[Followed]) -> dict[str, int]:
    """How many verdicts of each kind could not be given on this machine; empty where all could."""
    return dict(Counter(kind for one in results for kind, verdict in zip(one.kinds, one.strict, strict=True) if verdict is None))


def signature() -> str:
    """What the numbers hang on, to be printed beside them."""
    return f"ifeval|kinds:{len(RULES)}|sentences:{sentence_counter()}|languages:{'langdetect' if can_tell_languages() else 'none'}"
