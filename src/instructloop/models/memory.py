"""How much memory a training stage will need, term by term, before anything is loaded."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from transformers import AutoModelForCausalLM, PreTrainedConfig

from instructloop.config import PPOConfig, PretrainConfig, RewardModelConfig, SFTConfig
from instructloop.models.device import resolve_device, resolve_dtype
from instructloop.models.logprobs import CHUNK_ELEMENTS

StageConfig = PretrainConfig | SFTConfig | RewardModelConfig | PPOConfig

_MASTER_BYTES = 4  # trained weights, gradients, moments and averages are float32 in every compute precision
_ADVICE = {
    "weights": "a smaller model, or compute.dtype = 'bfloat16' for the frozen ones",
    "gradients": "lora.rank = 16: gradients of the adapters alone",
    "optimizer": "lora.rank = 16: two moments per adapter weight instead of two per model weight",
    "average": "ema_decay = 0",
    "activations": "compute.micro_batch_tokens (halve it), or compute.gradient_checkpointing = true",
    "logits": "compute.micro_batch_tokens (halve it)",
    "kv_cache": "sampling.max_new_tokens or max_prompt_tokens (shorter rows), or batch_size",
}
ROLLOUT_ROWS = 256
"""Most rows that are decoded together."""
_CACHE_BYTES_CPU = 4 << 30


@dataclass(frozen=True, slots=True)
class ModelShape:
    """What memory depends on."""

    parameters: int
    layers: int
    hidden: int
    intermediate: int
    kv_width: int
    """Key-value heads times the width of one."""
    vocabulary: int
    context: int


@dataclass(frozen=True, slots=True)
class Estimate:
    """Bytes by term, and what to do about the largest one."""

    parts: Mapping[str, int]
    peak: int
    """Permanent terms plus the larger of a training pass (activations, logits) and a rollout (kv_cache)."""
    biggest: str
    advice: str

    def lines(self) -> list[str]:
        """Readable rows, largest first."""
        rows = [f"{name:<12}{size / 2**30:8.2f} GiB" for name, size in sorted(self.parts.items(), key=lambda item: -item[1]) if size]
        return [*rows, f"{'peak':<12}{self.peak / 2**30:8.2f} GiB", f"largest: {self.biggest}; to shrink it: {self.advice}"]


def shape_of(config: PreTrainedConfig) -> ModelShape:
    """Shape of a causal LM from its configuration; the model is laid out without memory to count its parameters."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    text = config.get_text_config()
    return ModelShape(
        parameters=sum(value.numel() for value in model.parameters()),
        layers=int(text.num_hidden_layers),
        hidden=int(text.hidden_size),
        intermediate=int(getattr(text, "intermediate_size", None) or getattr(text, "n_inner", None) or 4 * text.hidden_size),
        kv_width=kv_width(config),
        vocabulary=int(text.vocab_size),
        context=int(getattr(text, "max_position_embeddings", 2048)),
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


def estimate_memory(config: StageConfig, shape: ModelShape) -> Estimate:
    """Memory of a stage on one device.

    Weights, gradients, moments and the key-value cache are exact; activations are counted as what a decoder layer keeps
    for its backward pass (about 10 vectors of the hidden width, 4 of the MLP's and the keys and values, per token), which
    is right within a factor of about 1.5; the library's own needs (some 0.3 GiB, more on CUDA) come on top.

    Args:
        config: the stage.
        shape: the model; for PPO, policy, value network, reference and reward model are taken to have this shape.
    """
    compute = config.compute
    size = resolve_dtype(compute).itemsize
    rank = 0 if isinstance(config, PretrainConfig) else config.lora.rank
    adapter = _adapter_parameters(shape, rank)
    learned = adapter or shape.parameters  # of one trained model
    trained_models, frozen_models, average = 1, 0, 0
    if isinstance(config, PPOConfig):
        trained_models = 2  # policy and value network
        frozen_models = int(rank == 0) + int(config.reward.name == "model")  # adapters off is the reference
        average = learned * _MASTER_BYTES if config.ema_decay or config.ema_half_life else 0
    one_trained = shape.parameters * size + adapter * _MASTER_BYTES if rank else shape.parameters * _MASTER_BYTES
    trained = trained_models * learned
    tokens = compute.micro_batch_tokens
    one_layer = 10 * shape.hidden + 4 * shape.intermediate + 2 * shape.kv_width
    per_token = shape.layers * shape.hidden + one_layer if compute.gradient_checkpointing else shape.layers * one_layer
    scored = 0 if isinstance(config, RewardModelConfig) else min(tokens * shape.vocabulary, CHUNK_ELEMENTS)
    parts = {
        "weights": trained_models * one_trained + frozen_models * shape.parameters * size,
        "gradients": trained * _MASTER_BYTES,
        "optimizer": 2 * trained * _MASTER_BYTES,
        "average": average,
        "activations": tokens * per_token * size,
        "logits": 3 * scored * _MASTER_BYTES,  # logits, their log-softmax, its gradient
        "kv_cache": _kv_cache(config, shape, size),
    }
    passing = max(parts["activations"] + parts["logits"], parts["kv_cache"])
    permanent = sum(parts[name] for name in ("weights", "gradients", "optimizer", "average"))
    biggest = max(parts, key=lambda name: parts[name])
    return Estimate(parts, permanent + passing, biggest, _ADVICE[biggest])


def _adapter_parameters(shape: ModelShape, rank: int) -> int:
    """A and B of rank r on the four attention maps and a gated MLP's three."""
    attention = 2 * (2 * shape.hidden) + 2 * (shape.hidden + shape.kv_width)
    return rank * shape.layers * (attention + 3 * (shape.hidden + shape.intermediate))


def _kv_cache(config: StageConfig, shape: ModelShape, bytes_each: int) -> int:
    """Bytes of the cache for the largest portion of rollouts; stages that never sample need none."""
    if isinstance(config, PPOConfig):
        rows, prompt = config.batch_size, config.max_prompt_tokens or shape.context - config.sampling.max_new_tokens
    elif isinstance(config, SFTConfig) and config.select_by == "rm_score":
        rows, prompt = config.selection_prompts, shape.context - config.sampling.max_new_tokens
    else:
        return 0
    columns = min(prompt + config.sampling.max_new_tokens, shape.context)
    device = resolve_device(config.compute)
    together = rollout_rows(columns=columns, layers=shape.layers, kv_width=shape.kv_width, bytes_each=bytes_each, device=device)
    return min(rows, together) * columns * shape.layers * 2 * shape.kv_width * bytes_each
