"""What memory depends on of a model, read from its configuration; and how many rows may be decoded together."""

from dataclasses import dataclass, field

import torch
from transformers import PreTrainedConfig

from instructloop.models.probe import count_parameters

ROLLOUT_ROWS = 256
"""Most rows that are decoded together."""
_CACHE_BYTES_CPU = 4 << 30


@dataclass(frozen=True, slots=True)
class ModelShape:
    """What memory depends on."""

    parameters: int
    """Of the causal language model."""
    layers: int
    hidden: int
    intermediate: int
    kv_width: int
    """Key-value heads times the width of one."""
    vocabulary: int
    context: int
    config: PreTrainedConfig = field(compare=False, repr=False)
    """What the numbers were read from; passes are measured with it."""


def shape_of(config: PreTrainedConfig) -> ModelShape:
    """Shape of a causal LM from its configuration; the model is laid out without memory to count its parameters."""
    text = config.get_text_config()
    return ModelShape(
        parameters=count_parameters(config).all,
        layers=int(text.num_hidden_layers),
        hidden=int(text.hidden_size),
        intermediate=int(getattr(text, "intermediate_size", None) or getattr(text, "n_inner", None) or 4 * text.hidden_size),
        kv_width=kv_width(config),
        vocabulary=int(text.vocab_size),
        context=int(getattr(text, "max_position_embeddings", 2048)),
        config=config,
    )


def kv_width(config: PreTrainedConfig) -> int:
    """Numbers that a layer keeps of a token as keys (and again as values); recurrent architectures without attention keep none."""
    text = config.get_text_config()
    heads = int(getattr(text, "num_attention_heads", 0) or 0)
    if heads == 0:
        return 0
    width = int(getattr(text, "head_dim", None) or text.hidden_size // heads)
    return int(getattr(text, "num_key_value_heads", None) or heads) * width


def rollout_rows(*, columns: int, layers: int, kv_width: int, bytes_each: int, device: torch.device) -> int:
    """How many rows to decode together: at most ``ROLLOUT_ROWS``, and a cache of 4 GiB, or of a quarter of a GPU.

    It depends on the machine and the request alone, never on what happens to be free, so that a resumed run cuts its
    rollouts into the same portions.
    """
    budget = torch.cuda.get_device_properties(device).total_memory // 4 if device.type == "cuda" else _CACHE_BYTES_CPU
    return max(1, min(ROLLOUT_ROWS, budget // max(1, columns * layers * 2 * kv_width * bytes_each)))
