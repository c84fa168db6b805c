"""What a pass through a model keeps, measured on tensors without content.

The real modules run under torch's fake tensors, which have shapes and storages but no numbers, below a meter that counts the storages. So an
estimate knows what this architecture, with this attention, these adapters and this precision, really saves for its backward pass, at full
size, in about a second and without the memory itself.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, PreTrainedConfig, PreTrainedModel, masking_utils

from instructloop.config import LoraConfig
from instructloop.models import logprobs
from instructloop.models.adapters import add_lora
from instructloop.models.device import precision, set_compute_dtype
from instructloop.models.meter import MemoryMeter
from instructloop.models.quiet import quiet_transformers
from instructloop.models.scalar import ScalarModel

_DEEPEST = 8
"""Deeper models are measured at two depths, and what a layer adds is continued."""
_UNFIT = (RuntimeError, NotImplementedError, ValueError, TypeError, AttributeError, AssertionError)


class PassNeeds(NamedTuple):
    """Bytes beyond weights and the gradients that were there before the pass."""

    activations: int
    """Most that trunk and head hold, logits left out."""
    logits: int
    """Most that tensors as wide as the vocabulary hold."""
    peak: int
    """Most held at once; less than the sum of both where their peaks are at different moments."""


@dataclass(frozen=True, slots=True)
class Pass:
    """One forward pass, and its backward pass where something is trained.

    Attributes:
        rows: sequences.
        length: tokens of each.
        scored: positions that go through the language-model head; None is a scalar model.
        dtype: compute precision.
        trained: weights take gradients.
        rank: rank of adapters; 0 trains all weights.
        targets: what they adapt.
        checkpointing: activations are computed again in the backward pass.
        accumulating: gradients of an earlier pass of the step are there.
    """

    rows: int
    length: int
    scored: int | None
    dtype: torch.dtype = torch.float32
    trained: bool = True
    rank: int = 0
    targets: str = "all-linear"
    checkpointing: bool = False
    accumulating: bool = True


class Parameters(NamedTuple):
    """Counts of a model's numbers."""

    all: int
    trained: int


def count_parameters(config: PreTrainedConfig, *, scalar: bool = False, rank: int = 0, targets: str = "all-linear") -> Parameters:
    """Parameters of a causal LM, or of a scalar model with its trunk, and how many of them are trained."""
    return _counted(_text(config), cast("Any", type(config)), scalar, rank, targets if rank else "")


@lru_cache(maxsize=64)
def _counted(text: str, kind: Any, scalar: bool, rank: int, targets: str) -> Parameters:
    work = Pass(rows=1, length=1, scored=None if scalar else 1, rank=rank, targets=targets)
    model, _ = (_scalar if scalar else _causal)(_parse(text, kind), work)
    return Parameters(
        sum(value.numel() for value in model.parameters()), sum(value.numel() for value in model.parameters() if value.requires_grad)
    )


def measure_pass(config: PreTrainedConfig, work: Pass) -> PassNeeds | None:
    """Needs of a pass, or None for an architecture that cannot run without numbers (a mixture of experts asks where tokens go)."""
    return _measured(_text(config), cast("Any", type(config)), work)


@lru_cache(maxsize=64)
def _measured(text: str, kind: Any, work: Pass) -> PassNeeds | None:
    config = _parse(text, kind)
    layers = int(config.get_text_config().num_hidden_layers)
    try:
        if layers <= _DEEPEST:
            return _run(config, work)
        half = _DEEPEST // 2
        shallow, deep = (_run(_with_layers(_parse(text, kind), depth), work) for depth in (half, _DEEPEST))
    except _UNFIT:
        return None
    return PassNeeds(*(int(b + (b - a) / half * (layers - _DEEPEST)) for a, b in zip(shallow, deep, strict=True)))


def _text(config: PreTrainedConfig) -> str:
    return str(config.to_json_string(use_diff=False))


def _parse(text: str, kind: Any) -> PreTrainedConfig:
    config: PreTrainedConfig = kind.from_dict(json.loads(text))
    return config


def _with_layers(config: PreTrainedConfig, layers: int) -> PreTrainedConfig:
    inner = config.get_text_config()
    inner.num_hidden_layers = layers
    kinds = getattr(inner, "layer_types", None)
    if isinstance(kinds, list):
        inner.layer_types = kinds[:layers]
    return config


def _run(config: PreTrainedConfig, work: Pass) -> PassNeeds:
    model, step = (_scalar if work.scored is None else _causal)(config, work)
    width = int(config.get_text_config().vocab_size)
    with FakeTensorMode(allow_non_fake_inputs=True):
        _settle(model, work)
        _set_mode(model, work)
        meter = MemoryMeter(width=width)
        with torch.set_grad_enabled(work.trained), _one_row_one_text(), meter:
            loss = step()
            if work.trained:
                loss.backward()
            del loss
        return PassNeeds(meter.peak_narrow, meter.peak_wide, meter.peak)


def _causal(config: PreTrainedConfig, work: Pass) -> tuple[nn.Module, Callable[[], Tensor]]:
    with quiet_transformers(), torch.device("meta"):
        model: PreTrainedModel = AutoModelForCausalLM.from_config(config)
        add_lora(model, LoraConfig(rank=work.rank, targets=work.targets), seed=0)
    head = model.get_output_embeddings()
    assert isinstance(head, nn.Module)

    def step() -> Tensor:
        # by experiment, as for a real model, it cannot be taken apart: there are no numbers to compare
        logprobs._taken_apart[model] = logprobs.TrunkAndHead(model.base_model, head)
        ids = torch.zeros(work.rows, work.length, dtype=torch.long)
        places = torch.zeros(work.scored or 0, dtype=torch.long)
        return logprobs._select(model, ids, places, places, places, 1.0, False)[0].sum()

    return model, step


def _scalar(config: PreTrainedConfig, work: Pass) -> tuple[nn.Module, Callable[[], Tensor]]:
    config.num_labels = 1
    with quiet_transformers(), torch.device("meta"):
        model = ScalarModel(AutoModelForSequenceClassification.from_config(config))
        add_lora(model, LoraConfig(rank=work.rank, targets=work.targets), seed=0)

    def step() -> Tensor:
        ids = torch.zeros(work.rows, work.length, dtype=torch.long)
        with precision(model):
            hidden = model.trunk(input_ids=ids, use_cache=False).last_hidden_state
        return nn.functional.linear(hidden.float(), model.head.weight.float()).squeeze(-1).sum()

    return model, step


def _settle(model: nn.Module, work: Pass) -> None:
    """Give the laid-out model storages, precision and gradients, as loading does."""
    made: dict[int, nn.Parameter] = {}
    for module in model.modules():
        for name, value in module._parameters.items():
            if value is None:
                continue
            if id(value) not in made:
                dtype = torch.float32 if work.trained and value.requires_grad else work.dtype
                empty = torch.empty(value.shape, dtype=dtype if value.is_floating_point() else value.dtype)
                made[id(value)] = nn.Parameter(empty, requires_grad=work.trained and value.requires_grad)
            module._parameters[name] = made[id(value)]
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = torch.empty(buffer.shape, dtype=buffer.dtype)
    set_compute_dtype(model, work.dtype)
    if work.trained and work.accumulating:
        for parameter in made.values():
            if parameter.requires_grad:
                parameter.grad = torch.zeros_like(parameter)


@contextmanager
def _one_row_one_text() -> Iterator[None]:
    """Answer the library's question whether rows hold several texts: with numbers it would look, and then make no [B, 1, T, T] mask."""
    known = masking_utils.find_packed_sequence_indices
    masking_utils.find_packed_sequence_indices = lambda *_args, **_more: None
    try:
        yield
    finally:
        masking_utils.find_packed_sequence_indices = known


def _set_mode(model: nn.Module, work: Pass) -> None:
    """Checkpointing works in train mode only."""
    if work.trained and work.checkpointing:
        inner: Any = getattr(model, "classifier", model)
        # the library's newer name, and the one it had before
        getattr(inner, "activation_checkpointing_enable", inner.gradient_checkpointing_enable)()
    model.train(work.trained)
