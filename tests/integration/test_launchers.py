"""torchrun and Ray Train run the same training function: the losses of two local processes, and the same clear end when one dies.

Slow: each start of them takes half a minute on two cores. Ray's part is skipped where the extra ``ray`` is not installed:
``pip install 'instructloop[ray]'``, then ``pytest -m slow tests/integration/test_launchers.py``.
"""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from instructloop.config import SFTConfig, from_mapping
from instructloop.recipes.launch import Launch, Work, launch
from instructloop.testing import save_tiny, tiny_model, tiny_tokenizer

WORDS = ["train", "sft", "--model", "base", "--data", "demonstrations.jsonl", "--batch-size", "8", "--compute.device", "cpu"]
SHORT = ["--epochs", "4", "--checkpoint.every-steps", "3"]
LONG = ["--epochs", "100", "--checkpoint.every-steps", "20"]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "instructloop"]
ALONE = [sys.executable, "-m", "instructloop"]
LAUNCHERS = [
    pytest.param(TORCHRUN, ["--launcher", "torchrun"], id="torchrun"),
    pytest.param(
        ALONE,
        ["--launcher", "ray", "--processes", "2", "--resources-per-process", "CPU", "0.5"],
        id="ray",
        marks=pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed (the extra ray)"),
    ),
]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    place = tmp_path_factory.mktemp("launchers")
    save_tiny(str(place / "base"), tiny_model("llama"), tiny_tokenizer())
    rows = [{"prompt": f"cat {n}?", "completion": f"{n} cats " * (n % 5 + 1)} for n in range(40)]
    (place / "demonstrations.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    before = Path.cwd()
    os.chdir(place)
    values = {"model": "base", "data": "demonstrations.jsonl", "batch_size": 8, "epochs": 4}
    config = from_mapping(SFTConfig, {**values, "checkpoint": {"every_steps": 3}, "compute": {"device": "cpu"}})
    launch(Work(kind="sft", config=config, out=Path("local"), resume=False), Launch(processes=2))
    yield place
    os.chdir(before)


def losses(out: Path) -> list[float]:
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [row["sft/loss"] for row in rows if "sft/loss" in row]


@pytest.mark.parametrize(("starter", "options"), LAUNCHERS)
def test_every_launcher_gives_the_losses_of_two_local_processes(starter: list[str], options: list[str], folder: Path) -> None:
    out = folder / f"same-{options[1]}"
    done = subprocess.run([*starter, *WORDS, *SHORT, "--out", out.name, *options], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert losses(out) == pytest.approx(losses(folder / "local"), rel=1e-6)
    assert (out / "model/config.json").exists()
    assert "lost" not in done.stderr


@pytest.mark.parametrize(("starter", "options"), LAUNCHERS)
def test_a_killed_process_ends_the_others_within_a_minute_and_the_run_can_be_resumed(
    starter: list[str], options: list[str], folder: Path
) -> None:
    out = folder / f"killed-{options[1]}"
    command = [*starter, *WORDS, *LONG, "--out", out.name, *options]
    process = subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, start_new_session=True)
    index, until = out / "checkpoints/index.jsonl", time.monotonic() + 240
    while not index.exists():
        assert time.monotonic() < until
        assert process.poll() is None
        time.sleep(0.05)
    os.kill(second_rank(out), signal.SIGKILL)
    killed = time.monotonic()
    _, said = process.communicate(timeout=60)
    assert time.monotonic() - killed < 60
    assert process.returncode not in {0, None}
    assert "rank 1" in said.replace("rank      : 1", "rank 1"), said
    assert "--resume" in said
    done = len(losses(out))
    assert done < 450
    again = subprocess.run([*command, "--resume"], cwd=folder, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert len(losses(out)) == 450


def second_rank(out: Path) -> int:
    """The process that has rank 1's log open."""
    log = (out / "rank-1.log").resolve()
    for folder in Path("/proc").glob("[0-9]*/fd"):
        try:
            if any(handle.resolve() == log for handle in folder.iterdir()):
                return int(folder.parent.name)
        except OSError:  # not ours, or gone meanwhile
            continue
    raise AssertionError("nobody holds rank 1's log")
