"""The phases of a training step and what each of them holds: permanent terms, and a pass, a cache or a copy of its own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil

import torch

from instructloop.config import PPOConfig, PretrainConfig, RewardModelConfig, SFTConfig
from instructloop.config.shared import ComputeConfig, LoraConfig
from instructloop.data.batching import batch_at, grouped_micro_batches
from instructloop.models.device import resolve_device, resolve_dtype
from instructloop.models.probe import Parameters, Pass, PassNeeds, Row, count_parameters, measure_pass
from instructloop.models.shapes import ModelShape, rollout_rows

PASSING = frozenset({"gradients", "activations", "logits", "kv_cache", "copy", "gathered"})
"""Terms that are not there all the time."""
_MASTER_BYTES = 4  # trained weights, gradients, moments and averages are float32 in every compute precision
_CHUNK_ELEMENTS = 1 << 24  # as models.logprobs
_PREFILL_TOKENS = 4096  # as generation.refilling
_SCORING_TOKENS = 16_384  # as rewards.learned
_SAMPLER_COPIES = 4  # logits before and after a step, probabilities, and what the draw makes of them
_STEPS_LOOKED_AT = 8
_GROUP_ROWS = 4  # completions of a ranking, where the data are not known

Group = tuple[Row, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Workload:
    """The lengths of the data."""

    groups: tuple[Group, ...]
    """For each demonstration, ranking or prompt its rows: one, K, or one whose length counts the prompt alone."""

    @property
    def longest(self) -> int:
        """Tokens of the longest row."""
        return max(row.length for group in self.groups for row in group)


@dataclass(frozen=True, slots=True)
class Phase:
    """What a phase holds: its own terms, and all bytes, permanent ones included."""

    terms: Mapping[str, int]
    total: int


def supervised(
    config: PretrainConfig | SFTConfig | RewardModelConfig, shape: ModelShape, workload: Workload | None, ranks: int
) -> tuple[dict[str, int], dict[str, Phase]]:
    """Permanent terms and phases of a stage that trains one model."""
    lora = LoraConfig() if isinstance(config, PretrainConfig) else config.lora
    scalar = isinstance(config, RewardModelConfig)
    counted = count_parameters(shape.config, scalar=scalar, rank=lora.rank, targets=lora.targets)
    dtype, split = resolve_dtype(config.compute), ranks if config.compute.sharding == "fsdp" else 1
    parts = _permanent(counted, dtype, split)
    batch = ceil(_batch_size(config) / ranks)
    work = replace(_pass(config.compute, lora, _groups(config, shape, workload), batch, config.seed), scalar=scalar)
    if isinstance(config, SFTConfig):
        work = replace(work, dropout=config.dropout)
    phases = {"update": _update(shape, work, parts, counted, split)}
    if isinstance(config, SFTConfig) and config.select_by == "rm_score":
        room = shape.context - config.sampling.max_new_tokens
        prompt = max(row.prompt for group in workload.groups for row in group) if workload else room
        phases["rollout"] = _rollout(shape, config, parts, rows=ceil(config.selection_prompts / ranks), prompt=max(1, min(prompt, room)))
        phases["rollout"] = _with_whole_layers(phases["rollout"], counted, dtype, split)
    return parts, phases


def ppo(
    config: PPOConfig, shape: ModelShape, reward: ModelShape, value: ModelShape, workload: Workload | None, ranks: int
) -> tuple[dict[str, int], dict[str, Phase]]:
    """Permanent terms and phases of PPO: policy and value network learn, reference and reward model stand still."""
    dtype, lora = resolve_dtype(config.compute), config.lora
    policy = count_parameters(shape.config, rank=lora.rank, targets=lora.targets)
    critic = count_parameters(value.config, scalar=True, rank=lora.rank, targets=lora.targets)
    learned = config.reward.name == "model"
    split = ranks if config.compute.sharding == "fsdp" else 1
    parts = _permanent(policy, dtype, split)
    own = critic._replace(all=critic.trained, split=0) if config.share_trunk else critic
    for name, size in _permanent(own, dtype, split).items():
        parts[name] += size
    if config.share_trunk:
        parts["weights"] += critic.trained * _MASTER_BYTES if learned else 0  # the reward model's adapter and head
    else:
        parts["weights"] += _held(policy.all, policy.split, split) * dtype.itemsize if lora.rank == 0 or config.reference else 0
        parts["weights"] += count_parameters(reward.config, scalar=True).all * dtype.itemsize if learned else 0
    averaged = bool(config.ema_decay or config.ema_half_life)
    parts["average"] = _trained(policy, split) * _MASTER_BYTES if averaged else 0

    new = config.sampling.max_new_tokens
    room = max(1, shape.context - new)
    longest = min(config.max_prompt_tokens or room, room)
    prompts = [row.length for group in workload.groups for row in group if row.length <= longest] if workload else []
    prompts = prompts or [longest]
    groups = tuple((Row(prompt, prompt + new),) for prompt in prompts)
    minibatch, episodes = ceil(config.batch_size / config.minibatches / ranks), ceil(config.batch_size / ranks)
    work = _pass(config.compute, lora, groups, minibatch, config.seed)
    critique = replace(work, scalar=True)
    phases = {
        "rollout": _with_whole_layers(_rollout(shape, config, parts, rows=episodes, prompt=max(prompts)), policy, dtype, split),
        "value update": _update(value, critique, parts, own, split),
        "policy update": _update(shape, work, parts, policy, split),
        "reference pass": _with_whole_layers(_forward(shape, work, parts), policy, dtype, split),
    }
    if averaged:  # the policy's own weights wait while the averaged ones are written
        copy = _trained(policy, split) * _MASTER_BYTES
        phases["publication"] = _with_whole_layers(Phase({"copy": copy}, sum(parts.values()) + copy), policy, dtype, split)
    if learned:
        scoring = replace(config.compute, micro_batch_tokens=_SCORING_TOKENS)
        judged = _pass(scoring, lora, groups, episodes, config.seed)
        phases["reward pass"] = _forward(reward, replace(judged, scalar=True), parts)
    if config.ptx_coef > 0:
        text = ((Row(0, config.ptx_tokens),),)
        mixed = _pass(config.compute, lora, text, config.ptx_per_episode * minibatch, config.seed)
        # the gradient of PPO's own loss waits beside the one of the pretraining mix
        phases["pretraining update"] = _update(shape, mixed, parts, policy, split, waiting=_trained(policy, split))
    return parts, phases


def _groups(config: PretrainConfig | SFTConfig | RewardModelConfig, shape: ModelShape, workload: Workload | None) -> tuple[Group, ...]:
    """The data, or the longest rows that the configuration allows."""
    if isinstance(config, PretrainConfig):
        return ((Row(0, config.context_tokens),),)
    if workload is not None:
        return workload.groups
    length = min(config.max_tokens or shape.context, shape.context)
    return ((Row(0, length),) * (_GROUP_ROWS if isinstance(config, RewardModelConfig) else 1),)


def _batch_size(config: PretrainConfig | SFTConfig | RewardModelConfig) -> int:
    """Groups of an optimizer step."""
    if isinstance(config, PretrainConfig):
        return max(1, config.batch_tokens // config.context_tokens)
    return config.batch_prompts if isinstance(config, RewardModelConfig) else config.batch_size


def _pass(compute: ComputeConfig, lora: LoraConfig, groups: Sequence[Group], batch: int, seed: int) -> Pass:
    """The fullest micro-batch of the first steps."""
    best: tuple[tuple[int, int], tuple[Group, ...]] | None = None
    accumulating = False
    for step in range(_STEPS_LOOKED_AT if len(groups) > 1 else 1):
        chosen = [groups[place] for place in batch_at(step, len(groups), batch, seed)]
        found = grouped_micro_batches([[row.length for row in group] for group in chosen], compute.micro_batch_tokens)
        accumulating = accumulating or len(found) > 1
        for part in found:
            members = tuple(chosen[place] for place in part)
            lengths = [row.length for group in members for row in group]
            size = (len(lengths) * max(lengths), sum(lengths))
            if best is None or size > best[0]:
                best = size, members
    assert best is not None
    return Pass(
        groups=best[1],
        dtype=resolve_dtype(compute),
        rank=lora.rank,
        targets=lora.targets,
        checkpointing=compute.gradient_checkpointing,
        packing=compute.packing == "auto",
        accumulating=accumulating,
    )


def _held(numbers: int, layers: int, split: int) -> int:
    """What one process holds of a model's numbers while its decoder layers are split over ``split`` processes."""
    return numbers - layers + ceil(layers / split)


def _trained(counted: Parameters, split: int) -> int:
    """Trained numbers that one process holds; adapters stay whole."""
    return _held(counted.trained, counted.split, split) if counted.trained == counted.all else counted.trained


def _permanent(counted: Parameters, dtype: torch.dtype, split: int) -> dict[str, int]:
    """Terms of one trained model that are there all the time; what adapters leave frozen is in the compute precision."""
    trained = _trained(counted, split)
    frozen = 0 if counted.trained == counted.all else _held(counted.all - counted.trained, counted.split, split)
    return {"weights": trained * _MASTER_BYTES + frozen * dtype.itemsize, "optimizer": 2 * trained * _MASTER_BYTES, "average": 0}


def _with_whole_layers(phase: Phase, counted: Parameters, dtype: torch.dtype, split: int) -> Phase:
    """Passes without gradient gather the layers that are split."""
    size = _MASTER_BYTES if counted.trained == counted.all else dtype.itemsize
    gathered = (counted.split - ceil(counted.split / split)) * size
    return Phase({**phase.terms, "gathered": gathered}, phase.total + gathered) if gathered else phase


def _update(shape: ModelShape, work: Pass, parts: Mapping[str, int], counted: Parameters, split: int, *, waiting: int = 0) -> Phase:
    """A forward and backward pass, gradients included."""
    needs = measure_pass(shape.config, work) or by_shape(shape, work)
    gradients = _trained(counted, split) * _MASTER_BYTES
    # a first pass makes the gradients itself, as it gives activations back
    total = needs.peak + (gradients if work.accumulating or split > 1 else 0) + waiting * _MASTER_BYTES
    terms = {"gradients": gradients + waiting * _MASTER_BYTES, "activations": needs.activations, "logits": needs.logits}
    if split > 1:
        terms["gathered"] = 3 * counted.layer * _MASTER_BYTES  # a layer, the one fetched meanwhile, and a gradient before it is shared out
        total += terms["gathered"]
    return Phase(terms, sum(parts.values()) + total)


def _forward(shape: ModelShape, work: Pass, parts: Mapping[str, int]) -> Phase:
    """A pass without gradient."""
    frozen = replace(work, trained=False, rank=0, dropout=0.0, checkpointing=False, accumulating=False)
    needs = measure_pass(shape.config, frozen) or by_shape(shape, frozen)
    return Phase({"activations": needs.activations, "logits": needs.logits}, sum(parts.values()) + needs.peak)


def _rollout(shape: ModelShape, config: SFTConfig | PPOConfig, parts: Mapping[str, int], *, rows: int, prompt: int) -> Phase:
    """The cache, and the larger of a pass over prompts and the draw of a token."""
    dtype = resolve_dtype(config.compute)
    columns = min(prompt + config.sampling.max_new_tokens, shape.context)
    width = shape.layers * 2 * shape.kv_width * dtype.itemsize
    device = resolve_device(config.compute)
    fitting = rollout_rows(columns=columns, layers=shape.layers, kv_width=shape.kv_width, bytes_each=dtype.itemsize, device=device)
    slots = min(rows, fitting)
    cache = slots * (columns - 1) * width  # the last token is never read again
    together = min(slots, ceil(_PREFILL_TOKENS / prompt))
    work = Pass(groups=((Row(prompt, prompt),),) * together, dtype=dtype, trained=False, accumulating=False, reading=True)
    reading = measure_pass(shape.config, work) or by_shape(shape, work)
    logits = _SAMPLER_COPIES * slots * shape.vocabulary * _MASTER_BYTES
    passing = max(reading.peak, logits)
    return Phase({"kv_cache": cache, "activations": reading.activations, "logits": logits}, sum(parts.values()) + cache + passing)


def by_shape(shape: ModelShape, work: Pass) -> PassNeeds:
    """A pass by rule of thumb, for what cannot be measured: 10 vectors of the hidden width, 4 of the MLP's, keys and values."""
    one_layer = 10 * shape.hidden + 4 * shape.intermediate + 2 * shape.kv_width
    per_token = one_layer
    if work.trained:
        per_token = shape.layers * shape.hidden + one_layer if work.checkpointing else shape.layers * one_layer
    activations = work.area * per_token * work.dtype.itemsize
    logits = 0 if work.scalar else 2 * min(work.area * shape.vocabulary, _CHUNK_ELEMENTS) * _MASTER_BYTES
    return PassNeeds(activations, logits, activations + logits)
