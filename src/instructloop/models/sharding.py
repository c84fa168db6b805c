"""Weights split over processes (FSDP2): each holds a part of every decoder layer, and layers are put together where they compute.

Only decoder layers are split. Embeddings, the last norm and the head stay whole on every process and their gradients are summed like
those of a replicated model: our passes call trunk and head apart, heads may share the embedding's matrix, and in a large model the layers
are nearly everything. With adapters the frozen weights are split and the adapters stay whole. PPO splits policy, value network and
reference; a learned reward, which only reads and is kept in the compute precision, stays whole.

A pass through split layers needs all processes at once. Training makes equally many passes everywhere (``Ranks.in_step``); everything
without gradient (sampling, scoring, evaluation, saving) runs inside ``gathered``, where the layers are whole and no process waits.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel

from instructloop.core.errors import ConfigError
from instructloop.models.device import device_of
from instructloop.models.logprobs import trunk_and_head
from instructloop.models.packing import can_pack
from instructloop.models.ranks import Ranks
from instructloop.models.scalar import ScalarModel


def shard(*models: PreTrainedModel | ScalarModel | None, ranks: Ranks, mode: str) -> None:
    """Split the decoder layers of models over the processes, in place; before their optimizers and averages are made.

    Args:
        models: loaded alike on every process, with their adapters if they are to have any; None is passed over.
        ranks: the processes.
        mode: ``ComputeConfig.sharding``; anything but ``fsdp``, or a single process, leaves the models whole.

    Raises:
        ConfigError: no list of decoder layers was found.
    """
    if mode != "fsdp" or ranks.size == 1:
        return
    for model in models:
        if model is not None and not is_sharded(model):
            _split(model, ranks)


def _split(model: PreTrainedModel | ScalarModel, ranks: Ranks) -> None:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    trunk = _trunk_of(model)
    # experiments on a model are made now, while a process can pass through it alone
    can_pack(trunk)
    if isinstance(model, PreTrainedModel):
        trunk_and_head(model)
    layers = decoder_layers(trunk)
    mesh = init_device_mesh(device_of(model).type, (ranks.size,))
    weights = [value for layer in layers for value in layer.parameters()]
    # beside frozen weights, those that are trained are adapters
    whole = {value for value in weights if value.requires_grad} if any(not value.requires_grad for value in weights) else set()
    for layer in layers:
        # gradients are summed, not averaged: losses are divided by the size of the whole batch already
        split = fully_shard(layer, mesh=mesh, reshard_after_forward=True, ignored_params=whole & set(layer.parameters()))
        split.set_gradient_divide_factor(1.0)
        split.set_force_sum_reduction_for_comms(True)
    # GPT-2's trunk returns a view; nothing of ours writes into what a trunk returns
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module")
    # a root without weights of its own: it lets a layer be fetched while the one before it computes
    fully_shard(trunk, mesh=mesh, reshard_after_forward=True, ignored_params=set(trunk.parameters()))


def decoder_layers(trunk: nn.Module) -> list[nn.Module]:
    """The blocks of a transformer: its longest list of modules of one class.

    Raises:
        ConfigError: there is no such list.
    """
    lists = [list(module) for module in trunk.modules() if isinstance(module, nn.ModuleList) and len({type(one) for one in module}) == 1]
    if not lists:
        raise ConfigError(f"{type(trunk).__name__} has no list of decoder layers to split", hint='set compute.sharding = "ddp"')
    return max(lists, key=lambda layers: sum(value.numel() for layer in layers for value in layer.parameters()))


def is_sharded(model: nn.Module) -> bool:
    """Whether any weights of its trunk are split."""
    return any(isinstance(value, DTensor) for value in _trunk_of(model).parameters())


@contextmanager
def gathered(*models: nn.Module) -> Iterator[None]:
    """Inside, the layers of the models are whole on every process, and passes through them wait for nobody.

    All processes must enter; nested use is fine. Nothing happens for models that are not split. Not for training: changes of whole
    weights are lost.
    """
    from torch.distributed.fsdp import FSDPModule

    split = [module for model in models for module in _trunk_of(model).modules() if isinstance(module, FSDPModule)]
    layers = [layer for layer in split if not _whole(layer)]
    for layer in layers:
        layer.set_reshard_after_forward(False, recurse=False)
        layer.unshard()
    try:
        yield
    finally:
        for layer in layers:
            layer.reshard()
            layer.set_reshard_after_forward(True, recurse=False)


def _trunk_of(model: nn.Module) -> nn.Module:
    """Where the decoder layers are; a scalar model's trunk may be another model's, which its own modules do not show."""
    if isinstance(model, ScalarModel):
        return model.trunk
    return model.base_model if isinstance(model, PreTrainedModel) else model


def _whole(layer: nn.Module) -> bool:
    return not any(isinstance(value, DTensor) for value in layer.parameters())


def full_weights(model: nn.Module) -> dict[str, torch.Tensor]:
    """The state dict of a model whose layers are whole (not split, or inside ``gathered``).

    NOTE: ``state_dict()`` of a split layer splits it again before it answers, so the weights are read one by one.
    """
    from torch.distributed.fsdp import FSDPModule

    if not any(isinstance(module, FSDPModule) for module in model.modules()):
        return model.state_dict()
    state = {name: value.detach() for name, value in model.named_parameters(remove_duplicate=False)}
    transient = {
        f"{prefix}.{name}".removeprefix(".") for prefix, module in model.named_modules() for name in module._non_persistent_buffers_set
    }
    state.update({name: value for name, value in model.named_buffers(remove_duplicate=False) if name not in transient})
    return state
