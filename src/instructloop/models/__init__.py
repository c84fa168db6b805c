"""Hugging Face models for the trainers: loading, saving, scalar heads, log-probabilities, adapters, averages, state."""

from instructloop.models.adapters import add_lora, has_adapters, plain_state_dict, reference_of
from instructloop.models.device import compute_dtype, device_of, evaluating, precision, resolve_device, resolve_dtype
from instructloop.models.ema import EMA
from instructloop.models.load import context_tokens, load_causal, load_scalar, load_tokenizer, new_llama, set_dropout
from instructloop.models.logprobs import CompletionLogprobs, TargetLogprobs, completion_logprobs, target_logprobs, text_nll, trunk_and_head
from instructloop.models.memory import Estimate, ModelShape, Workload, estimate_memory, shape_of
from instructloop.models.save import save_causal, save_scalar
from instructloop.models.scalar import ScalarModel
from instructloop.models.state import load_state, save_state

__all__ = [
    "EMA",
    "CompletionLogprobs",
    "Estimate",
    "ModelShape",
    "ScalarModel",
    "TargetLogprobs",
    "Workload",
    "add_lora",
    "completion_logprobs",
    "compute_dtype",
    "context_tokens",
    "device_of",
    "estimate_memory",
    "evaluating",
    "has_adapters",
    "load_causal",
    "load_scalar",
    "load_state",
    "load_tokenizer",
    "new_llama",
    "plain_state_dict",
    "precision",
    "reference_of",
    "resolve_device",
    "resolve_dtype",
    "save_causal",
    "save_scalar",
    "save_state",
    "set_dropout",
    "shape_of",
    "target_logprobs",
    "text_nll",
    "trunk_and_head",
]
