"""``instructloop train pretrain|sft|rm|ppo``."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from instructloop.cli.arguments import parse_stage
from instructloop.config import PPOConfig, PretrainConfig, RewardModelConfig, RewardSpec, SFTConfig
from instructloop.core.errors import ConfigError
from instructloop.core.files import read_json


def pretrain(arguments: list[str], prog: str) -> None:
    """Train a base model."""
    cfg, given = parse_stage(PretrainConfig, arguments, prog)
    from instructloop.training.pretrain import run_pretrain

    _finish(run_pretrain(cfg, Path(given.out), resume=given.resume))


def sft(arguments: list[str], prog: str) -> None:
    """Supervised fine-tuning."""
    cfg, given = parse_stage(SFTConfig, arguments, prog)
    from instructloop.recipes.from_project import with_snapshots
    from instructloop.training.sft import run_sft

    cfg = with_snapshots(cfg, Path(given.out), resume=given.resume)
    _finish(run_sft(cfg, Path(given.out), resume=given.resume))


def reward_model(arguments: list[str], prog: str) -> None:
    """Train a reward model."""
    cfg, given = parse_stage(RewardModelConfig, arguments, prog)
    from instructloop.recipes.from_project import with_snapshots
    from instructloop.training.reward_model import run_reward_model

    cfg = with_snapshots(cfg, Path(given.out), resume=given.resume)
    _finish(run_reward_model(cfg, Path(given.out), resume=given.resume))


def ppo(arguments: list[str], prog: str) -> None:
    """PPO or PPO-ptx."""
    model = Annotated[str, tyro.conf.arg(help="Reward-model directory; short for the reward named 'model' with this path.")]
    args = Annotated[
        str, tyro.conf.arg(help='Arguments of the reward as JSON, e.g. \'{"path": "score.py:score"}\' for --reward.name python.')
    ]
    cfg, given = parse_stage(PPOConfig, arguments, prog, extra=[("reward_model", model, ""), ("reward_args", args, "")])
    from instructloop.recipes.from_project import with_snapshots
    from instructloop.training.ppo import run_ppo

    cfg = replace(cfg, reward=chosen_reward(cfg.reward, given.reward_model, given.reward_args))
    cfg = with_snapshots(cfg, Path(given.out), resume=given.resume)
    _finish(run_ppo(cfg, Path(given.out), resume=given.resume))


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
