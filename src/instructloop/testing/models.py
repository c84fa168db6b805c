"""Tiny random models of the architectures that every stage must serve."""

from typing import Any, Literal

import torch
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Qwen2Config,
)

from instructloop.core.seeds import derive

Architecture = Literal["llama", "gpt2", "gpt_neox", "qwen2"]
ARCHITECTURES: tuple[Architecture, ...] = ("llama", "gpt2", "gpt_neox", "qwen2")


def tiny_config(arch: Architecture, vocab: int, *, hidden: int = 32, layers: int = 2, context: int = 256) -> PreTrainedConfig:
    """The configuration of a tiny model: 4 heads, no dropout, pad 0, BOS 1, EOS 2 as in ``tiny_tokenizer``."""
    tokens: dict[str, Any] = {"vocab_size": vocab, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    if arch == "gpt2":
        dropout: dict[str, Any] = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
        return GPT2Config(**tokens, **dropout, n_embd=hidden, n_layer=layers, n_head=4, n_positions=context)
    shape: dict[str, Any] = {
        "hidden_size": hidden,
        "intermediate_size": 2 * hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "max_position_embeddings": context,
    }
    if arch == "gpt_neox":
        return GPTNeoXConfig(**tokens, **shape, hidden_dropout=0.0, attention_dropout=0.0)
    if arch == "qwen2":
        return Qwen2Config(**tokens, **shape, num_key_value_heads=2, tie_word_embeddings=True)
    return LlamaConfig(**tokens, **shape, num_key_value_heads=2, tie_word_embeddings=False)


def tiny_model(
    arch: Architecture = "llama", vocab: int = 260, *, seed: int = 0, hidden: int = 32, layers: int = 2, context: int = 256
) -> PreTrainedModel:
    """A random causal LM in float32, eval mode; the same seed gives the same weights and the global generator is left alone."""
    config = tiny_config(arch, vocab, hidden=hidden, layers=layers, context=context)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "tiny_model", arch))
        model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    return model.eval()


def save_tiny(path: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> str:
    """Write an ordinary Hugging Face directory and return its path."""
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path
