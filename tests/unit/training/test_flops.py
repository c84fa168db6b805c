"""The formula of the cost ledger against what torch itself counts, stage by stage."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from instructloop.config import PPOConfig, PretrainConfig, RewardModelConfig, SFTConfig, from_mapping
from instructloop.core.files import read_jsonl
from instructloop.models.adapters import add_lora
from instructloop.rewards import as_reward
from instructloop.runs import RunDir
from instructloop.testing.models import ARCHITECTURES, Architecture, tiny_config, tiny_model
from instructloop.testing.stages import Rows, prepare
from instructloop.training.flops import Size, scored_by
from instructloop.training.loop import StepClock, spent

# rows of one length, so that nothing is padding; wide enough that attention's own products stay small beside the weights
ROWS = Rows(prompt_tokens=8, completion_tokens=8, count=8)
TIGHT = 0.1


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_only_matrices_count_and_tied_ones_count_once(arch: Architecture) -> None:
    model = tiny_model(arch, 260, hidden=32, layers=2)
    size = Size.of(model)
    trunk = {
        "llama": 2 * (32 * 32 * 2 + 32 * 16 * 2 + 3 * 32 * 64),
        "qwen2": 2 * (32 * 32 * 2 + 32 * 16 * 2 + 3 * 32 * 64),
        "gpt2": 2 * (12 * 32 * 32),
        "gpt_neox": 2 * (4 * 32 * 32 + 2 * 32 * 64),
    }[arch]
    assert size == Size(trunk, trunk, 260 * 32, 260 * 32)


def test_six_operations_a_parameter_and_trained_token_two_a_forward_one() -> None:
    size = Size.of(tiny_model("llama", 260))
    whole = size.trunk + size.head
    assert size.training(100, 100) == 6 * whole * 100
    assert size.forward(100, 100) == 2 * whole * 100
    assert size.forward(100, 0) == 2 * size.trunk * 100


def test_frozen_weights_under_adapters_cost_four() -> None:
    model = tiny_model("llama", 260)
    whole = Size.of(model)
    add_lora(model, from_mapping(SFTConfig, {"lora": {"rank": 4}}).lora, seed=0)
    size = Size.of(model)
    assert size.trunk_trained < whole.trunk / 2
    assert size.training(10, 0) == 10 * (4 * size.trunk + 2 * size.trunk_trained)


def _counted(kind: str, values: dict[str, object], directory: Path) -> tuple[float, float]:
    """(torch's count of the whole training, the sum of the clock's file)."""
    config: type[Any] = {"pretrain": PretrainConfig, "sft": SFTConfig, "rm": RewardModelConfig, "ppo": PPOConfig}[kind]
    # torch's counter does not know oneDNN's kernels
    stage = prepare(
        from_mapping(config, {**values, "compute": {"matmul": "torch", "packing": "off"}}),
        tiny_config("llama", 260, hidden=128, layers=2),
        ROWS,
        directory,
    )
    with FlopCounterMode(display=False) as counter:
        stage.run()
    told = sum(float(row[f"{kind}/flops"]) for row in read_jsonl(directory / kind / "timings.jsonl"))
    return float(counter.get_total_flops()), told


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("pretrain", {"steps": 6, "context_tokens": 16, "batch_tokens": 128}),
        ("sft", {"epochs": 6, "batch_size": 8}),
        ("ppo", {"steps": 1, "batch_size": 8, "minibatches": 2, "reward_shift": "none", "reward_scale": "none", "samples_every": 1}),
        (
            "ppo",
            {
                "steps": 1, "batch_size": 8, "minibatches": 2, "reward_shift": "none", "reward_scale": "none", "samples_every": 1,
                "ptx_coef": 0.5, "pretrain_data": "given as records", "ptx_tokens": 16, "inner_epochs": 2,
            },
        ),
    ],
    ids=["pretrain", "sft", "ppo", "ppo-ptx, two epochs"],
)  # fmt: skip
def test_the_formula_agrees_with_what_torch_counts(kind: str, values: dict[str, object], tmp_path: Path) -> None:
    counted, told = _counted(kind, values, tmp_path)
    assert told == pytest.approx(counted, rel=TIGHT), told / counted


def test_a_reward_model_s_formula_agrees_beside_the_pass_that_fixes_its_zero(tmp_path: Path) -> None:
    counted, told = _counted("rm", {"epochs": 6, "batch_prompts": 8}, tmp_path)
    # afterwards the best completion of every prompt is scored once more: a forward pass over half of the rows
    assert told * (1 + 1 / 36) == pytest.approx(counted, rel=TIGHT), told / counted


def test_a_rule_costs_no_pass() -> None:
    assert scored_by(as_reward({"name": "length_band", "args": {"low": 1, "high": 3}})) == []


def test_a_run_s_totals_are_those_of_all_its_steps(tmp_path: Path) -> None:
    with RunDir.open(tmp_path / "run", stage="sft", config={}) as run:
        clock = StepClock(run, "sft", 2)
        clock.tick(1, 100, {}, flops=6e6)
        clock.tick(2, 50, {}, flops=3e6)
        assert spent(run) == {"tokens": 150, "flops": 9e6}
    assert torch.is_grad_enabled()
