"""What a stage of a recipe can be: its configuration, its inputs, and the function that runs it, all found lazily."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from instructloop.config import from_mapping, to_json

StageFunction = Callable[..., object]
"""``function(config, out, *, resume)``: run the stage in the directory ``out``."""


_MAY_TAKE_PROJECTS = frozenset({"sft", "rm", "ppo"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """A stage kind. Names are part of recipes: never rename, only add."""

    name: str
    config_path: str
    """``module:Class`` of its configuration."""
    run_path: str
    """``module:function`` that runs it."""
    inputs: tuple[str, ...] = ()
    """Fields that hold paths; their contents count, not their names."""
    shown: tuple[str, ...] = ()
    """Metrics shown while it runs."""

    def config(self) -> type[Any]:
        """The configuration class."""
        return cast("type[Any]", _load(self.config_path))

    def function(self) -> StageFunction:
        """The function; importing it brings torch where the stage needs it."""
        return cast("StageFunction", _load(self.run_path))

    def normal(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """All settings, defaults included, so that writing out a default does not change the key."""
        return to_json(from_mapping(self.config(), values))

    def run(self, values: Mapping[str, Any], out: Path, *, resume: bool) -> None:
        """Run the stage here and now."""
        cfg = from_mapping(self.config(), values)
        if self.name in _MAY_TAKE_PROJECTS:
            from instructloop.recipes.from_project import with_snapshots

            cfg = with_snapshots(cfg, out, resume=resume)
        self.function()(cfg, out, resume=resume)


def _load(path: str) -> object:
    module, _, name = path.partition(":")
    return getattr(import_module(module), name)


_STAGES = "instructloop.recipes.stages"
_ALL = (
    Kind(
        name="pretrain",
        config_path="instructloop.config:PretrainConfig",
        run_path="instructloop.training.pretrain:run_pretrain",
        inputs=("data", "validation", "tokenizer", "init"),
        shown=("pretrain/loss", "pretrain/val_loss"),
    ),
    Kind(
        name="sft",
        config_path="instructloop.config:SFTConfig",
        run_path="instructloop.training.sft:run_sft",
        inputs=("model", "data", "validation", "pretrain_data", "reward_model"),
        shown=("sft/loss", "sft/val_loss"),
    ),
    Kind(
        name="rm",
        config_path="instructloop.config:RewardModelConfig",
        run_path="instructloop.training.reward_model:run_reward_model",
        inputs=("model", "data", "validation", "demonstrations"),
        shown=("rm/loss", "rm/accuracy", "rm/val_accuracy"),
    ),
    Kind(
        name="ppo",
        config_path="instructloop.config:PPOConfig",
        run_path="instructloop.recipes.watched:run_ppo",
        inputs=(
            "model",
            "reference",
            "value_model",
            "prompts",
            "pretrain_data",
            "reward.args.path",
            "watch.prompts",
            "watch.reward_models",
        ),
        shown=("ppo/reward", "ppo/kl", "ppo/entropy", "ppo/eos_rate"),
    ),
    Kind(
        name="sample",
        config_path="instructloop.config:SampleConfig",
        run_path="instructloop.recipes.sample:run_sample",
        inputs=("models", "prompts"),
        shown=("sample/prompts", "sample/distinct_share"),
    ),
    Kind(
        name="evaluate",
        config_path="instructloop.config.evaluation:EvaluationConfig",
        run_path="instructloop.evaluation.run:run_evaluation",
        inputs=("models", "prompts", "sets", "reward_model", "votes", "few_shot", "texts", "completions"),
    ),
    Kind(name="miniature.build", config_path=f"{_STAGES}:MiniatureBuildConfig", run_path=f"{_STAGES}:run_miniature_build"),
    Kind(
        name="miniature.label",
        config_path=f"{_STAGES}:MiniatureLabelConfig",
        run_path=f"{_STAGES}:run_miniature_label",
        inputs=("completions",),
    ),
    Kind(
        name="miniature.evaluate",
        config_path=f"{_STAGES}:MiniatureEvaluateConfig",
        run_path=f"{_STAGES}:run_miniature_evaluate",
        inputs=("models", "world"),
    ),
    Kind(
        name="miniature.observe",
        config_path=f"{_STAGES}:MiniatureObserveConfig",
        run_path=f"{_STAGES}:run_miniature_observe",
        inputs=("runs", "sft"),
    ),
    Kind(name="inspect", config_path=f"{_STAGES}:InspectConfig", run_path=f"{_STAGES}:run_inspect", inputs=("runs",)),
    Kind(name="report", config_path=f"{_STAGES}:ReportConfig", run_path=f"{_STAGES}:run_report"),
)
KINDS = {kind.name: kind for kind in _ALL}
TRAINING = frozenset({"pretrain", "sft", "rm", "ppo"})
"""Kinds that several processes can share."""
