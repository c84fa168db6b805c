"""Documents into blocks of equal length for pretraining and the pretraining mix (spec E12)."""

from collections.abc import Iterable

import torch
from jaxtyping import Int
from torch import Tensor

from instructloop.core.errors import DataError
from instructloop.core.records import Text
from instructloop.data.codec import TextCodec


def pack_texts(texts: Iterable[Text | str], codec: TextCodec, length: int) -> Int[Tensor, "N L"]:
    """Lay the documents end to end (each with BOS where the tokenizer uses one, and EOS) and cut them into blocks.

    Every token of a block is real, so no mask is needed. The rest after the last full block (fewer than ``length`` tokens) is
    left out; its size is ``total - N * L``.

    Args:
        texts: documents in their order.
        codec: how they become ids.
        length: tokens a block holds, at least 2 (a next token must exist).

    Raises:
        DataError: the documents together do not fill one block.
    """
    if length < 2:
        raise DataError(f"a block of {length} token has nothing to predict", hint="take at least 2 tokens")
    stream: list[int] = []
    for text in texts:
        stream += codec.encode_text(text if isinstance(text, str) else text.text)
    count = len(stream) // length
    if count == 0:
        raise DataError(
            f"the documents have {len(stream)} tokens in all, fewer than one block of {length}", hint="add text or lower the block length"
        )
    return torch.tensor(stream[: count * length], dtype=torch.long).view(count, length)
