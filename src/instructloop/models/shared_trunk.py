"""One frozen trunk that is several models: each has an adapter of its own, and one of them is switched on at a time.

    policy = trunk + policy adapter          reference = trunk
    reward = trunk + reward adapter + head   value     = trunk + reward adapter (frozen) + value adapter + head

The policy's adapter lives in the trunk's layers (``add_lora``), so the policy stays an ordinary Hugging Face model whose ``parameters()``
are its own. The other adapters are kept outside and hung into the layers while their model computes: a view's ``parameters()`` are its
adapter and its head, and neither optimizer, average nor training state ever sees another model's weights.
"""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from jaxtyping import Float
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from transformers import PreTrainedModel

from instructloop.config import LoraConfig
from instructloop.core.errors import ConfigError
from instructloop.data import TokenBatch
from instructloop.models.adapter_files import StoredAdapter
from instructloop.models.adapters import OWN, has_adapters, inject
from instructloop.models.device import compute_dtype, device_of, set_compute_dtype
from instructloop.models.packing import packing_of, set_packing
from instructloop.models.scalar import ScalarModel


class AdapterWeights(nn.Module):
    """The A and B of one adapter, by layer; they are no part of the trunk.

    Attributes:
        layers: name of the layer, dots as slashes, to its ``A`` and ``B``.
    """

    def __init__(self, pairs: Mapping[str, tuple[nn.Module, nn.Module]]) -> None:
        super().__init__()
        self.layers = nn.ModuleDict({name.replace(".", "/"): nn.ModuleDict({"A": a, "B": b}) for name, (a, b) in pairs.items()})

    def pairs(self) -> Iterator[tuple[str, nn.Module, nn.Module]]:
        """(name of the layer in the trunk, A, B)."""
        for name, pair in self.layers.items():
            assert isinstance(pair, nn.ModuleDict)
            yield name.replace("/", "."), pair["A"], pair["B"]


class SharedTrunk:
    """A policy's trunk, and the named adapters that make other models of it.

    Attributes:
        trunk: the transformer; frozen but for the policy's adapter.
    """

    def __init__(self, policy: PreTrainedModel) -> None:
        """Take the trunk of a policy that ``add_lora`` has prepared; without adapters: ConfigError."""
        if not has_adapters(policy):
            raise ConfigError("a trunk is shared through adapters, and this policy has none", hint="set lora.rank, e.g. 16")
        trunk = policy.base_model
        assert isinstance(trunk, PreTrainedModel)
        self.trunk = trunk
        self.compute_dtype = compute_dtype(policy)
        self.packing = packing_of(policy)
        self._adapters: dict[str, AdapterWeights] = {}
        self._on: tuple[str, ...] = (OWN,)
        if any(getattr(module, "gradient_checkpointing", False) for module in trunk.modules()):
            # a checkpointed layer is computed again in the backward pass, when its adapter is long switched off
            trunk.activation_checkpointing_enable({"use_reentrant": False, "context_fn": self._recompute_contexts})

    def add(self, name: str, config: LoraConfig, *, seed: int) -> AdapterWeights:
        """A fresh adapter on the layers that the policy's changes, drawn as ``add_lora`` would; B starts at zero.

        Args:
            name: what to call it in ``active``.
            config: rank and scale.
            seed: base of A's random start.
        """
        layers = [layer for layer, module in self._lora_layers() if OWN in module.lora_A]
        return self._inject(name, config, layers, seed=seed)

    def load(self, name: str, stored: StoredAdapter) -> AdapterWeights:
        """A trained adapter from a file, frozen.

        Raises:
            ConfigError: it does not fit this trunk.
        """
        known = dict(self.trunk.named_modules())
        strange = next((layer for layer in stored.layers if layer not in known), None)
        if strange is not None:
            raise ConfigError(
                f"{stored.path} changes {strange}, which this model does not have", hint="it was trained on another base model"
            )
        config = LoraConfig(rank=stored.rank, alpha=stored.alpha)
        weights = self._inject(name, config, stored.layers, seed=0)
        for layer, a, b in weights.pairs():
            for module, part in ((a, "A"), (b, "B")):
                module.load_state_dict({"weight": stored.weights[f"{layer}.lora_{part}.weight"]})
        return weights.requires_grad_(False)

    @contextmanager
    def active(self, *names: str) -> Iterator[None]:
        """Inside, the trunk computes with these adapters (their changes add up), none of the others, and not the policy's.

        Also where the policy's is switched off at the moment (``reference_of``): afterwards all is as it was.
        """
        before, disabled = self._on, any(layer.disable_adapters for _, layer in self._lora_layers())
        if names == before and not disabled:
            yield
            return
        self._switch(names, disabled=False)
        try:
            yield
        finally:
            self._switch(before, disabled=disabled)

    def _switch(self, names: tuple[str, ...], *, disabled: bool) -> None:
        layers = dict(self._lora_layers())
        for name in self._on:
            if name != OWN:
                for layer, _, _ in self._adapters[name].pairs():
                    del layers[layer].lora_A[name], layers[layer].lora_B[name]
        for name in names:
            if name != OWN:
                for layer, a, b in self._adapters[name].pairs():
                    layers[layer].lora_A[name], layers[layer].lora_B[name] = a, b
        for module in layers.values():
            # NOTE: not peft's methods, which would freeze what is switched off and unfreeze what is switched on
            module._active_adapter, module._disable_adapters = list(names), disabled
        self._on = names

    def _inject(self, name: str, config: LoraConfig, layers: list[str], *, seed: int) -> AdapterWeights:
        """Let peft make the adapter, then take its weights out of the layers."""
        inject(self.trunk, LoraConfig(rank=config.rank, alpha=config.alpha), targets=layers, seed=seed, name=name)
        pairs: dict[str, tuple[nn.Module, nn.Module]] = {}
        for layer, module in self._lora_layers():
            if name in module.lora_A:
                pairs[layer] = (module.lora_A.pop(name).float(), module.lora_B.pop(name).float())
            module.set_adapter(OWN)
        weights = AdapterWeights(pairs).requires_grad_(True)
        self._adapters[name] = weights
        return weights

    def _lora_layers(self) -> Iterator[tuple[str, LoraLayer]]:
        for name, module in self.trunk.named_modules():
            if isinstance(module, LoraLayer):
                yield name, module

    def _recompute_contexts(self) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        """For ``torch.utils.checkpoint``: around the pass itself nothing, around its repetition the adapters of now."""
        return nullcontext(), self.active(*self._on)


class SharedScalarModel(ScalarModel):
    """A scalar model on a shared trunk: a ``ScalarModel`` whose parameters are its own adapter and head alone.

    Attributes:
        own: its adapter.
        score: its head, float32.
    """

    def __init__(self, shared: SharedTrunk, own: AdapterWeights, *, names: tuple[str, ...], stored: StoredAdapter | None = None) -> None:
        """A view.

        Args:
            shared: the trunk.
            own: the adapter that is its own.
            names: all adapters that are on while it computes.
            stored: where head and bias come from; None gives a head of zeros, which predicts 0 (PPO-13).
        """
        nn.Module.__init__(self)
        self._shared = shared
        self._names = names
        self.own = own
        width = int(shared.trunk.config.get_text_config().hidden_size)
        self.score = nn.Linear(width, 1, bias=stored is not None and "bias" in stored.head, device=device_of(own))
        if stored is None:
            nn.init.zeros_(self.score.weight)
        else:
            self.score.load_state_dict(dict(stored.head))
        bias = torch.tensor(0.0 if stored is None else stored.score_bias, dtype=torch.float32, device=device_of(own))
        self.register_buffer("score_bias", bias)
        set_compute_dtype(self, shared.compute_dtype)
        set_packing(self, shared.packing)

    @property
    def trunk(self) -> PreTrainedModel:
        """The shared trunk; what it computes depends on the adapters that are on."""
        return self._shared.trunk

    @property
    def head(self) -> nn.Linear:
        """The linear map from a hidden state to the scalar."""
        return self.score

    @property
    def config(self) -> object:
        """The trunk's configuration."""
        return self._shared.trunk.config

    def token_scores(self, batch: TokenBatch) -> Float[Tensor, "B T"]:
        """See ``ScalarModel``; with this model's adapters on."""
        with self._shared.active(*self._names):
            return super().token_scores(batch)

    def scores(self, batch: TokenBatch) -> Float[Tensor, "B"]:
        """See ``ScalarModel``; with this model's adapters on."""
        with self._shared.active(*self._names):
            return super().scores(batch)

    def values(self, batch: TokenBatch) -> Float[Tensor, "B R"]:
        """See ``ScalarModel``; with this model's adapters on."""
        with self._shared.active(*self._names):
            return super().values(batch)
