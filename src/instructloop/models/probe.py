"""What a pass through a model keeps, measured on tensors without content.

The real modules run under torch's fake tensors, which have shapes and storages but no numbers, below a meter that counts the storages. So an
estimate knows what this architecture, with this attention, these adapters and this precision, really saves for its backward pass, at full
size, in about a second and without the memory itself.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, Cache, PreTrainedConfig, PreTrainedModel, masking_utils
from transformers.cache_utils import DynamicLayer

from instructloop.config import LoraConfig
from instructloop.core.errors import ConfigError
from instructloop.data import TokenBatch, TokenSequence, collate
from instructloop.models import logprobs, packing
from instructloop.models.adapters import add_lora
from instructloop.models.device import precision, set_compute_dtype
from instructloop.models.load import set_dropout
from instructloop.models.meter import MemoryMeter
from instructloop.models.packing import Layout, lay_out
from instructloop.models.quiet import quiet_transformers
from instructloop.models.scalar import ScalarModel
from instructloop.models.sharding import decoder_layers

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


class Row(NamedTuple):
    """A row of a batch in tokens."""

    prompt: int
    length: int
    """Prompt and completion."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """One forward pass, and its backward pass where something is trained.

    Attributes:
        groups: rows; those of a group have the same prompt.
        scalar: a reward model or value network instead of a language model; it is read at the completion's tokens all the same.
        dtype: compute precision.
        trained: weights take gradients.
        rank: rank of adapters; 0 trains all weights.
        targets: what they adapt.
        checkpointing: activations are computed again in the backward pass.
        packing: ragged rows may be computed without their padding.
        dropout: residual dropout, where the architecture has it.
        accumulating: gradients of an earlier pass of the step are there.
        reading: prompts are read for sampling: keys and values are kept, and the head sees the last position of each row.
    """

    groups: tuple[tuple[Row, ...], ...]
    scalar: bool = False
    dtype: torch.dtype = torch.float32
    trained: bool = True
    rank: int = 0
    targets: str = "all-linear"
    checkpointing: bool = False
    packing: bool = True
    dropout: float = 0.0
    accumulating: bool = True
    reading: bool = False

    @property
    def area(self) -> int:
        """Rows times the longest of them."""
        rows = [row.length for group in self.groups for row in group]
        return len(rows) * max(rows)

    def batch(self) -> TokenBatch:
        """Rows of these lengths whose prompts are the same within a group alone."""
        return collate(
            [
                TokenSequence((number,) * row.prompt + (0,) * (row.length - row.prompt), row.prompt)
                for number, group in enumerate(self.groups)
                for row in group
            ],
            0,
        )


class Parameters(NamedTuple):
    """Counts of a model's numbers."""

    all: int
    trained: int
    split: int
    """Of all, those that ``compute.sharding = "fsdp"`` splits over processes: decoder layers, without adapters."""
    layer: int
    """Of the largest decoder layer."""


def count_parameters(config: PreTrainedConfig, *, scalar: bool = False, rank: int = 0, targets: str = "all-linear") -> Parameters:
    """Parameters of a causal LM, or of a scalar model with its trunk, and how many of them are trained."""
    return _counted(_text(config), cast("Any", type(config)), scalar, rank, targets if rank else "")


@lru_cache(maxsize=64)
def _counted(text: str, kind: Any, scalar: bool, rank: int, targets: str) -> Parameters:
    work = Pass(groups=(), scalar=scalar, rank=rank, targets=targets)
    model = _laid_out(_parse(text, kind), work)
    trained = sum(value.numel() for value in model.parameters() if value.requires_grad)
    try:
        blocks = decoder_layers(model.trunk if scalar else model.base_model)
    except ConfigError:
        blocks = []
    layers = [sum(value.numel() for value in block.parameters() if not (rank and value.requires_grad)) for block in blocks]
    return Parameters(sum(value.numel() for value in model.parameters()), trained, sum(layers), max(layers, default=0))


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
    batch = work.batch()
    layout = lay_out(batch, share=not work.dropout) if work.packing and not work.reading else None
    if layout is not None:
        try:
            return _measure(config, work, batch, layout)
        except _UNFIT:  # this architecture does not take a layout
            pass
    return _measure(config, work, batch, None)


def _measure(config: PreTrainedConfig, work: Pass, batch: TokenBatch, layout: Layout | None) -> PassNeeds:
    model = _laid_out(config, work)
    width = int(config.get_text_config().vocab_size)
    mask = batch.completion_mask & (batch.completion_positions > 0)
    rows, columns = mask.nonzero()[:, 0], (batch.completion_positions - 1)[mask]
    with FakeTensorMode(allow_non_fake_inputs=True):
        _settle(model, work)
        _set_mode(model, work)
        meter = MemoryMeter(width=width)
        with torch.set_grad_enabled(work.trained), _answers(layout), meter:
            if work.reading:
                result = _read(model, batch.tokens)
            elif isinstance(model, ScalarModel):
                result = model._head_at(batch, rows, columns)
            else:
                # what is trunk and what is head is found by experiment on real models; here there are no numbers to compare
                head = model.get_output_embeddings()
                logprobs._taken_apart[model] = logprobs.TrunkAndHead(model.base_model, head)
                result = logprobs._select(model, batch, rows, columns, rows, 1.0, False)[0]
            if work.trained:
                result.sum().backward()
            del result
        return PassNeeds(meter.peak_narrow, meter.peak_wide, meter.peak)


def _laid_out(config: PreTrainedConfig, work: Pass) -> Any:
    """The model without memory."""
    set_dropout(config, work.dropout)
    config.pad_token_id = None  # the library would look for it among ids that are not there, to warn
    with quiet_transformers(), torch.device("meta"):
        if work.scalar:
            config.num_labels = 1
            model: Any = ScalarModel(AutoModelForSequenceClassification.from_config(config))
        else:
            model = AutoModelForCausalLM.from_config(config)
        add_lora(model, LoraConfig(rank=work.rank, targets=work.targets or "all-linear"), seed=0)
    return model


class _KeepingLayer(DynamicLayer):
    """Keeps keys and values as they come, as the rollout engine does when it reads prompts."""

    def update(self, key_states: Tensor, value_states: Tensor, *_args: Any, **_kwargs: Any) -> tuple[Tensor, Tensor]:
        self.keys, self.values = key_states, value_states
        self.is_initialized = True
        return key_states, value_states


def _read(model: PreTrainedModel, ids: Tensor) -> Tensor:
    cache = Cache(layers=[_KeepingLayer() for _ in range(int(model.config.get_text_config().num_hidden_layers))])
    with precision(model):
        hidden = model.base_model(input_ids=ids, past_key_values=cache, use_cache=True).last_hidden_state
        logits: Tensor = model.get_output_embeddings()(hidden[:, -1])
    return logits


@contextmanager
def _answers(layout: Layout | None) -> Iterator[None]:
    """Answers to questions that our passes and the library ask of numbers: which layout, and whether a row holds several texts."""
    given: list[tuple[Any, str, Any]] = [
        (packing, "lay_out", lambda *_args, **_more: layout),
        (packing, "can_pack", lambda _trunk: layout is not None),
        # parameters without numbers have a class of their own
        (logprobs, "fusible", lambda head: isinstance(head, nn.Linear)),
        (masking_utils, "find_packed_sequence_indices", lambda *_args, **_more: None),
    ]
    known = [(module, name, getattr(module, name)) for module, name, _ in given]
    try:
        for module, name, answer in given:
            setattr(module, name, answer)
        yield
    finally:
        for module, name, before in known:
            setattr(module, name, before)


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


def _set_mode(model: nn.Module, work: Pass) -> None:
    """Checkpointing works in train mode only."""
    if work.trained and work.checkpointing:
        inner: Any = getattr(model, "classifier", model)
        # the library's newer name, and the one it had before
        getattr(inner, "activation_checkpointing_enable", inner.gradient_checkpointing_enable)()
    model.train(work.trained)
