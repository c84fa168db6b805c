"""Hugging Face models and tokenizers from a directory, a run directory or a hub name."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from instructloop.config import ComputeConfig
from instructloop.core.errors import CheckpointError, ConfigError
from instructloop.core.seeds import derive
from instructloop.models.compiling import set_compile
from instructloop.models.device import resolve_device, resolve_dtype, set_compute_dtype
from instructloop.models.fast_linear import speed_up
from instructloop.models.packing import set_packing
from instructloop.models.quiet import allow_padding_without_mask, quiet_transformers
from instructloop.models.scalar import ScalarModel
from instructloop.runs import resolve_model

BIAS_KEY = "instructloop_score_bias"
"""Where a saved reward model keeps its bias, in config.json."""
UNBOUNDED_CONTEXT = 1 << 20
"""What ``context_tokens`` says of an architecture without position limit."""
_RESIDUAL_DROPOUTS = ("resid_pdrop", "hidden_dropout", "residual_dropout", "dropout")


def load_tokenizer(path: str | Path) -> PreTrainedTokenizerBase:
    """The tokenizer that travels with a model.

    Raises:
        CheckpointError: there is none, or it encodes text to nothing.
    """
    place = str(resolve_model(path))
    with _reading(place, "tokenizer"):
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(place)
    if not tokenizer.encode("instructloop", add_special_tokens=False):
        raise CheckpointError(
            f"{place}: the tokenizer encodes text to nothing",
            hint="its files are incomplete; save it again with tokenizer.save_pretrained()",
        )
    return tokenizer


def load_causal(path: str | Path, compute: ComputeConfig, *, dropout: float | None = None, trainable: bool = True) -> PreTrainedModel:
    """A causal language model on its device, in evaluation mode.

    Args:
        path: model directory, run directory or hub name.
        compute: device and precision.
        dropout: residual dropout where the architecture has it (spec C1); None or 0 switches all dropout off (PPO-14).
        trainable: weights in float32 under a lower compute precision; False stores them in that precision (reference models).

    Raises:
        CheckpointError: nothing to load there.
        ConfigError: the architecture is no causal language model.
    """
    place = str(resolve_model(path))
    _check_directory(place)
    with _reading(place, "causal language model"):
        config = AutoConfig.from_pretrained(place)
        set_dropout(config, dropout or 0.0)
        model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(place, config=config, dtype=torch.float32)
    return _settle(model, model, compute, trainable=trainable)


def load_scalar(
    path: str | Path, compute: ComputeConfig, *, seed: int, dropout: float | None = None, trainable: bool = True
) -> ScalarModel:
    """A reward model or value network.

    A saved one comes with its head and bias; a causal language model gives its trunk and gets a fresh head drawn from
    ``seed`` (std 1/sqrt(d+1), bias 0: spec D2).

    Raises:
        CheckpointError: nothing to load there.
        ConfigError: the architecture has no sequence-classification class, or more than one label.
    """
    place = str(resolve_model(path))
    _check_directory(place)
    with _reading(place, "model for sequence classification"):
        config = AutoConfig.from_pretrained(place)
        saved = any(name.endswith("ForSequenceClassification") for name in config.architectures or ())
        if saved and config.num_labels != 1:
            raise ConfigError(f"{place} is a classifier with {config.num_labels} labels, not a scalar model", hint="a reward model has one")
        config.num_labels = 1
        set_dropout(config, dropout or 0.0)
        with torch.random.fork_rng(devices=[]):
            classifier: PreTrainedModel = AutoModelForSequenceClassification.from_pretrained(place, config=config, dtype=torch.float32)
    model = ScalarModel(classifier, score_bias=float(getattr(config, BIAS_KEY, 0.0)))
    if not saved:
        model.reset_head(seed)
    _settle(model, classifier, compute, trainable=trainable)
    return model


def new_llama(
    *,
    vocab_size: int,
    hidden_size: int,
    layers: int,
    heads: int,
    intermediate_size: int,
    context_tokens: int,
    seed: int,
    tokenizer: PreTrainedTokenizerBase | None = None,
    compute: ComputeConfig | None = None,
) -> PreTrainedModel:
    """A Llama-shaped model with random weights and tied embeddings; the same seed gives the same weights.

    Args:
        vocab_size: rows of the embedding, at least the tokenizer's length.
        hidden_size: width of the residual stream.
        layers: transformer blocks.
        heads: attention heads.
        intermediate_size: width of the gated MLP.
        context_tokens: longest sequence.
        seed: base of the random weights.
        tokenizer: gives the ids of its special tokens to the configuration.
        compute: device and precision; the CPU in float32 if left out.
    """
    special: dict[str, Any] = {name: getattr(tokenizer, name, None) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    config = LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=hidden_size,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        intermediate_size=intermediate_size,
        max_position_embeddings=context_tokens,
        tie_word_embeddings=True,
        **special,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "new_llama"))
        model: PreTrainedModel = LlamaForCausalLM(config)
    return _settle(model, model, compute or ComputeConfig(device="cpu"), trainable=True)


def context_tokens(model: nn.Module) -> int:
    """The longest sequence the model can read; ``UNBOUNDED_CONTEXT`` where the architecture sets no limit."""
    config = model.config
    text = config.get_text_config() if isinstance(config, PreTrainedConfig) else config
    for name in ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length"):
        limit = getattr(text, name, None)
        if isinstance(limit, int) and limit > 0:
            return limit
    return UNBOUNDED_CONTEXT


def set_dropout(config: PreTrainedConfig, residual: float) -> bool:
    """Switch all dropout of a configuration off, then residual dropout to ``residual``; False if it has none to switch on."""
    for name, value in list(vars(config).items()):
        if isinstance(value, int | float) and not isinstance(value, bool) and ("dropout" in name or name.endswith("pdrop")):
            setattr(config, name, 0.0)
    if residual == 0:
        return True
    found = next((name for name in _RESIDUAL_DROPOUTS if hasattr(config, name)), None)
    if found is None:
        return False
    setattr(config, found, residual)
    return True


def _settle(model: Any, inner: PreTrainedModel, compute: ComputeConfig, *, trainable: bool) -> Any:
    dtype = resolve_dtype(compute)
    model.to(resolve_device(compute), torch.float32 if trainable else dtype)
    if isinstance(model, ScalarModel):
        model.score_bias.data = model.score_bias.data.float()
    set_compute_dtype(model, dtype)
    set_packing(model, compute.packing)
    set_compile(inner.base_model, compute.compile)
    allow_padding_without_mask()
    embedding = inner.get_input_embeddings()
    if isinstance(embedding, nn.Embedding):
        # NOTE: torch gives the row of padding_idx no gradient. Where PAD is EOS that would freeze the embedding of EOS.
        embedding.padding_idx = None
    if compute.gradient_checkpointing and trainable:
        # the library's newer name, and the one it had before; both take non-reentrant checkpoints by default
        getattr(inner, "activation_checkpointing_enable", inner.gradient_checkpointing_enable)()
    if dtype == torch.float32 and resolve_device(compute).type == "cpu":
        speed_up(inner, compute.matmul)
    model.requires_grad_(trainable)
    return model.eval()


def _check_directory(place: str) -> None:
    if Path(place).is_dir() and not (Path(place) / "config.json").is_file():
        raise CheckpointError(
            f"{place} holds no model: config.json is missing", hint="give a directory that save_pretrained() wrote, or a run"
        )


@contextmanager
def _reading(place: str, what: str) -> Iterator[None]:
    """Quiet the library while it reads and turn its errors into ours."""
    try:
        with quiet_transformers():
            yield
    except OSError as error:
        hint = "give a model directory, a finished run, or a hub name (needs the network)"
        if Path(place).is_dir():
            hint = "the directory lacks files; it must hold what save_pretrained() writes"
        raise CheckpointError(f"no {what} at {place!r}: {str(error).splitlines()[0]}", hint=hint) from error
    except ValueError as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(
            f"{place!r} gives no {what}: {str(error).splitlines()[0]}", hint="any decoder-only Hugging Face architecture works"
        ) from error
