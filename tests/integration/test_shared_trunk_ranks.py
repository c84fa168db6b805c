"""PPO on one trunk in two processes, whole (ddp) and split (fsdp): the numbers of one process."""

import json
import multiprocessing
import os
import socket
from pathlib import Path

import pytest
import torch

from instructloop.config import from_mapping
from instructloop.config.ppo import PPOConfig
from instructloop.config.reward_model import RewardModelConfig
from instructloop.core.records import Prompt, Ranking
from instructloop.models.ranks import join, leave
from instructloop.testing import save_tiny, tiny_model, tiny_tokenizer
from instructloop.training.ppo import run_ppo
from instructloop.training.reward_model import run_reward_model

CONTEXT = multiprocessing.get_context("forkserver")
FORMS = ("ddp", "fsdp")


def settings(sharding: str) -> dict[str, object]:
    return {
        "model": "base",
        "reward": {"name": "model", "args": {"path": "rm", "device": "cpu"}},
        "share_trunk": True,
        "lora": {"rank": 2, "alpha": 4.0},
        "steps": 4,
        "batch_size": 8,
        "minibatches": 2,
        "reward_scale": "reference_std",
        "reward_samples": 16,
        "sampling": {"max_new_tokens": 6},
        "optimizer": {"lr": 3e-3},
        "value_optimizer": {"lr": 3e-3},
        "compute": {"device": "cpu", "micro_batch_tokens": 64, "sharding": sharding},
        "warn_kl": 1e6,
    }


def train(forms: tuple[str, ...], rank: int, size: int, port: int) -> None:
    """What one process does."""
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    if size > 1:
        join("gloo")
    for form in forms:
        prompts = [Prompt(prompt=f"say {n}") for n in range(8)]
        run_ppo(from_mapping(PPOConfig, settings(form)), Path(f"{size}-{form}"), prompts=prompts)
    leave()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


def test_two_processes_on_one_trunk_report_the_numbers_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save_tiny("base", tiny_model(), tiny_tokenizer())
    judging = {
        "model": "base",
        "lora": {"rank": 3},
        "epochs": 2,
        "batch_prompts": 4,
        "validation_fraction": 0.0,
        "compute": {"device": "cpu"},
    }
    rankings = [Ranking(prompt=f"say {n}", completions=("eee", "xyz"), ranks=(n % 2, 1 - n % 2)) for n in range(8)]
    run_reward_model(from_mapping(RewardModelConfig, judging), Path("rm"), rankings=rankings)
    CONTEXT.set_forkserver_preload(["instructloop.recipes.preload"])
    port = free_port()
    calls = [(("ddp",), 0, 1, 0), (FORMS, 0, 2, port), (FORMS, 1, 2, port)]
    processes = [CONTEXT.Process(target=train, args=call) for call in calls]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    alone = [json.loads(line) for line in Path("1-ddp/metrics.jsonl").read_text().splitlines()]
    for form in FORMS:
        together = [json.loads(line) for line in Path(f"2-{form}/metrics.jsonl").read_text().splitlines()]
        assert len(together) == len(alone) == 4
        for mine, expected in zip(together, alone, strict=True):
            assert mine == pytest.approx(expected, rel=1e-3, abs=1e-4), form
