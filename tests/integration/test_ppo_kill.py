"""PPO-35 the hard way: the process is killed at random moments, also in the middle of a save, and the numbers are those of an unbroken run."""

import json
import multiprocessing
import os
import random
import signal
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from instructloop.config import CheckpointConfig, ComputeConfig, OptimizerConfig, PPOConfig, RewardSpec, SamplingConfig
from instructloop.core.records import Prompt
from instructloop.testing import save_tiny, tiny_model, tiny_tokenizer
from instructloop.training.ppo import run_ppo

SPAWN = multiprocessing.get_context("forkserver")
PROMPTS = [Prompt(prompt=f"say {letter}") for letter in "abcdefgh"]


def lead_a_group_and_run(cfg: PPOConfig, out: Path) -> None:
    os.setpgrp()
    run_ppo(cfg, out, resume=True, prompts=PROMPTS)


def start(cfg: PPOConfig, out: Path) -> multiprocessing.process.BaseProcess:
    process = SPAWN.Process(target=lead_a_group_and_run, args=(cfg, out))
    process.start()
    return process


def kill_group(process: multiprocessing.process.BaseProcess) -> None:
    """The whole group; a process too young to lead one is killed alone."""
    try:
        os.killpg(process.pid or 0, signal.SIGKILL)
    except ProcessLookupError:
        process.kill()


def kill(process: multiprocessing.process.BaseProcess) -> bool:
    """SIGKILL to the process group; False if it had ended by itself."""
    alive = process.is_alive()
    kill_group(process)
    process.join()
    return alive and process.exitcode == -signal.SIGKILL


def wait_for_a_save(process: multiprocessing.process.BaseProcess, out: Path, seconds: float) -> bool:
    """Return in the moment a half-written checkpoint appears."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and process.is_alive():
        if any((out / "checkpoints").glob("*.partial")):
            return True
        time.sleep(0.0002)
    return False


@pytest.mark.slow
def test_twenty_kills_change_no_number(tmp_path: Path) -> None:
    base = save_tiny(str(tmp_path / "base"), tiny_model(seed=1), tiny_tokenizer())
    (tmp_path / "texts.jsonl").write_text(json.dumps({"text": "the cat sat on the mat. " * 20}) + "\n")
    cfg = PPOConfig(
        model=base,
        reward=RewardSpec(name="length_band", args={"low": 4, "high": 6}),
        reward_shift="reference_mean",
        kl_controller="adaptive",
        steps=140,
        batch_size=32,
        minibatches=2,
        ptx_coef=0.2,
        ptx_tokens=16,
        pretrain_data=str(tmp_path / "texts.jsonl"),
        sampling=SamplingConfig(max_new_tokens=12),
        optimizer=OptimizerConfig(lr=3e-3, schedule="constant"),
        compute=ComputeConfig(device="cpu"),
        checkpoint=CheckpointConfig(every_steps=7),
        warn_kl=1e6,
    )
    SPAWN.set_forkserver_preload(["instructloop.training.ppo"])
    begun = time.monotonic()
    whole = start(cfg, tmp_path / "whole")
    whole.join()
    assert whole.exitcode == 0
    seconds = time.monotonic() - begun
    dice, kills, in_a_save = random.Random(3), 0, 0
    broken = tmp_path / "broken"
    for attempt in range(80):
        process = start(cfg, broken)
        if attempt % 3 == 0 and in_a_save < 5:
            in_a_save += wait_for_a_save(process, broken, seconds)
        else:
            time.sleep(dice.uniform(0.0, seconds / 12))
        kills += kill(process)
        if kills == 20 or process.exitcode == 0:
            break
    last = start(cfg, broken)
    last.join()
    assert last.exitcode == 0
    assert kills == 20
    assert in_a_save == 5
    assert (broken / "metrics.jsonl").read_bytes() == (tmp_path / "whole" / "metrics.jsonl").read_bytes()
    for name in ("model", "model_raw"):
        one, two = (load_file(run / name / "model.safetensors") for run in (tmp_path / "whole", broken))
        assert all(torch.equal(value, two[key]) for key, value in one.items())
