"""Before anything is loaded: the memory that a stage will need, said in two lines, and a word if the machine has less."""

import logging
import os
from collections.abc import Sequence

import torch
from transformers import AutoConfig, LlamaConfig

from instructloop.config import PPOConfig, PretrainConfig, RewardModelConfig, SFTConfig
from instructloop.core.errors import ConfigError, DataError
from instructloop.core.machine_memory import available_bytes, physical_bytes
from instructloop.core.records import Demonstration, Prompt, Ranking
from instructloop.data import TextCodec, tokenize_demonstrations, tokenize_rankings
from instructloop.models.device import resolve_device
from instructloop.models.memory import Estimate, ModelShape, Row, StageConfig, Workload, estimate_memory, readable, shape_of
from instructloop.training.inputs import model_path

logger = logging.getLogger(__name__)
HOPELESS = 1.5
"""A stage that needs this many times all the memory there is does not begin."""
_ROWS_LOOKED_AT = 512


def announce_memory(
    cfg: StageConfig,
    codec: TextCodec,
    *,
    demonstrations: Sequence[Demonstration] = (),
    rankings: Sequence[Ranking] = (),
    prompts: Sequence[Prompt] = (),
) -> Estimate | None:
    """Log the estimate of a stage for its data, and warn if it exceeds what the machine has free.

    Args:
        cfg: the stage; ``cfg.compute.memory_check`` says what follows.
        codec: tokenizes a sample of the rows, whose lengths decide what a pass holds.
        demonstrations: of SFT.
        rankings: of a reward model.
        prompts: of PPO.

    Returns:
        The estimate; None where it is switched off or the model cannot be read (loading it will say why).

    Raises:
        ConfigError: the stage needs 1.5 times all the memory there is.
    """
    if cfg.compute.memory_check == "off" or int(os.environ.get("RANK", "0")) > 0:
        return None
    try:
        shape = _shape(cfg, codec)
        path = str(cfg.reward.args.get("path", "")) if isinstance(cfg, PPOConfig) and cfg.reward.name == "model" else ""
        reward = _read_shape(path) if path else None
        value = _read_shape(cfg.value_model) if isinstance(cfg, PPOConfig) and cfg.value_model else None
    except (OSError, ValueError, ConfigError):
        return None
    workload = _workload(cfg, codec, shape, demonstrations, rankings, prompts)
    estimate = estimate_memory(cfg, shape, workload, reward=reward, value=value, ranks=int(os.environ.get("WORLD_SIZE", "1")))
    for line in estimate.summary().splitlines():
        logger.info("%s", line)
    check_room(cfg, estimate)
    return estimate


def check_room(cfg: StageConfig, estimate: Estimate) -> None:
    """Compare an estimate with the device.

    Raises:
        ConfigError: it needs ``HOPELESS`` times all the memory there is, and ``memory_check`` is ``stop``.
    """
    device = resolve_device(cfg.compute)
    if device.type == "mps":
        return
    free, total = torch.cuda.mem_get_info(device) if device.type == "cuda" else (available_bytes(), physical_bytes())
    # processes that torchrun started here share the main memory, and each has a GPU of its own
    needed = estimate.peak * (int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if device.type == "cpu" else 1)
    if needed <= free:
        return
    told = f"this stage needs about {readable(needed)}, and {device.type} has {readable(free)} free of {readable(total)}"
    remedy = f"the largest term is {estimate.biggest}; to shrink it: {estimate.advice}"
    if needed > HOPELESS * total and cfg.compute.memory_check == "stop":
        raise ConfigError(told, hint=f"{remedy} (compute.memory_check = 'warn' tries all the same)")
    logger.warning("%s; %s", told, remedy)


def pretrain_shape(cfg: PretrainConfig, vocabulary: int) -> ModelShape:
    """The shape of the model that ``models.new_llama`` makes for a configuration."""
    return shape_of(
        LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=cfg.hidden_size,
            num_hidden_layers=cfg.layers,
            num_attention_heads=cfg.heads,
            num_key_value_heads=cfg.heads,
            intermediate_size=cfg.intermediate_size,
            max_position_embeddings=cfg.context_tokens,
            tie_word_embeddings=True,
        )
    )


def _shape(cfg: StageConfig, codec: TextCodec) -> ModelShape:
    if isinstance(cfg, PretrainConfig):
        return _read_shape(cfg.init) if cfg.init else pretrain_shape(cfg, len(codec.tokenizer))
    return _read_shape(cfg.model)


def _read_shape(path: str) -> ModelShape:
    return shape_of(AutoConfig.from_pretrained(str(model_path(path))))


def _workload(
    cfg: StageConfig,
    codec: TextCodec,
    shape: ModelShape,
    demonstrations: Sequence[Demonstration],
    rankings: Sequence[Ranking],
    prompts: Sequence[Prompt],
) -> Workload | None:
    """Lengths of the first rows; the data are read in a random order, so these are as good as any."""
    groups: list[tuple[Row, ...]] = []
    try:
        if isinstance(cfg, SFTConfig) and demonstrations:
            limit = min(cfg.max_tokens or shape.context, shape.context)
            rows = tokenize_demonstrations(demonstrations[:_ROWS_LOOKED_AT], codec, limit).sequences
            groups = [(Row(row.prompt_length, len(row)),) for row in rows]
        elif isinstance(cfg, RewardModelConfig) and rankings:
            limit = min(cfg.max_tokens or shape.context, shape.context)
            found = tokenize_rankings(rankings[:_ROWS_LOOKED_AT], codec, limit)
            groups = [tuple(Row(row.prompt_length, len(row)) for row in group.sequences) for group in found.groups]
        elif isinstance(cfg, PPOConfig):
            lengths = [len(codec.encode_prompt(prompt.prompt)) for prompt in prompts[:_ROWS_LOOKED_AT]]
            groups = [(Row(length, length),) for length in lengths]
    except DataError:  # training will say what is wrong with them
        return None
    return Workload(groups=tuple(groups)) if groups else None
