"""``instructloop sample``."""

from pathlib import Path

from instructloop.cli.arguments import parse_stage
from instructloop.config import SampleConfig


def sample(arguments: list[str], prog: str) -> None:
    """Completions to rank."""
    cfg, given = parse_stage(SampleConfig, arguments, prog)
    from instructloop.recipes.sample import COMPLETIONS_FILE, run_sample

    out = run_sample(cfg, Path(given.out), resume=given.resume)
    print(out / COMPLETIONS_FILE)
