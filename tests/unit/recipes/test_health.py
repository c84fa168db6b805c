"""The doctor's verdict on recorded PPO runs: nothing on a good one, the right item of the kill-list on each bad one."""

import json
import math
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from instructloop.cli.main import main
from instructloop.config import PPOConfig, to_json
from instructloop.core.errors import ConfigError, TrainingDiverged
from instructloop.recipes.health import examine_run
from instructloop.runs import RunDir

Row = dict[str, float]


def healthy(step: int) -> Row:
    """An iteration of a run that learns: reward and KL rise slowly, everything else stays."""
    return {
        "reward": 0.02 * step,
        "reward_std": 1.0,
        "kl": 0.05 * step,
        "kl_se": 0.02,
        "kl_k3": 0.05 * step,
        "entropy": 1.2 - 0.005 * step,
        "first_ratio_deviation": 2e-6,
        "explained_variance": 0.4,
        "length": 9.0 + 0.1 * math.sin(step),
        "length_max": 16.0,
        "eos_rate": 0.98,
        "distinct_2": 0.6,
        "value_loss": 0.3,
        "clip_fraction": 0.05,
    }


def record(path: Path, change: Callable[[Row, int], Row], steps: int = 24) -> Path:
    config = to_json(PPOConfig(model="base", prompts="prompts.jsonl"))
    with suppress(TrainingDiverged), RunDir.open(path, stage="ppo", config=config) as run:
        for step in range(1, steps + 1):
            run.metrics(step, "ppo", change(healthy(step), step))
    return path


BAD: dict[str, Callable[[Row, int], Row]] = {
    "KILL-1": lambda row, step: row | {"kl": -0.5},
    "KILL-2": lambda row, step: row | {"length": 16.0, "eos_rate": 0.0},
    "KILL-3": lambda row, step: row | {"eos_rate": max(0.1, 1 - 0.05 * step)},
    "KILL-4": lambda row, step: row | {"eval/win_rate": 0.7 - 0.02 * step},
    "KILL-5": lambda row, step: row | {"first_ratio_deviation": 0.03},
    "KILL-6": lambda row, step: row | {"distinct_2": 0.6 / step},
    "KILL-7": lambda row, step: row | {"explained_variance": -0.2},
    "KILL-8": lambda row, step: row | {"reward_std": 0.0, "reward": 1.0},
    "KILL-9": lambda row, step: row | {"value_loss": float("nan") if step == 7 else 0.3},
    "KL": lambda row, step: row | {"kl": 0.5 * step},
    "ENTROPY": lambda row, step: row | {"entropy": 0.9**step},
}


@pytest.mark.parametrize("kind", list(BAD))
def test_each_sign_of_failure_is_found(kind: str, tmp_path: Path) -> None:
    assert kind in {item.kind for item in examine_run(record(tmp_path / "run", BAD[kind]))}


def test_a_good_run_shows_no_sign(tmp_path: Path) -> None:
    assert examine_run(record(tmp_path / "run", lambda row, step: row | {"eval/win_rate": 0.5 + 0.01 * step})) == []


def test_the_doctor_says_where_a_sign_began_and_exits_with_3(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = record(tmp_path / "run", lambda row, step: row | ({"entropy": 0.05} if step >= 11 else {}))
    assert main(["doctor", str(run)]) == 3
    assert "ENTROPY from step 11" in capsys.readouterr().out
    assert main(["doctor", str(record(tmp_path / "good", lambda row, step: row))]) == 0
    assert "healthy" in capsys.readouterr().out


def test_the_kill_list_is_not_for_other_stages(tmp_path: Path) -> None:
    with RunDir.open(tmp_path, stage="sft", config={}):
        pass
    with pytest.raises(ConfigError, match="stage 'sft'"):
        examine_run(tmp_path)


def test_a_run_that_was_cut_off_in_mid_line_is_still_read(tmp_path: Path) -> None:
    run = record(tmp_path / "run", lambda row, step: row)
    with (run / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"step": 25})[:-3])
    assert examine_run(run) == []
