"""``instructloop sample``."""

from pathlib import Path

from instructloop.cli.arguments import parse_stage
from instructloop.config import SampleConfig
from instructloop.core.files import read_json


def sample(arguments: list[str], prog: str) -> None:
    """Completions to rank."""
    cfg, given = parse_stage(SampleConfig, arguments, prog)
    from instructloop.recipes.sample import COMPLETIONS_FILE, run_sample

    out = run_sample(cfg, Path(given.out), resume=given.resume)
    print(out / COMPLETIONS_FILE)
    done = read_json(out / "result.json")
    if cfg.project:
        print(f"{done['tasks']} tasks in the queue {done['queue']!r}; people answer them at: instructloop label {cfg.project}")
