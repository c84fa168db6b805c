"""The tutorial walks through the recipe that the demo runs: its commands have the recipe's settings."""

import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from instructloop.recipes import load_recipe

TUTORIAL = Path(__file__).resolve().parents[2] / "docs/tutorials/first-loop.md"
NOT_SETTINGS = {
    "out",
    "seed",
    "model",
    "models",
    "data",
    "pretrain_data",
    "prompts",
    "reward_model",
    "demonstrations",
    "few_shot",
    "completions",
}
"""Places of files differ between a recipe and a desk; the seed is 0 in both."""


def given(out: str) -> dict[str, str]:
    """Options of the tutorial's command that writes ``out``, in the names of the configuration."""
    text = TUTORIAL.read_text(encoding="utf-8").replace("\\\n", " ")
    (line,) = [line for line in text.splitlines() if line.startswith("instructloop ") and line.endswith(f"--out {out}")]
    options = re.findall(r" --([\w.-]+) (\S+)", " ".join(shlex.split(line)))
    return {name.replace("-", "_"): value for name, value in options if name.replace("-", "_") not in NOT_SETTINGS}


def settings(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """A stage's settings in dotted names, inputs left out."""
    flat: dict[str, str] = {}
    for name, value in values.items():
        if name in NOT_SETTINGS or name in {"reward", "reference"}:
            continue
        if isinstance(value, Mapping):
            flat |= settings(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = str(value)
    return flat


def plain(values: Mapping[str, str], defaults: Mapping[str, str]) -> dict[str, float | str]:
    """Numbers as numbers, and without what says the default."""
    return {name: number(value) for name, value in values.items() if name not in defaults or number(value) != number(defaults[name])}


def number(value: str) -> float | str:
    try:
        return float(value)
    except ValueError:
        return value


@pytest.mark.parametrize(
    ("stage", "out"),
    [
        ("rl_init", "runs/rl-init"),
        ("sft", "runs/sft"),
        ("sample", "runs/to-rank"),
        ("rm", "runs/rm"),
        ("ppo_ptx", "runs/ppo-ptx"),
        ("evaluate", "runs/gold"),
    ],
)
def test_a_command_of_the_tutorial_has_the_settings_of_its_stage(stage: str, out: str) -> None:
    (found,) = [one for one in load_recipe("miniature").stages if one.name == stage]
    defaults = settings(found.kind.normal({}))
    values = {name: value for name, value in found.values.items() if name != "watch"}  # the page names it, and leaves it to its own page
    recipe = plain(settings(values), defaults)
    assert plain(given(out), defaults) == recipe
