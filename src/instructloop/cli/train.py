"""``instructloop train pretrain|sft|rm|ppo``."""

import json
import logging
import os
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console

from instructloop.cli.arguments import TrainingArguments, parse_stage
from instructloop.config import PPOConfig, PretrainConfig, RewardModelConfig, RewardSpec, SFTConfig
from instructloop.core.errors import ConfigError
from instructloop.core.files import read_json

logger = logging.getLogger(__name__)


def pretrain(arguments: list[str], prog: str) -> None:
    """Train a base model."""
    cfg, given = parse_stage(PretrainConfig, arguments, prog, shape=TrainingArguments)
    _train("pretrain", cfg, given, arguments, prog)


def sft(arguments: list[str], prog: str) -> None:
    """Supervised fine-tuning."""
    cfg, given = parse_stage(SFTConfig, arguments, prog, shape=TrainingArguments)
    _train("sft", cfg, given, arguments, prog)


def reward_model(arguments: list[str], prog: str) -> None:
    """Train a reward model."""
    cfg, given = parse_stage(RewardModelConfig, arguments, prog, shape=TrainingArguments)
    _train("rm", cfg, given, arguments, prog)


def ppo(arguments: list[str], prog: str) -> None:
    """PPO or PPO-ptx."""
    model = Annotated[str, tyro.conf.arg(help="Reward-model directory; short for the reward named 'model' with this path.")]
    args = Annotated[
        str, tyro.conf.arg(help='Arguments of the reward as JSON, e.g. \'{"path": "score.py:score"}\' for --reward.name python.')
    ]
    extra = [("reward_model", model, ""), ("reward_args", args, "")]
    cfg, given = parse_stage(PPOConfig, arguments, prog, extra=extra, shape=TrainingArguments)
    _train("ppo", replace(cfg, reward=chosen_reward(cfg.reward, given.reward_model, given.reward_args)), given, arguments, prog)


def _train(kind: str, cfg: Any, given: TrainingArguments, arguments: list[str], prog: str) -> None:
    """Run the stage with the launcher that is asked for, and say what came out."""
    from instructloop.recipes.launch import Launch, Work, launch

    out = Path(given.out)
    how = Launch(launcher=given.launcher, processes=given.processes, resources_per_process=given.resources_per_process)
    if os.environ.get("RANK", "0") == "0" or given.launcher != "torchrun":
        logger.info("%s: loading torch and transformers", prog.removeprefix("instructloop "))
    launch(Work(kind=kind, config=cfg, out=out, resume=given.resume, command=shlex.join([*prog.split(), *arguments])), how)
    if given.launcher != "torchrun" or os.environ.get("RANK") == "0":
        _finish(out)


def chosen_reward(spec: RewardSpec, model: str, args: str) -> RewardSpec:
    """The reward that the options name; ``--reward-model`` and ``--reward-args`` win over a file's."""
    if model:
        return RewardSpec(name="model", args={"path": model})
    if not args:
        return spec
    try:
        values = json.loads(args)
    except json.JSONDecodeError as error:
        raise ConfigError(f"--reward-args is not JSON: {error}", hint="""e.g. --reward-args '{"low": 5, "high": 20}'""") from error
    if not isinstance(values, dict):
        raise ConfigError(f"--reward-args must be a JSON object, got {args}", hint="""e.g. --reward-args '{"low": 5, "high": 20}'""")
    return replace(spec, args=values)


def _finish(out: Path) -> None:
    result = read_json(out / "result.json") if (out / "result.json").exists() else {}
    numbers = "  ".join(f"{name} {value:.4g}" for name, value in result.items() if isinstance(value, float))
    console = Console(highlight=False, soft_wrap=True)
    if numbers:
        console.print(numbers)
    console.print(f"model: {out / 'model'}", markup=False)
