"""The benchmark's command on a toy model: our side alone, and beside a peer where one is installed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

COMPARE = Path(__file__).parents[2] / "benchmarks" / "compare.py"


def compare(*arguments: str, out: Path) -> str:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, str(COMPARE), "--sizes", "micro", "--rounds", "1", "--out", str(out), "--name", "toy", *arguments],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    [file] = out.glob("toy_cpu-1-thread_*.md")
    return file.read_text(encoding="utf-8")


def test_our_side_alone_fills_the_table(tmp_path: Path) -> None:
    text = compare("--works", "ragged", "sft", "rm4", out=tmp_path)
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if "| micro |" in line]
    assert [row[0] for row in rows] == ["sampling, ragged", "SFT", "RM, K = 4"]
    assert all(float(row[3].split()[0].replace(",", "")) > 0 for row in rows)
    assert "`python benchmarks/compare.py --sizes micro --rounds 1 --threads 1 --works ragged sft rm4`" in text
    assert str(tmp_path) not in text


def test_the_gpu_benchmark_runs_on_a_cpu_in_small(tmp_path: Path) -> None:
    """No GPU is at hand in CI: the same code on a toy model."""
    arguments = [str(COMPARE.with_name("gpu.py")), "--shape", "micro", "--device", "cpu", "--steps", "2", "--out", str(tmp_path)]
    done = subprocess.run([sys.executable, *arguments], env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    [file] = tmp_path.glob("micro_cpu_*.md")
    lines = [line for line in file.read_text(encoding="utf-8").splitlines() if line.startswith("- ")]
    assert [line.split(":")[0] for line in lines] == ["- SFT", "- PPO-ptx"]
    assert "tokens/s" in lines[0]
    assert "episodes/s" in lines[1]


@pytest.mark.slow
def test_both_sides_find_the_same_losses(tmp_path: Path) -> None:
    peer = os.environ.get("INSTRUCTLOOP_PEER_PYTHON", "")
    if not peer:
        pytest.skip("INSTRUCTLOOP_PEER_PYTHON names no Python with TRL")
    arguments = ["--peer-python", peer]
    if ppo := os.environ.get("INSTRUCTLOOP_PEER_PPO_PATH", ""):
        arguments += ["--peer-ppo-path", ppo]
    text = compare(*arguments, out=tmp_path)
    equal = text.partition("## Equal work")[2]
    assert "| SFT | micro | loss of step 2 |" in equal
    assert "| RM, K = 9 | micro | loss of step 2 |" in equal
    assert bool(ppo) == ("| PPO, 1 epoch | micro | value loss |" in equal)
