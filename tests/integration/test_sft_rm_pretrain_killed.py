"""SIGKILL at any moment and ``resume``: the same metrics and the same weights as a run that was never stopped.

Twenty kills a trainer: fifteen at random wall times, five while a training state is being written. Training processes come from a
forkserver that has torch loaded, so that a start takes milliseconds.
"""

import multiprocessing
import os
import random
import signal
import time
from pathlib import Path

import pytest

from instructloop.config import CheckpointConfig, ComputeConfig, OptimizerConfig, PretrainConfig, RewardModelConfig, SFTConfig
from instructloop.core.files import read_json
from instructloop.core.records import Demonstration, Ranking, Text
from instructloop.formats import write_demonstrations, write_rankings, write_texts
from instructloop.testing import save_tiny, tiny_model, tiny_tokenizer

pytestmark = pytest.mark.slow
COMPUTE = ComputeConfig(device="cpu", micro_batch_tokens=256)
EVERY_7 = CheckpointConfig(every_steps=7)
OPTIMIZER = OptimizerConfig(lr=2e-3)
STEPS = 150


def start(stage: str, folder: str, out: str) -> None:
    """What a killed process was doing (runs in a child)."""
    import torch

    torch.set_num_threads(1)
    place = Path(folder)
    if stage == "pretrain":
        from instructloop.training.pretrain import run_pretrain

        cfg = PretrainConfig(
            data=str(place / "texts.jsonl"),
            validation=str(place / "texts.jsonl"),
            init=str(place / "base"),
            context_tokens=32,
            batch_tokens=128,
            steps=STEPS,
            evaluate_every=40,
            optimizer=OPTIMIZER,
            compute=COMPUTE,
            checkpoint=EVERY_7,
        )
        run_pretrain(cfg, Path(out), resume=True)
    elif stage == "sft":
        from instructloop.training.sft import run_sft

        sft = SFTConfig(
            model=str(place / "base"),
            data=str(place / "demonstrations.jsonl"),
            pretrain_data=str(place / "texts.jsonl"),
            pretrain_fraction=0.2,
            max_tokens=48,
            dropout=0.1,
            epochs=100,
            batch_size=5,
            max_steps=STEPS,
            select_by="validation_loss",
            optimizer=OPTIMIZER,
            compute=COMPUTE,
            checkpoint=EVERY_7,
        )
        run_sft(sft, Path(out), resume=True)
    else:
        from instructloop.training.reward_model import run_reward_model

        rm = RewardModelConfig(
            model=str(place / "base"),
            data=(str(place / "rankings.jsonl"),),
            epochs=100,
            batch_prompts=4,
            max_steps=STEPS,
            evaluate_every=20,
            optimizer=OPTIMIZER,
            compute=COMPUTE,
            checkpoint=EVERY_7,
        )
        run_reward_model(rm, Path(out), resume=True)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    save_tiny(str(folder / "base"), tiny_model("gpt2"), tiny_tokenizer())
    names = ["cat", "dog", "owl", "fox"]
    write_texts(folder / "texts.jsonl", [Text(text=f"The {name} has {n} legs. ") for n in range(9) for name in names])
    write_demonstrations(
        folder / "demonstrations.jsonl",
        [Demonstration(prompt=f"{name} {n}?", completion=f"{n} {name}s") for n in range(9) for name in names],
    )
    write_rankings(
        folder / "rankings.jsonl",
        [Ranking(prompt=f"{name} {n}?", completions=("yes", "no", "maybe"), ranks=(n % 3, 1, 2)) for n in range(9) for name in names],
    )
    return folder


def lead_a_group_and_start(stage: str, world: str, out: str) -> None:
    os.setpgrp()
    start(stage, world, out)


def launch(stage: str, world: Path, out: Path) -> multiprocessing.process.BaseProcess:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["instructloop.training.pretrain", "instructloop.training.sft", "instructloop.training.reward_model"])
    process = context.Process(target=lead_a_group_and_start, args=(stage, str(world), str(out)))
    process.start()
    return process


def kill(process: multiprocessing.process.BaseProcess) -> None:
    if process.is_alive() and process.pid is not None:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:  # too young to lead its group
            process.kill()
    process.join()


def wait_for_a_save(out: Path, process: multiprocessing.process.BaseProcess) -> bool:
    while process.is_alive():
        if any((out / "checkpoints").glob("*.partial")):
            return True
    return False


@pytest.mark.parametrize("stage", ["pretrain", "sft", "rm"])
def test_twenty_kills_leave_no_trace_in_metrics_and_weights(stage: str, world: Path, tmp_path: Path) -> None:
    began = time.monotonic()
    whole = launch(stage, world, tmp_path / "whole")
    whole.join()
    assert whole.exitcode == 0
    length = time.monotonic() - began

    part, moments, killed, saves = tmp_path / "part", random.Random(7), 0, 0
    while killed < 20:
        process = launch(stage, world, part)
        if killed % 4 == 3:
            saves += wait_for_a_save(part, process)
        else:
            time.sleep(moments.uniform(0.02, 0.25) * length)
        if not process.is_alive():  # it got through between two kills; begin a fresh one
            process.join()
            assert process.exitcode == 0
            compare(tmp_path / "whole", part)
            part = tmp_path / f"part-{killed}"
            continue
        kill(process)
        killed += 1
    final = launch(stage, world, part)
    final.join()
    assert final.exitcode == 0
    assert saves >= 4, "kills during a save"
    compare(tmp_path / "whole", part)


def compare(whole: Path, part: Path) -> None:
    assert (whole / "metrics.jsonl").read_bytes() == (part / "metrics.jsonl").read_bytes()
    assert (whole / "model" / "model.safetensors").read_bytes() == (part / "model" / "model.safetensors").read_bytes()
    assert read_json(whole / "result.json") == read_json(part / "result.json")
