"""Low-rank adapters, put into a model in place, so that it stays the class it was."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from peft import LoraConfig as PeftLoraConfig
from peft import inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from instructloop.config import LoraConfig
from instructloop.core.errors import ConfigError
from instructloop.core.seeds import derive
from instructloop.models.device import compute_dtype
from instructloop.models.fast_lora import speed_up_adapters
from instructloop.models.sharding import full_weights

OWN = "default"
"""Name of the adapter that ``add_lora`` puts in."""


def has_adapters(model: nn.Module) -> bool:
    """Whether ``add_lora`` was applied."""
    return any(isinstance(module, LoraLayer) for module in model.modules())


def add_lora(model: nn.Module, config: LoraConfig, *, seed: int) -> None:
    """Freeze the model and put trainable rank-r adapters into its trunk, in place; ``rank = 0`` changes nothing.

    B starts at zero, so the function computed is unchanged. A scalar head stays trainable, a language-model head is
    frozen. Frozen weights go to the compute precision, adapters stay float32.

    Args:
        model: a Hugging Face causal LM or a ``ScalarModel``.
        config: rank, scale and targets.
        seed: base of the adapters' random start.

    Raises:
        ConfigError: no module has one of the target names.
    """
    if config.rank == 0:
        return
    trunk = model.trunk if hasattr(model, "trunk") else model.base_model
    assert isinstance(trunk, nn.Module)
    targets = config.targets if config.targets == "all-linear" else [name.strip() for name in config.targets.split(",")]
    model.requires_grad_(False)
    inject(trunk, config, targets=targets, seed=seed)
    if hasattr(model, "head"):
        model.head.requires_grad_(True)
    frozen = compute_dtype(model)
    for value in model.parameters():
        value.data = value.data.float() if value.requires_grad else value.data.to(frozen)


def inject(trunk: nn.Module, config: LoraConfig, *, targets: str | list[str], seed: int, name: str = OWN) -> None:
    """Put one more named adapter into a trunk, as peft leaves it: its A random, its B zero, active and trainable.

    Raises:
        ConfigError: no module has one of the target names.
    """
    settings = PeftLoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        lora_dropout=config.dropout,
        target_modules=targets,
        fan_in_fan_out=any(isinstance(module, Conv1D) for module in trunk.modules()),
    )
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        # models that mix nn.Linear and Conv1D make peft remark that it sets fan_in_fan_out itself
        warnings.filterwarnings("ignore", message="fan_in_fan_out")
        # several adapters in one trunk are meant
        warnings.filterwarnings("ignore", message="Already found a `peft_config`")
        torch.manual_seed(derive(seed, "lora"))
        try:
            inject_adapter_in_model(settings, trunk, adapter_name=name)
        except ValueError as error:
            raise ConfigError(f"lora.targets {config.targets!r}: {error}", hint="'all-linear', or names of linear modules") from error
    speed_up_adapters(trunk)


@contextmanager
def reference_of(model: nn.Module) -> Iterator[None]:
    """Inside, adapters are off: the model is the one that training started from.

    Raises:
        ConfigError: the model has no adapters, so its start is gone.
    """
    layers = [module for module in model.modules() if isinstance(module, LoraLayer)]
    if not layers:
        raise ConfigError("this model has no adapters to switch off", hint="load the reference model separately")
    for layer in layers:
        layer.enable_adapters(False)
    try:
        yield
    finally:
        for layer in layers:
            layer.enable_adapters(True)


@torch.no_grad()
def plain_state_dict(model: nn.Module) -> dict[str, Tensor]:
    """The weights under the names of the plain architecture, adapters added in; the model itself is left alone.

    NOTE: peft's own merge and unmerge round the weights twice, after which a resumed run would differ in its last bits.
    """
    state = {name.replace(".base_layer.", "."): value for name, value in full_weights(model).items() if ".lora_" not in name}
    for name, module in model.named_modules():
        if not isinstance(module, LoraLayer):
            continue
        weight = f"{name}.weight"
        total = state[weight].float()
        for adapter in module.active_adapters:
            if adapter not in module.r:
                continue  # a layer that only another adapter of this trunk changes
            total = total + module.get_delta_weight(adapter).float()
        state[weight] = total.to(state[weight].dtype)
    return state
