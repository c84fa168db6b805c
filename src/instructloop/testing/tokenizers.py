"""Byte-level tokenizers built in memory: one token a UTF-8 byte, so every text round-trips and lengths can be counted by hand."""

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

CHAT_TEMPLATE = (
    "{% for message in messages %}<|turn|>{{ message['role'] }}\n{{ message['content'] }}</s>\n{% endfor %}"
    "{% if add_generation_prompt %}<|turn|>assistant\n{% endif %}"
)
"""A small chat format whose turns end in the tokenizer's own EOS."""

CHAT_TEMPLATE_WITH_BOS = "<s>" + CHAT_TEMPLATE
"""The same with a BOS written by the template: trap T12."""


def tiny_tokenizer(
    *, chat_template: str | None = None, bos: bool = True, eos: bool = True, pad_is_eos: bool = False, eos_is_zero: bool = False
) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer with 260 tokens: pad 0, BOS 1, EOS 2, turn marker 3, then the 256 bytes.

    Args:
        chat_template: e.g. ``CHAT_TEMPLATE``; None has no template.
        bos: whether encoding with special tokens prepends ``<s>``.
        eos: False leaves the tokenizer without an end-of-sequence token.
        pad_is_eos: the pad token is ``</s>`` (trap T1).
        eos_is_zero: EOS takes id 0 and PAD id 2 (trap T8).
    """
    first, third = ("</s>", "<pad>") if eos_is_zero else ("<pad>", "</s>")
    special = [first, "<s>", third, "<|turn|>"]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate([*special, *alphabet])}
    core = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens(special)
    if bos:
        core.post_processor = processors.TemplateProcessing(
            single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", vocabulary["<s>"])]
        )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        clean_up_tokenization_spaces=False,
        bos_token="<s>",  # noqa: S106 - a marker, not a password
        eos_token="</s>" if eos else None,
        pad_token="</s>" if pad_is_eos else "<pad>",
    )
    tokenizer.chat_template = chat_template
    return tokenizer
