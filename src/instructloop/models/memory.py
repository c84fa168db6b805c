"""How much memory a training stage will need, term by term, before anything is loaded.

Weights, gradients, moments, averages and the key-value cache follow from shapes. What a pass keeps for its backward pass depends on the
architecture, on its attention and on the precision, and is measured on tensors without content (``models.probe``).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from transformers import PreTrainedConfig

from instructloop.config import PPOConfig, PretrainConfig, RewardModelConfig, SFTConfig
from instructloop.models.device import resolve_device, resolve_dtype
from instructloop.models.memory_advice import advice_for
from instructloop.models.probe import Pass, PassNeeds, count_parameters, measure_pass

StageConfig = PretrainConfig | SFTConfig | RewardModelConfig | PPOConfig

ROLLOUT_ROWS = 256
"""Most rows that are decoded together."""
_CACHE_BYTES_CPU = 4 << 30
_MASTER_BYTES = 4  # trained weights, gradients, moments and averages are float32 in every compute precision
_CHUNK_ELEMENTS = 1 << 24  # as models.logprobs.CHUNK_ELEMENTS
_SAMPLER_COPIES = 4  # logits, probabilities, and what the draw makes of them
_GROUP_ROWS = 4  # completions of a ranking, where the data are not known
_SCORING_TOKENS = 16_384  # as rewards.learned


@dataclass(frozen=True, slots=True)
class ModelShape:
    """What memory depends on."""

    parameters: int
    """Of the causal language model."""
    layers: int
    hidden: int
    intermediate: int
    kv_width: int
    """Key-value heads times the width of one."""
    vocabulary: int
    context: int
    config: PreTrainedConfig = field(compare=False, repr=False)
    """What the numbers were read from; passes are measured with it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Workload:
    """What is known of the data. 0 stands for unknown: then the configuration's largest is taken."""

    row_tokens: int = 0
    """Longest row, prompt and completion."""
    prompt_tokens: int = 0
    """Longest prompt."""
    completion_tokens: int = 0
    """Longest completion."""
    group_rows: int = 0
    """Most completions of one ranking."""
    rows: int = 0
    """Rows in the data, where they are fewer than a batch."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """Bytes by term, by phase of a step, and what to do about the largest term."""

    parts: Mapping[str, int]
    phases: Mapping[str, int]
    """Most bytes held in each phase; permanent terms are in all of them."""
    peak: int
    """The largest phase."""
    biggest: str
    """The largest term of that phase."""
    advice: str

    @property
    def phase(self) -> str:
        """The phase that needs most."""
        return max(self.phases, key=lambda name: self.phases[name])

    def lines(self) -> list[str]:
        """Readable rows, largest first."""
        rows = [f"{name:<12}{size / 2**30:8.2f} GiB" for name, size in sorted(self.parts.items(), key=lambda item: -item[1]) if size]
        return [*rows, f"{'peak':<12}{self.peak / 2**30:8.2f} GiB", f"largest: {self.biggest}; to shrink it: {self.advice}"]

    def summary(self) -> str:
        """One line for the log."""
        terms = ", ".join(f"{name} {readable(size)}" for name, size in sorted(self.parts.items(), key=lambda item: -item[1]) if size)
        return f"memory: {readable(self.peak)} at most, in the {self.phase} ({terms}); the largest term is {self.biggest}: {self.advice}"


def readable(size: float) -> str:
    """Bytes in MiB or GiB."""
    return f"{size / 2**30:.2f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"


def shape_of(config: PreTrainedConfig) -> ModelShape:
    """Shape of a causal LM from its configuration; the model is laid out without memory to count its parameters."""
    text = config.get_text_config()
    return ModelShape(
        parameters=count_parameters(config).all,
        layers=int(text.num_hidden_layers),
        hidden=int(text.hidden_size),
        intermediate=int(getattr(text, "intermediate_size", None) or getattr(text, "n_inner", None) or 4 * text.hidden_size),
        kv_width=kv_width(config),
        vocabulary=int(text.vocab_size),
        context=int(getattr(text, "max_position_embeddings", 2048)),
        config=config,
    )


def kv_width(config: PreTrainedConfig) -> int:
    """Numbers that a layer keeps of a token as keys (and again as values); recurrent architectures without attention keep none."""
    text = config.get_text_config()
    heads = int(getattr(text, "num_attention_heads", 0) or 0)
    if heads == 0:
        return 0
    width = int(getattr(text, "head_dim", None) or text.hidden_size // heads)
    return int(getattr(text, "num_key_value_heads", None) or heads) * width


def rollout_rows(*, columns: int, layers: int, kv_width: int, bytes_each: int, device: torch.device) -> int:
    """How many rows to decode together: at most ``ROLLOUT_ROWS``, and a cache of 4 GiB, or of a quarter of a GPU.

    It depends on the machine and the request alone, never on what happens to be free, so that a resumed run cuts its
    rollouts into the same portions.
    """
    budget = torch.cuda.get_device_properties(device).total_memory // 4 if device.type == "cuda" else _CACHE_BYTES_CPU
    return max(1, min(ROLLOUT_ROWS, budget // max(1, columns * layers * 2 * kv_width * bytes_each)))


def estimate_memory(
    config: StageConfig,
    shape: ModelShape,
    workload: Workload | None = None,
    *,
    reward: ModelShape | None = None,
    value: ModelShape | None = None,
) -> Estimate:
    """Memory of a stage on one device, the library's own needs (some 0.4 GiB on a CPU) not counted.

    Args:
        config: the stage.
        shape: the model; for PPO the policy and its reference.
        workload: what is known of the data; without it the longest rows that the configuration allows are counted.
        reward: PPO's reward model, where it differs.
        value: PPO's value network, where it differs from the reward model.
    """
    known = workload or Workload()
    if isinstance(config, PPOConfig):
        parts, phases = _ppo(config, shape, reward or shape, value or reward or shape, known)
    else:
        parts, phases = _supervised(config, shape, known)
    phase = max(phases, key=lambda name: phases[name].total)
    there = {name: size for name, size in {**parts, **phases[phase].terms}.items() if name not in _PASSING or name in phases[phase].terms}
    for needs in phases.values():
        for name, size in needs.terms.items():
            parts[name] = max(parts.get(name, 0), size)
    biggest = max(there, key=lambda name: there[name])
    return Estimate(
        parts=parts,
        phases={name: needs.total for name, needs in phases.items()},
        peak=phases[phase].total,
        biggest=biggest,
        advice=advice_for(config, biggest, row_tokens=known.row_tokens or shape.context),
    )


_PASSING = frozenset({"gradients", "activations", "logits", "kv_cache"})


@dataclass(frozen=True, slots=True)
class _Phase:
    """What a phase holds: its own terms, and all bytes, permanent ones included."""

    terms: Mapping[str, int]
    total: int


def _supervised(
    config: PretrainConfig | SFTConfig | RewardModelConfig, shape: ModelShape, known: Workload
) -> tuple[dict[str, int], dict[str, _Phase]]:
    """Terms and phases of a stage that trains one model."""
    compute, dtype = config.compute, resolve_dtype(config.compute)
    rank, targets = (0, "") if isinstance(config, PretrainConfig) else (config.lora.rank, config.lora.targets)
    scalar = isinstance(config, RewardModelConfig)
    counted = count_parameters(shape.config, scalar=scalar, rank=rank, targets=targets)
    parts = _permanent(counted.all, counted.trained, dtype)
    length, rows_in_step, together = _rows(config, shape, known)
    rows = min(rows_in_step, max(1, compute.micro_batch_tokens // length // together) * together)
    scored = length - 1 if isinstance(config, PretrainConfig) else min(known.completion_tokens or length, length - 1)
    work = Pass(
        rows=rows,
        length=length,
        scored=None if scalar else rows * scored,
        dtype=dtype,
        rank=rank,
        targets=targets,
        checkpointing=compute.gradient_checkpointing,
        accumulating=rows < rows_in_step,
    )
    phases = {"update": _update(shape, work, parts, counted.trained)}
    if isinstance(config, SFTConfig) and config.select_by == "rm_score":
        prompt = known.prompt_tokens or shape.context - config.sampling.max_new_tokens
        phases["rollout"] = _rollout(shape, config, parts, rows=config.selection_prompts, prompt=prompt)
    return parts, phases


def _rows(config: PretrainConfig | SFTConfig | RewardModelConfig, shape: ModelShape, known: Workload) -> tuple[int, int, int]:
    """(tokens of a row, rows of an optimizer step, rows that must be in one pass)."""
    if isinstance(config, PretrainConfig):
        return config.context_tokens, max(1, config.batch_tokens // config.context_tokens), 1
    limit = config.max_tokens or shape.context
    length = min(known.row_tokens or limit, limit, shape.context)
    if isinstance(config, RewardModelConfig):
        group = known.group_rows or _GROUP_ROWS
        return length, min(config.batch_prompts * group, known.rows or config.batch_prompts * group), group
    return length, min(config.batch_size, known.rows or config.batch_size), 1


def _ppo(
    config: PPOConfig, shape: ModelShape, reward: ModelShape, value: ModelShape, known: Workload
) -> tuple[dict[str, int], dict[str, _Phase]]:
    """Terms and phases of PPO: policy and value network learn, reference and reward model stand still."""
    compute, dtype, rank = config.compute, resolve_dtype(config.compute), config.lora.rank
    policy = count_parameters(shape.config, rank=rank, targets=config.lora.targets)
    critic = count_parameters(value.config, scalar=True, rank=rank, targets=config.lora.targets)
    parts = _permanent(policy.all, policy.trained, dtype)
    for name, size in _permanent(critic.all, critic.trained, dtype).items():
        parts[name] += size
    if rank == 0 or config.reference:
        parts["weights"] += policy.all * dtype.itemsize
    learned = config.reward.name == "model"
    if learned:
        parts["weights"] += count_parameters(reward.config, scalar=True).all * dtype.itemsize
    parts["average"] = policy.trained * _MASTER_BYTES if config.ema_decay or config.ema_half_life else 0

    prompt = known.prompt_tokens or config.max_prompt_tokens or max(1, shape.context - config.sampling.max_new_tokens)
    length = min(prompt + config.sampling.max_new_tokens, shape.context)
    minibatch = config.batch_size // config.minibatches
    rows = min(minibatch, max(1, compute.micro_batch_tokens // length))
    counted = config.sampling.max_new_tokens
    work = Pass(
        rows=rows,
        length=length,
        scored=rows * counted,
        dtype=dtype,
        rank=rank,
        targets=config.lora.targets,
        checkpointing=compute.gradient_checkpointing,
        accumulating=rows < minibatch,
    )
    phases = {
        "rollout": _rollout(shape, config, parts, rows=config.batch_size, prompt=prompt),
        "value update": _update(value, _scalar_pass(work), parts, critic.trained),
        "policy update": _update(shape, work, parts, policy.trained),
        "reference pass": _forward(shape, work, parts),
        "publication": _Phase({"gradients": 0}, sum(parts.values()) + (policy.trained * _MASTER_BYTES if parts["average"] else 0)),
    }
    if learned:
        scoring = min(config.batch_size, max(1, _SCORING_TOKENS // length))
        phases["reward pass"] = _forward(reward, _scalar_pass(work, rows=scoring), parts)
    if config.ptx_coef > 0:
        together = config.ptx_per_episode * minibatch
        text = min(together, max(1, compute.micro_batch_tokens // config.ptx_tokens))
        mixed = Pass(
            rows=text,
            length=config.ptx_tokens,
            scored=text * (config.ptx_tokens - 1),
            dtype=dtype,
            rank=rank,
            targets=config.lora.targets,
            checkpointing=compute.gradient_checkpointing,
            accumulating=text < together,
        )
        # the gradient of PPO's own loss waits beside the one of the pretraining mix
        phases["pretraining update"] = _update(shape, mixed, parts, policy.trained, waiting=policy.trained)
    return parts, phases


def _permanent(parameters: int, trained: int, dtype: torch.dtype) -> dict[str, int]:
    """Terms of one trained model that are there all the time; what adapters leave frozen is in the compute precision."""
    return {
        "weights": trained * _MASTER_BYTES + (parameters - trained) * (dtype.itemsize),
        "optimizer": 2 * trained * _MASTER_BYTES,
        "average": 0,
    }


def _scalar_pass(work: Pass, *, rows: int = 0) -> Pass:
    return replace(work, scored=None, rows=rows or work.rows)


def _update(shape: ModelShape, work: Pass, parts: Mapping[str, int], trained: int, *, waiting: int = 0) -> _Phase:
    """A forward and backward pass, gradients included."""
    needs = measure_pass(shape.config, work) or _by_shape(shape, work)
    gradients = trained * _MASTER_BYTES
    # a first pass makes the gradients itself, as it gives activations back
    total = needs.peak + (gradients if work.accumulating else 0) + waiting * _MASTER_BYTES
    terms = {"gradients": gradients + waiting * _MASTER_BYTES, "activations": needs.activations, "logits": needs.logits}
    return _Phase(terms, sum(parts.values()) + total)


def _forward(shape: ModelShape, work: Pass, parts: Mapping[str, int]) -> _Phase:
    """A pass without gradient."""
    frozen = replace(work, trained=False, rank=0, checkpointing=False, accumulating=False)
    needs = measure_pass(shape.config, frozen) or _by_shape(shape, frozen)
    return _Phase({"activations": needs.activations, "logits": needs.logits}, sum(parts.values()) + needs.peak)


def _rollout(shape: ModelShape, config: SFTConfig | PPOConfig, parts: Mapping[str, int], *, rows: int, prompt: int) -> _Phase:
    """Cache, and the larger of the pass over the prompts and the draw of a token."""
    dtype = resolve_dtype(config.compute)
    columns = min(prompt + config.sampling.max_new_tokens, shape.context)
    layer = columns * 2 * shape.kv_width * dtype.itemsize
    device = resolve_device(config.compute)
    fitting = rollout_rows(columns=columns, layers=shape.layers, kv_width=shape.kv_width, bytes_each=dtype.itemsize, device=device)
    together = min(rows, fitting)
    cache = together * shape.layers * layer
    work = Pass(rows=together, length=max(1, prompt), scored=together, dtype=dtype, trained=False, accumulating=False)
    reading = measure_pass(shape.config, work) or _by_shape(shape, work)
    logits = _SAMPLER_COPIES * together * shape.vocabulary * _MASTER_BYTES
    passing = max(reading.peak, logits + together * layer)
    return _Phase({"kv_cache": cache, "activations": reading.activations, "logits": logits}, sum(parts.values()) + cache + passing)


def _by_shape(shape: ModelShape, work: Pass) -> PassNeeds:
    """The same by rule of thumb, for what cannot be measured: 10 vectors of the hidden width, 4 of the MLP's, keys and values."""
    size, tokens = work.dtype.itemsize, work.rows * work.length
    one_layer = 10 * shape.hidden + 4 * shape.intermediate + 2 * shape.kv_width
    per_token = one_layer
    if work.trained:
        per_token = shape.layers * shape.hidden + one_layer if work.checkpointing else shape.layers * one_layer
    logits = 0 if work.scored is None else 3 * min(work.scored * shape.vocabulary, _CHUNK_ELEMENTS) * _MASTER_BYTES
    return PassNeeds(tokens * per_token * size, logits, tokens * per_token * size + logits)
