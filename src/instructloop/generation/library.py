"""The library's own forward pass: whole prompts at once, or one token a row over a cache of slots."""

import inspect
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, Cache, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from instructloop.generation.slots import KeysValues, PromptLayer, SlotCache
from instructloop.models import device_of, trunk_and_head

_ATTENTION = "instructloop_slots"
_current = threading.local()
"""The cache of the step that runs in this thread."""


class StepFunction(Protocol):
    """Logits [rows, V] after one more token a row; ``cache.begin`` has said where it goes."""

    def __call__(self, tokens: Int[Tensor, "rows"], cache: SlotCache) -> Float[Tensor, "rows V"]:
        """Write the tokens' keys and values and return what follows them."""
        ...


class Library:
    """A model's forward pass with its ways of being called found out once.

    Args:
        model: a causal LM; mode, gradients and precision are the caller's affair.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model
        self.parts = trunk_and_head(model)
        accepted = inspect.signature((self.parts.trunk if self.parts else model).forward).parameters
        self._cache_name = "past_key_values" if "past_key_values" in accepted else "cache_params"
        self._takes_positions = "position_ids" in accepted
        self._keeps_logits = "logits_to_keep" in accepted
        self._direct = False

    def logits(self, ids: Tensor, cache: Cache, mask: Tensor | None, positions: Tensor) -> Float[Tensor, "rows V"]:
        """Logits after the last column of ``ids``. Without padding no mask is passed, which lets attention take its fast path."""
        inputs: dict[str, Any] = {"input_ids": ids, "attention_mask": mask, self._cache_name: cache, "use_cache": True}
        if self._takes_positions:
            inputs["position_ids"] = positions
        if self.parts is not None:
            return self.parts.head(self.parts.trunk(**inputs).last_hidden_state[:, -1])
        if self._keeps_logits:
            inputs["logits_to_keep"] = 1
        return self.model(**inputs).logits[:, -1]

    def read(self, prompts: Sequence[Sequence[int]]) -> tuple[Float[Tensor, "prompts V"], list[KeysValues]]:
        """Prompts in one pass, right-padded: causal attention never looks right, so padding needs no mask.

        Returns:
            Logits after each prompt, and for each layer its keys and values.
        """
        device = device_of(self.model)
        longest = max(map(len, prompts))
        ids = torch.tensor([[*prompt, *[prompt[0]] * (longest - len(prompt))] for prompt in prompts], device=device)
        ends = torch.tensor([len(prompt) - 1 for prompt in prompts], device=device)
        rows = torch.arange(len(prompts), device=device)
        layers = [PromptLayer() for _ in range(int(self.model.config.get_text_config().num_hidden_layers))]
        inputs: dict[str, Any] = {"input_ids": ids, "past_key_values": Cache(layers=list(layers)), "use_cache": True}
        if self.parts is not None:
            logits = self.parts.head(self.parts.trunk(**inputs).last_hidden_state[rows, ends])
        elif self._keeps_logits:
            kept, places = ends.unique(return_inverse=True)
            logits = self.model(**inputs, logits_to_keep=kept).logits[rows, places]
        else:
            logits = self.model(**inputs).logits[rows, ends]
        return logits, [KeysValues(layer.keys, layer.values) for layer in layers]  # type: ignore[arg-type]

    def step(self, tokens: Int[Tensor, "rows"], cache: SlotCache) -> Float[Tensor, "rows V"]:
        """One token a row, attention as the library does it."""
        return self.logits(tokens[:, None], cache, cache.visible().long(), cache.columns[:, None])

    def direct_step(self, tokens: Int[Tensor, "rows"], cache: SlotCache) -> Float[Tensor, "rows V"]:
        """The same with our attention over the slots, and with a mask that the library takes as it is."""
        bias = torch.zeros((cache.rows, 1, 1, cache.longest), dtype=cache.dtype, device=tokens.device)
        bias.masked_fill_(~cache.visible()[:, None, None], torch.finfo(cache.dtype).min)
        with _own_attention(self.model, cache):
            return self.logits(tokens[:, None], cache, bias, cache.columns[:, None])


def _slot_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **extra: Any,
) -> tuple[Tensor, None]:
    """What attention layers call while ``_own_attention`` holds. All but one query over slots goes to the library's function."""
    cache: SlotCache | None = getattr(_current, "cache", None)
    special = dropout or any(extra.get(name) is not None for name in ("position_bias", "softcap", "s_aux"))
    if cache is None or special or query.shape[2] != 1 or (key.shape[0], key.shape[2]) != (cache.rows, cache.longest):
        return sdpa_attention_forward(module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **extra)
    scale = query.shape[3] ** -0.5 if scaling is None else scaling
    mixed = cache.attend(query[:, :, 0].to(key.dtype), KeysValues(key, value), scale)
    return mixed.view(cache.rows, 1, query.shape[1], -1), None


AttentionInterface.register(_ATTENTION, _slot_attention)
AttentionMaskInterface.register(_ATTENTION, sdpa_mask)


@contextmanager
def _own_attention(model: PreTrainedModel, cache: SlotCache) -> Iterator[None]:
    """Inside, attention layers called by this thread attend to the cache; whoever else calls them gets the library's function."""
    config = model.config
    before = config._attn_implementation
    config._attn_implementation = _ATTENTION
    _current.cache = cache
    try:
        yield
    finally:
        config._attn_implementation = before
        _current.cache = None
