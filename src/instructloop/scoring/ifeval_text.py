"""Sentences, words in capitals and languages, as IFEval's rules count them (Zhou et al. 2023).

The official checker counts sentences with NLTK's Punkt and tells languages with langdetect. Both are optional here. Sentences are
counted by Punkt where NLTK and its data ``punkt_tab`` are installed, else by the splitter below, which ``SENTENCES`` names; a language
that cannot be told is None, never a guess.
"""

import re
from functools import cache
from itertools import pairwise
from typing import Any

_LANGUAGE_SEED = 0

_ABBREVIATIONS = frozenset(
    [
        "mr",
        "mrs",
        "ms",
        "dr",
        "prof",
        "st",
        "jr",
        "sr",
        "inc",
        "ltd",
        "co",
        "corp",
        "capt",
        "col",
        "gen",
        "lt",
        "maj",
        "sgt",
        "rev",
        "hon",
        "gov",
        "sen",
        "rep",
        "vs",
        "etc",
        "e.g",
        "i.e",
        "al",
        "approx",
        "dept",
        "est",
        "fig",
        "no",
        "vol",
        "pp",
        "a.m",
        "p.m",
        "u.s",
        "u.k",
        "u.n",
        "d.c",
        "ph.d",
        "jan",
        "feb",
        "mar",
        "apr",
        "jun",
        "jul",
        "aug",
        "sep",
        "sept",
        "oct",
        "nov",
        "dec",
    ]
)
_STOP = re.compile(r"""([.!?]+)["')\]}”’*_]*""")
_OPENS = "\"'([{“‘*_"

_APART = re.compile(r"""\.{2,}|--|[,:](?!\d)|[;@#$%&?!*"“”„‘’«»`—\[\](){}<>]""")
_QUOTE = re.compile(r"(?<=[^'\s])'(?=\s|$)|(?<!\S)'(?!\s)|'(?=[A-Za-z]\b)(?!(?:[mtsdMTSD])\b)")
_SHORT_FORM = re.compile(r"(?<=[^'\s])(?='(?:s|m|d|ll|re|ve)\.?(?:\s|$))|(?<=[^'\s])(?=n't\.?(?:\s|$))", re.IGNORECASE)
_TWO_WORDS = re.compile(r"\b(CAN)(?=NOT\b)|\b(GIM|LEM)(?=ME\b)|\b(GON|WAN)(?=NA\b)|\b(GOT)(?=TA\b)")


def count_words(text: str) -> int:
    """Runs of letters, digits and underscores."""
    return len(re.findall(r"\w+", text))


def count_sentences(text: str) -> int:
    """Sentences by Punkt where it is installed, else by ``split_sentences``."""
    punkt = _punkt()
    return len(punkt.tokenize(text)) if punkt is not None else len(split_sentences(text))


def sentence_counter() -> str:
    """What counts sentences here, for the signature beside a number."""
    return "punkt" if _punkt() is not None else "rules"


@cache
def _punkt() -> Any:
    try:
        from nltk.tokenize.punkt import PunktTokenizer

        return PunktTokenizer("english")
    except (ImportError, LookupError):
        return None


def split_sentences(text: str) -> list[str]:
    """Text cut after ``.``, ``!`` and ``?`` with what closes them, where white space follows.

    A full stop after an abbreviation, an initial or within an ellipsis ends a sentence only before a capital letter, one after a title
    or initial never does. Line breaks alone end nothing, as in Punkt.
    """
    pieces, start = [], 0
    words = list(re.finditer(r"\S+", text))
    # one word after the other: a search for stops in the whole text takes quadratic time where a text has no spaces
    for word, following in pairwise([*words, None]):
        assert word is not None
        stops = list(_STOP.finditer(word[0]))
        if (
            stops
            and stops[-1].end() == len(word[0])
            and _ends(word[0][: stops[-1].start()], stops[-1][1], following[0][0] if following else "")
        ):
            pieces.append(text[start : word.end()])
            start = word.end()
    pieces.append(text[start:])
    return [piece.strip() for piece in pieces if piece.strip()]


_TITLES = frozenset(
    ["mr", "mrs", "ms", "dr", "prof", "st", "capt", "col", "gen", "lt", "maj", "sgt", "rev", "hon", "gov", "sen", "rep", "vs"]
)


def _ends(before: str, mark: str, following: str) -> bool:
    if mark != "." or not following:
        return "." not in mark or not following or not following.islower()
    word = before.lstrip(_OPENS).lower()
    if word in _TITLES or (len(word) == 1 and word.isalpha() and word != "i"):
        return False
    if word in _ABBREVIATIONS:
        return following.isupper() and ("." in word or word == "etc")
    return not following.islower()


def count_capital_words(text: str) -> int:
    """Words without a small letter, divided as the Penn Treebank does (``DON'T`` is two, ``TOP-SECRET`` one)."""
    divided = _TWO_WORDS.sub(
        lambda found: f"{found[0]} ", _SHORT_FORM.sub(" ", _QUOTE.sub(" ' ", _APART.sub(lambda found: f" {found[0]} ", text)))
    )
    return sum(word.isupper() for word in divided.split())


def can_tell_languages() -> bool:
    """Whether langdetect is installed (extra ``evaluation``)."""
    return _detectors() is not None


@cache
def _detectors() -> Any:
    try:
        from langdetect import detector_factory
    except ImportError:
        return None
    detector_factory.init_factory()
    return detector_factory


def language(text: str) -> str | None:
    """ISO 639-1 code of the text's language, or "" where it holds nothing to tell it by; None where langdetect is not installed.

    langdetect draws at random; here every text is looked at from the same seed.
    """
    detectors = _detectors()
    if detectors is None:
        return None
    detector = detectors._factory.create()
    detector.seed = _LANGUAGE_SEED
    detector.append(text)
    try:
        return str(detector.detect())
    except detectors.LangDetectException:
        return ""
