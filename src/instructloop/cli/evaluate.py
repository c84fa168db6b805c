"""``instructloop evaluate``."""

from dataclasses import replace
from pathlib import Path

import tyro

from instructloop.cli.arguments import parse_stage
from instructloop.cli.tables import console, print_evaluations
from instructloop.config.evaluation import EvaluationConfig


def evaluate(arguments: list[str], prog: str) -> None:
    """Models side by side."""
    cfg, given = parse_stage(EvaluationConfig, arguments, prog, extra=(("checkpoints", tyro.conf.Positional[tuple[str, ...]], ()),))
    if given.checkpoints:
        cfg = replace(cfg, models=(*cfg.models, *given.checkpoints))
    from instructloop.evaluation.run import run_evaluation

    out = run_evaluation(cfg, Path(given.out), resume=given.resume)
    print_evaluations(console(), out)
