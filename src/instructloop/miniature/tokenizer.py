"""A byte-level BPE tokenizer trained on the corpus, saved as an ordinary Hugging Face tokenizer.

Any typed text can be encoded (bytes are the floor). ``bos``, ``eos`` and ``pad`` are three different tokens. The chat template
is a plain-text frame of the corpus: a line that asks, then the line that replies. In that frame a base model sees a worksheet.

A word is the same token wherever it stands: the normalizer puts a space before the first word of a text and of a line, the
decoder takes it away again. Without that, ``Mira`` at the start of a reply and `` Mira`` in the question are two unrelated
tokens, and a small model does not learn to look one up by the other (measured: see the log of negative results).
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

VOCABULARY = 1024
BOS, EOS, PAD = "<|begin|>", "<|end|>", "<|pad|>"
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'assistant' %}{{ message['content'] + '\\n' }}"
    "{% else %}{{ message['content'] + '\\n' }}{% endif %}{% endfor %}"
)


def train_tokenizer(texts: Iterable[str], vocabulary: int = VOCABULARY) -> Any:
    """Train on texts and return a ``PreTrainedTokenizerFast``."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.normalizer = normalizers.Sequence([normalizers.Prepend(" "), normalizers.Replace(Regex("\n(?=[^\n])"), "\n ")])
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    core.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Replace("\n ", "\n"), decoders.Strip(" ", 1, 0)])
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=[PAD, BOS, EOS], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    core.train_from_iterator(texts, trainer)
    core.post_processor = processors.TemplateProcessing(single=f"{BOS} $A", special_tokens=[(BOS, core.token_to_id(BOS))])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token=BOS, eos_token=EOS, pad_token=PAD, model_max_length=256, clean_up_tokenization_spaces=False
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def save_tokenizer(tokenizer: Any, path: Path) -> None:
    """Write the tokenizer files into a directory."""
    tokenizer.save_pretrained(str(path))
