"""Which language a prompt is in (spec A20: the authors ran langid over 110,000 instructions)."""

import functools
import re
from typing import Any, NamedTuple

from instructloop.core.errors import MissingExtraError

UNDETERMINED = "und"
_FENCED = re.compile(r"```.*?(?:```|$)", re.DOTALL)
_NOT_WORDS = re.compile(r"https?://\S+|[\d_]|[^\w\s'’-]")
_FEWEST_LETTERS = 12
_MOST_CHARS = 4000
_LEAST_PROBABILITY = 0.5


class Language(NamedTuple):
    """An ISO 639-1 code (``und`` where the text is too short or the classifier unsure) with the classifier's probability."""

    code: str
    probability: float


def identify(text: str) -> Language:
    """The most likely language of a text; code blocks, web addresses, digits and signs do not count.

    Raises:
        MissingExtraError: ``py3langid`` is not installed.
    """
    words = _NOT_WORDS.sub(" ", _FENCED.sub(" ", text[:_MOST_CHARS]))
    letters = sum(char.isalpha() for char in words)
    wide = any(ord(char) > 0x2E80 for char in words)  # a few Chinese or Korean signs say as much as a dozen letters
    if letters < (4 if wide else _FEWEST_LETTERS):
        return Language(UNDETERMINED, 0.0)
    code, probability = _classifier().classify(words)
    return Language(str(code) if probability >= _LEAST_PROBABILITY else UNDETERMINED, float(probability))


@functools.cache
def _classifier() -> Any:
    try:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier
    except ImportError as error:
        raise MissingExtraError.for_extra("py3langid", "prompts") from error
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
