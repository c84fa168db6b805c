"""Tiny models and tokenizers for tests; nothing that ships imports this room."""

from instructloop.data.codec import TextCodec
from instructloop.testing.models import ARCHITECTURES, Architecture, save_tiny, tiny_config, tiny_model
from instructloop.testing.tokenizers import CHAT_TEMPLATE, CHAT_TEMPLATE_WITH_BOS, tiny_tokenizer

__all__ = [
    "ARCHITECTURES",
    "CHAT_TEMPLATE",
    "CHAT_TEMPLATE_WITH_BOS",
    "Architecture",
    "save_tiny",
    "tiny_codec",
    "tiny_config",
    "tiny_model",
    "tiny_tokenizer",
]


def tiny_codec(*, chat: bool = False) -> TextCodec:
    """A codec over ``tiny_tokenizer()``, with or without its chat template."""
    return TextCodec(tiny_tokenizer(chat_template=CHAT_TEMPLATE if chat else None), name="tiny")
