"""The memory that each training stage of a recipe will need, from configurations alone."""

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from transformers import AutoConfig

from instructloop.config import PPOConfig, PretrainConfig, RewardModelConfig, SFTConfig, from_mapping
from instructloop.core.errors import ConfigError, InstructLoopError
from instructloop.models import Estimate, ModelShape, estimate_memory, shape_of
from instructloop.recipes.recipe import Recipe, Stage
from instructloop.runs import resolve_model
from instructloop.training.memory import pretrain_shape


def memory_needs(recipe: Recipe) -> Iterator[tuple[str, Estimate | None, str]]:
    """(stage, estimate, why there is none) for every training stage."""
    for stage in recipe.stages:
        config = from_mapping(stage.kind.config(), stage.resolved(Path("stages")))
        if not isinstance(config, PretrainConfig | SFTConfig | RewardModelConfig | PPOConfig):
            continue
        try:
            yield stage.name, estimate_memory(config, _shape(recipe, stage, config)), ""
        except InstructLoopError as error:
            yield stage.name, None, error.message


def _shape(recipe: Recipe, stage: Stage, config: PretrainConfig | SFTConfig | RewardModelConfig | PPOConfig) -> ModelShape:
    if isinstance(config, PretrainConfig) and not config.init:
        return pretrain_shape(config, _vocabulary(config.tokenizer) if config.tokenizer else 50_000)
    written = str(stage.values.get("init" if isinstance(config, PretrainConfig) else "model", ""))
    if written.startswith("@"):
        name = written[1:].partition("/")[0]
        before = next(item for item in recipe.stages if item.name == name)
        return _shape(recipe, before, from_mapping(before.kind.config(), before.resolved(Path("stages"))))
    return _model_shape(config.init if isinstance(config, PretrainConfig) else config.model)


@lru_cache(maxsize=8)
def _model_shape(path: str) -> ModelShape:
    try:
        return shape_of(AutoConfig.from_pretrained(str(resolve_model(path))))
    except (OSError, ValueError) as error:
        raise ConfigError(f"no model at {path!r}", hint="--set model=PATH") from error


def _vocabulary(path: str) -> int:
    from instructloop.models import load_tokenizer

    return len(load_tokenizer(path))
