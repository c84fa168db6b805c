"""Answers of arithmetic word problems (GSM8K): which number a text gives, and whether it is the reference's.

Two readings, as everyone reports them: *strict* takes the number after ``####``, *flexible* the last number of the text. Two ways to
compare: by value (``72`` is ``72.00`` is ``$72``), or letter by letter as lm-eval does, for numbers that must agree with its own.
"""

import re
from fractions import Fraction
from typing import Literal

Reading = Literal["strict", "flexible"]

_MARKED = re.compile(r"####\s*([-+]?\s?\$?\s?[-+]?[\d.,]*\d)")
_NUMBER = re.compile(r"(?<![\w.])[-+−]?\$?\d[\d,]*(?:\.\d+)?(?:\s?/\s?\d+(?![\d/]))?|(?<![\d.])[-+−]?\$?\.\d+")
_CALCULATOR = re.compile(r"<<[^<>\n]*>>")

# lm-eval 0.4's filters and normalisation of the task gsm8k
_LM_EVAL_STRICT = re.compile(r"#### (\-?[0-9\.\,]+)")
_LM_EVAL_FLEXIBLE = re.compile(r"(-?[$0-9.,]{2,})|(-?[0-9]+)")
_LM_EVAL_NONE = "[invalid]"


def number(text: str) -> Fraction | None:
    """The value of one written number (``1,234.50``, ``$3``, ``-7``, ``1/2``); None if it is none."""
    plain = re.sub(r"[,$\s]", "", text.replace("−", "-")).rstrip(".")
    try:
        return Fraction(plain)
    except (ValueError, ZeroDivisionError):
        return None


def strict_answer(text: str) -> Fraction | None:
    """The number after the first ``####``; None without one."""
    found = _MARKED.search(text)
    return number(found[1]) if found else None


def last_number(text: str) -> Fraction | None:
    """The last number anywhere in the text, calculator marks ``<<3*4=12>>`` left out; None without one.

    A hyphen inside a word or range is no sign (``5-10`` ends in 10), and units or a full stop behind a number are not part of it.
    """
    found = _NUMBER.findall(_CALCULATOR.sub("", text))
    return number(found[-1]) if found else None


def reference_answer(reference: str) -> Fraction | None:
    """The number of a worked solution (after ``####``) or of a bare reference (``"72"``)."""
    return strict_answer(reference) if "####" in reference else number(reference.strip())


def correct(text: str, reference: str, reading: Reading = "strict") -> bool:
    """Whether the text's number equals the reference's in value; a text without a number is wrong."""
    found = strict_answer(text) if reading == "strict" else last_number(text)
    return found is not None and found == reference_answer(reference)


def exact_match(text: str, reference: str, reading: Reading = "strict") -> bool:
    """The same as lm-eval's ``exact_match`` of the task gsm8k decides it, letter by letter.

    Args:
        text: the completion.
        reference: the worked solution, or its number.
        reading: lm-eval's filter ``strict-match`` or ``flexible-extract``.
    """
    if reading == "strict":
        marked = _LM_EVAL_STRICT.search(text)
        found = marked[1] if marked else _LM_EVAL_NONE
    else:
        numbers = [first or second for first, second in _LM_EVAL_FLEXIBLE.findall(text)]
        found = numbers[-1].strip() if numbers else _LM_EVAL_NONE
    return _plain(found) == _plain(reference)


def _plain(text: str) -> str:
    # one pattern after the other, as lm-eval replaces them: a full stop that ends the text after a mark was removed goes too
    for pattern in (",", r"\$", r"(?s).*#### ", r"\.$"):
        text = re.sub(pattern, "", text)
    return text.lower()
