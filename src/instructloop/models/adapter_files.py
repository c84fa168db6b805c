"""A reward model's adapter on disk, unmerged: a few megabytes beside the base model that they change.

The directory is an ordinary peft adapter (``PeftModel.from_pretrained`` opens it on a sequence classifier of the base model); what peft
has no place for, the stored bias and the hash of the base weights, is in ``instructloop.json``.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import torch
from peft import LoraConfig as PeftLoraConfig
from peft.tuners.lora import LoraLayer
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from transformers import PreTrainedTokenizerBase

from instructloop.core.errors import CheckpointError, ConfigError
from instructloop.core.files import read_json, write_json
from instructloop.models.adapters import OWN
from instructloop.models.scalar import GROUP_PROMPT_KEY, ScalarModel

ADAPTER_DIRECTORY = "adapter"
"""Where a run of ``train rm`` with LoRA publishes it."""
_WEIGHTS, _SETTINGS, _OURS = "adapter_model.safetensors", "adapter_config.json", "instructloop.json"
_PREFIX = "base_model.model."
"""What peft puts before the names of the model it wraps."""

_bases: WeakKeyDictionary[nn.Module, str] = WeakKeyDictionary()


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredAdapter:
    """What ``save_adapter`` wrote."""

    path: Path
    rank: int
    alpha: float
    weights: Mapping[str, Tensor]
    """``layers.0.self_attn.q_proj.lora_A.weight`` [rank, in] and ``...lora_B.weight`` [out, rank], names relative to the trunk."""
    head: Mapping[str, Tensor]
    """``weight`` [1, hidden], and ``bias`` [1] where the architecture's head has one."""
    score_bias: float
    base_sha256: str
    group_prompt: str

    @property
    def layers(self) -> list[str]:
        """The adapted modules, in the order of the file's names."""
        return sorted({name.rsplit(".lora_", 1)[0] for name in self.weights})


@torch.no_grad()
def weights_hash(trunk: nn.Module) -> str:
    """``sha256:<hex>`` over names, shapes and float32 values of a trunk's weights, adapters left out.

    Two trunks with equal hashes are the same base model, wherever their files lie. To be taken before ``add_lora``, which may
    round the frozen weights to the compute precision.
    """
    digest = hashlib.sha256()
    named = {name.replace(".base_layer.", "."): value for name, value in trunk.named_parameters() if ".lora_" not in name}
    for name, value in sorted(named.items()):
        digest.update(f"{name} {tuple(value.shape)}\n".encode())
        digest.update(_whole(value).reshape(-1).view(torch.uint8).numpy().data)
    return "sha256:" + digest.hexdigest()


def remember_base(model: ScalarModel) -> None:
    """Note the hash of the weights that a scalar model starts from, for ``save_adapter``; to be called before ``add_lora``."""
    _bases[model] = weights_hash(model.trunk)


def save_adapter(model: ScalarModel, tokenizer: PreTrainedTokenizerBase, path: Path, *, base: str, card: str) -> None:
    """Write adapter, head and bias of a scalar model that went through ``remember_base`` and ``add_lora``.

    Args:
        model: the model.
        tokenizer: travels along, so that the directory and the base model are all that scoring needs.
        path: directory to fill.
        base: name of the base model, for readers.
        card: Markdown of the adapter's card.

    Raises:
        ConfigError: the model has no adapters, or adapters on something else than linear layers.
    """
    prefix = f"{_PREFIX}{model.classifier.base_model_prefix}."
    adapted = {name: module for name, module in model.trunk.named_modules() if isinstance(module, LoraLayer)}
    if not adapted or model not in _bases:
        raise ConfigError("this model has no adapter to write", hint="train it with lora.rank > 0")
    state: dict[str, Tensor] = {}
    for name, layer in adapted.items():
        if OWN not in layer.lora_A:
            raise ConfigError(f"the adapter on {name} is not on a linear layer", hint="set lora.targets = 'all-linear'")
        state[f"{prefix}{name}.lora_A.weight"] = _whole(layer.lora_A[OWN].weight)
        state[f"{prefix}{name}.lora_B.weight"] = _whole(layer.lora_B[OWN].weight)
    for name, value in model.head.named_parameters():
        state[f"{_PREFIX}score.{name}"] = _whole(value)
    first = next(iter(adapted.values()))
    settings = PeftLoraConfig(
        r=first.r[OWN],
        lora_alpha=first.lora_alpha[OWN],
        target_modules=sorted(adapted),
        modules_to_save=["score"],
        fan_in_fan_out=bool(first.fan_in_fan_out),
        task_type="SEQ_CLS",
        base_model_name_or_path=base,
        inference_mode=True,
    )
    path.mkdir(parents=True, exist_ok=True)
    save_file(state, path / _WEIGHTS, metadata={"format": "pt"})
    settings.save_pretrained(path)
    tokenizer.save_pretrained(path)
    ours = {"base": base, "base_sha256": _bases[model], "score_bias": float(model.score_bias)}
    write_json(path / _OURS, ours | {"group_prompt": getattr(model.config, GROUP_PROMPT_KEY, "")})
    (path / "README.md").write_text(card if card.endswith("\n") else card + "\n", encoding="utf-8")


def find_adapter(path: str | Path) -> Path:
    """The adapter directory that a path names: itself, or beside the model of the run that it names.

    Raises:
        ConfigError: there is none.
    """
    place = Path(path)
    beside = place.parent / ADAPTER_DIRECTORY if place.name == "model" else place / ADAPTER_DIRECTORY
    for found in (place, beside):
        if (found / _OURS).is_file():
            return found
    raise ConfigError(
        f"{place} has no {ADAPTER_DIRECTORY}/ directory, so it cannot sit on a shared trunk",
        hint="train the reward model with LoRA (train rm --lora.rank 16), or leave share_trunk out",
    )


def read_adapter(path: Path) -> StoredAdapter:
    """Read what ``save_adapter`` wrote.

    Raises:
        CheckpointError: files are missing or damaged.
    """
    try:
        ours: dict[str, Any] = read_json(path / _OURS)
        settings: dict[str, Any] = read_json(path / _SETTINGS)
        state = load_file(path / _WEIGHTS)
        head = {name.rsplit(".", 1)[1]: value for name, value in state.items() if name.startswith(f"{_PREFIX}score.")}
        return StoredAdapter(
            path=path,
            rank=int(settings["r"]),
            alpha=float(settings["lora_alpha"]),
            weights={name.removeprefix(_PREFIX).split(".", 1)[1]: value for name, value in state.items() if ".lora_" in name},
            head={"weight": head["weight"]} | head,
            score_bias=float(ours["score_bias"]),
            base_sha256=str(ours["base_sha256"]),
            group_prompt=str(ours["group_prompt"]),
        )
    except (OSError, KeyError, ValueError, SafetensorError) as error:
        raise CheckpointError(f"{path} holds no complete adapter ({error})", hint="train the reward model again") from error


def _whole(value: Tensor) -> Tensor:
    """A weight on the CPU in float32, gathered where it is sharded."""
    value = value.detach()
    return (value.full_tensor() if isinstance(value, DTensor) else value).float().cpu().contiguous()
