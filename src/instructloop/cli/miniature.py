"""``instructloop miniature build|label|evaluate|observe``: the small world's stages one by one."""

from pathlib import Path

from instructloop.cli.arguments import parse_stage
from instructloop.cli.tables import console, print_evaluations
from instructloop.recipes.stages import (
    MiniatureBuildConfig,
    MiniatureEvaluateConfig,
    MiniatureLabelConfig,
    MiniatureObserveConfig,
    run_miniature_build,
    run_miniature_evaluate,
    run_miniature_label,
    run_miniature_observe,
)


def build(arguments: list[str], prog: str) -> None:
    """Write the world's files."""
    cfg, given = parse_stage(MiniatureBuildConfig, arguments, prog)
    print(run_miniature_build(cfg, Path(given.out), resume=given.resume))


def label(arguments: list[str], prog: str) -> None:
    """Rank completions."""
    cfg, given = parse_stage(MiniatureLabelConfig, arguments, prog)
    print(run_miniature_label(cfg, Path(given.out), resume=given.resume) / "rankings.jsonl")


def evaluate(arguments: list[str], prog: str) -> None:
    """Judge models by gold."""
    cfg, given = parse_stage(MiniatureEvaluateConfig, arguments, prog)
    print_evaluations(console(), run_miniature_evaluate(cfg, Path(given.out), resume=given.resume))


def observe(arguments: list[str], prog: str) -> None:
    """Gold of what the watches of PPO runs kept."""
    cfg, given = parse_stage(MiniatureObserveConfig, arguments, prog)
    print(run_miniature_observe(cfg, Path(given.out), resume=given.resume) / "result.json")
