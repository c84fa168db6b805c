"""Which decoding step a model can take: found by experiment once per model, never by a list of names."""

from collections.abc import Callable
from typing import Literal
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from transformers import PreTrainedConfig

from instructloop.generation.kv_cache import is_attention_only
from instructloop.generation.lean import LeanStep
from instructloop.generation.lean_gpt import LeanGPT2Step, LeanNeoXStep
from instructloop.generation.library import Library, StepFunction
from instructloop.generation.slots import SlotCache, Zone
from instructloop.models import device_of, evaluating
from instructloop.models.logprobs import TrunkAndHead

Kind = Literal["llama", "gpt2", "gpt_neox", "direct", "library", "none"]
_CANDIDATES: tuple[Kind, ...] = ("llama", "gpt2", "gpt_neox", "direct", "library")
LEAN: dict[Kind, Callable[[TrunkAndHead, int], StepFunction]] = {"llama": LeanStep, "gpt2": LeanGPT2Step, "gpt_neox": LeanNeoXStep}
"""Steps that go over a model's modules themselves; they launch the same kernels whatever the values are."""
_LENGTHS = (3, 5, 4)
_STEPS = 2
_kinds: WeakKeyDictionary[nn.Module, Kind] = WeakKeyDictionary()


def step_function(library: Library, capacity: int) -> StepFunction | None:
    """The fastest step over slots that agrees with the model's plain forward, or None: such a model decodes left-padded rows.

    Args:
        library: the model.
        capacity: columns of the cache that it will be used with.
    """
    model = library.model
    if not is_attention_only(model.config) or narrowest_window(model.config) < capacity:
        return None
    if any(isinstance(value, DTensor) for value in model.parameters()):
        return library.step  # sharded weights are gathered by hooks of the modules, around the library's forward alone
    if model not in _kinds:
        _kinds[model] = _find_out(library)
    return _of_kind(library, _kinds[model], capacity)


def narrowest_window(config: PreTrainedConfig) -> int:
    """The fewest columns that a layer's attention looks back; slots of no more columns need no window in their mask."""
    text = config.get_text_config()
    windows = (getattr(text, name, None) for name in ("sliding_window", "attention_chunk_size", "window_size"))
    return min((window for window in windows if isinstance(window, int) and window > 0), default=1 << 40)


def _of_kind(library: Library, kind: Kind, capacity: int) -> StepFunction | None:
    if kind == "none":
        return None
    if kind in LEAN:
        if library.parts is None:
            raise AttributeError("no trunk")
        return LEAN[kind](library.parts, capacity)
    if kind == "direct" and library.model.config._attn_implementation != "sdpa":
        raise AttributeError("an attention of the user's choice stays")
    return library.direct_step if kind == "direct" else library.step


def _find_out(library: Library) -> Kind:
    model = library.model
    device = device_of(model)
    vocabulary = int(model.get_input_embeddings().num_embeddings)  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(min(2, vocabulary - 1), vocabulary, (len(_LENGTHS), max(_LENGTHS) + _STEPS), generator=generator).tolist()
    with evaluating(model), torch.autocast(device.type, enabled=False):
        expected = [
            torch.stack(
                [model(torch.tensor([row[: length + more]], device=device), use_cache=False).logits[0, -1] for more in range(_STEPS + 1)]
            )
            for row, length in zip(ids, _LENGTHS, strict=True)
        ]
        wanted = torch.stack(expected, 1).float()
        tolerance = (1e-4 if wanted.dtype == next(model.parameters()).dtype else 5e-2) * float(wanted.abs().max())
        for kind in _CANDIDATES:
            if _agrees(lambda kind=kind: _of_kind(library, kind, 8), library, ids, wanted, tolerance):  # type: ignore[misc]
                return kind
    return "none"


def _agrees(build: Callable[[], StepFunction | None], library: Library, ids: list[list[int]], wanted: Tensor, tolerance: float) -> bool:
    """Whether slots give the logits of the plain forward; a model whose parts cannot be called like this does not."""
    try:
        step = build()
        assert step is not None
        got = _through_slots(step, library, ids)
    except (AttributeError, TypeError, ValueError, RuntimeError, IndexError, KeyError, NotImplementedError, AssertionError):
        return False
    return got.shape == wanted.shape and bool(((got - wanted).abs() <= tolerance).all())


def _through_slots(step: StepFunction, library: Library, ids: list[list[int]]) -> Tensor:
    """Logits [steps + 1, rows, V] after the prompts and after each further token; slots in another order than prompts."""
    device = device_of(library.model)
    logits, prompts = library.read([row[:length] for row, length in zip(ids, _LENGTHS, strict=True)])
    cache = SlotCache(len(prompts), len(ids) + 1, 8, next(library.model.parameters()).dtype)
    order = torch.tensor([2, 0, 1], device=device)
    cache.fill(torch.arange(len(ids), device=device), prompts, order)
    back = order.argsort()
    collected = [logits.float()]
    for more in range(_STEPS):
        columns = torch.tensor(_LENGTHS, device=device)[order] + more
        tokens = torch.tensor([row[length + more] for row, length in zip(ids, _LENGTHS, strict=True)], device=device)[order]
        cache.begin(columns, [Zone(0, 1, int(columns[0]) + 1), Zone(1, 3, int(columns[1:].max()) + 1)])
        collected.append(step(tokens, cache).float()[back])
    return torch.stack(collected)
