"""How long a prompt is in tokens, and how long it may be for training (spec A7)."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from instructloop.core.errors import ConfigError, MissingExtraError

TRAINING_LIMIT_TOKENS = 1000
"""Longer prompts are kept in the store and left out of training."""
_BYTES_PER_TOKEN = 4


class TokenCounter(NamedTuple):
    """A way to count; its rule is stored beside every length, because the numbers of two rules don't compare."""

    rule: str
    count: Callable[[str], int]


def estimated_tokens(text: str) -> int:
    """A quarter of the UTF-8 bytes, rounded up: within about a fifth of GPT-2's count on English, less sure on other scripts."""
    return -(-len(text.encode()) // _BYTES_PER_TOKEN)


ESTIMATE = TokenCounter("bytes/4", estimated_tokens)


def tokenizer_counter(path: str | Path) -> TokenCounter:
    """Count with a tokenizer: a model directory, or a ``tokenizer.json``.

    Raises:
        ConfigError: no tokenizer there.
        MissingExtraError: the package ``tokenizers`` is not installed.
    """
    file = Path(path)
    file = file / "tokenizer.json" if file.is_dir() else file
    if not file.is_file():
        raise ConfigError(f"no tokenizer at {path}", hint="give a model directory that holds tokenizer.json, or the file itself")
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise MissingExtraError.for_extra("tokenizers", "train") from error
    tokenizer = Tokenizer.from_file(str(file))
    # the fingerprint tells two tokenizers apart that lie at the same path at different times
    from instructloop.core.hashing import hash_file

    return TokenCounter(f"tokenizer {hash_file(file)[:19]}", lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids))
