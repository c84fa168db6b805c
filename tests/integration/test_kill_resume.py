"""The short form of the kill tests: two SIGKILLs for every trainer, one of them in the middle of a save, and not one number changes.

(Twenty kills a trainer are marked slow: ``test_sft_rm_pretrain_killed.py``, ``test_ppo_kill.py``.)
"""

import json
import multiprocessing
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from instructloop.core.hashing import hash_file
from instructloop.recipes.kinds import KINDS
from instructloop.testing import save_tiny, tiny_model, tiny_tokenizer

STEPS = 42
CONTEXT = multiprocessing.get_context("forkserver")
SHARED: dict[str, Any] = {"checkpoint": {"every_steps": 7}, "compute": {"device": "cpu"}}
SETTINGS: dict[str, dict[str, Any]] = {
    "pretrain": {"init": "base", "data": "texts.jsonl", "context_tokens": 32, "batch_tokens": 128, "steps": STEPS},
    "sft": {
        "model": "base",
        "data": "demonstrations.jsonl",
        "pretrain_data": "texts.jsonl",
        "pretrain_fraction": 0.2,
        "dropout": 0.1,
        "max_tokens": 48,
        "epochs": 100,
        "batch_size": 4,
        "max_steps": STEPS,
    },
    "rm": {"model": "base", "data": ["rankings.jsonl"], "epochs": 100, "batch_prompts": 4, "max_steps": STEPS},
    "ppo": {
        "model": "base",
        "prompts": "prompts.jsonl",
        "reward": {"name": "length_band", "args": {"low": 3, "high": 5}},
        "kl_controller": "adaptive",
        "steps": STEPS,
        "batch_size": 8,
        "minibatches": 2,
        "ptx_coef": 0.2,
        "ptx_tokens": 16,
        "pretrain_data": "texts.jsonl",
        "sampling": {"max_new_tokens": 6},
        "warn_kl": 1e6,
    },
}


def train(kind: str, out: str) -> None:
    os.setsid()  # a group of its own, to be killed as a whole
    KINDS[kind].run(SETTINGS[kind] | SHARED, Path(out), resume=True)


def start(kind: str, out: str) -> multiprocessing.process.BaseProcess:
    CONTEXT.set_forkserver_preload(["instructloop.recipes.preload"])
    process = CONTEXT.Process(target=train, args=(kind, out))
    process.start()
    return process


def kill_when(process: multiprocessing.process.BaseProcess, out: Path, *, committed: int, saving: bool) -> None:
    """SIGKILL to the group once so many states are committed (and, where asked, the next is half written)."""
    index, deadline = out / "checkpoints/index.jsonl", time.monotonic() + 120
    while time.monotonic() < deadline:
        done = index.read_text().count("\n") if index.exists() else 0
        if done >= committed and (not saving or any((out / "checkpoints").glob("*.partial"))):
            break
        assert process.is_alive(), "it ended before it could be killed"
    assert process.pid is not None
    os.killpg(process.pid, signal.SIGKILL)
    process.join()
    assert process.exitcode == -signal.SIGKILL


@pytest.mark.parametrize("kind", list(SETTINGS))
def test_two_kills_change_no_metric_and_no_weight(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save_tiny("base", tiny_model("gpt2"), tiny_tokenizer())
    rows: dict[str, list[dict[str, Any]]] = {
        "texts": [{"text": f"The cat has {n} legs. " * 3} for n in range(20)],
        "demonstrations": [{"prompt": f"cat {n}?", "completion": f"{n} cats"} for n in range(20)],
        "rankings": [{"prompt": f"cat {n}?", "completions": ["yes", "no", "maybe"], "ranks": [n % 3, 1, 2]} for n in range(20)],
        "prompts": [{"prompt": f"cat {n}?"} for n in range(8)],
    }
    for name, listed in rows.items():
        Path(f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in listed))
    whole = start(kind, "whole")
    whole.join()
    assert whole.exitcode == 0
    kill_when(start(kind, "broken"), Path("broken"), committed=1, saving=False)
    kill_when(start(kind, "broken"), Path("broken"), committed=2, saving=True)
    for _ in range(2):  # the second time it has ended already and must end as the same
        last = start(kind, "broken")
        last.join()
        assert last.exitcode == 0
    assert Path("broken/metrics.jsonl").read_bytes() == Path("whole/metrics.jsonl").read_bytes()
    assert hash_file(Path("broken/model/model.safetensors")) == hash_file(Path("whole/model/model.safetensors"))
    resumed = [json.loads(line)["step"] for line in Path("broken/events.jsonl").read_text().splitlines() if '"resumed"' in line]
    assert len(resumed) >= 1
    assert all(step % 7 == 0 for step in resumed)
