"""PPO with policy, reference, reward model and value network on one trunk: the numbers of four models, the memory of one."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from instructloop.config import (
    CheckpointConfig,
    ComputeConfig,
    LoraConfig,
    OptimizerConfig,
    PPOConfig,
    RewardModelConfig,
    RewardSpec,
    SamplingConfig,
)
from instructloop.core.errors import ConfigError
from instructloop.core.protocols import Judgement
from instructloop.core.records import Prompt, Ranking
from instructloop.data import TokenSequence, collate
from instructloop.models.load import load_scalar
from instructloop.rewards import LearnedReward
from instructloop.runs import RunDir
from instructloop.testing import Architecture, save_tiny, tiny_model, tiny_tokenizer
from instructloop.training.ppo import run_ppo, train_ppo
from instructloop.training.ppo_setup import load_inputs
from instructloop.training.reward_model import run_reward_model

CPU = ComputeConfig(device="cpu")
PROMPTS = [Prompt(prompt=f"say {letter * (1 + place % 3)}") for place, letter in enumerate("abcdefghijkl")]
FEW_E = [Ranking(prompt=f"say {letter}", completions=("eee", "xyz", "e"), ranks=(0, 2, 1)) for letter in "abcdefghijkl"]


def rm_config(base: Path, **overrides: Any) -> RewardModelConfig:
    settings: dict[str, Any] = {
        "model": str(base),
        "lora": LoraConfig(rank=3, alpha=6.0),
        "epochs": 4,
        "batch_prompts": 4,
        "optimizer": OptimizerConfig(lr=1e-2),
        "compute": CPU,
        "validation_fraction": 0.0,
    }
    return RewardModelConfig(**(settings | overrides))


def make_chain(folder: Path, arch: Architecture = "llama") -> tuple[Path, Path]:
    """A base model and the run of a reward model trained on it with LoRA."""
    base = Path(save_tiny(str(folder / "base"), tiny_model(arch, seed=1), tiny_tokenizer()))
    return base, run_reward_model(rm_config(base), folder / "rm", rankings=FEW_E)


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_chain(tmp_path_factory.mktemp("chain"))


def ppo_config(base: Path, rm: Path, **overrides: Any) -> PPOConfig:
    settings: dict[str, Any] = {
        "model": str(base),
        "reward": RewardSpec(name="model", args={"path": str(rm), "device": "cpu"}),
        "lora": LoraConfig(rank=2, alpha=4.0),
        "steps": 5,
        "batch_size": 16,
        "minibatches": 2,
        "missing_eos": "keep",
        "sampling": SamplingConfig(max_new_tokens=8),
        "optimizer": OptimizerConfig(lr=3e-3, schedule="constant"),
        "value_optimizer": OptimizerConfig(lr=3e-3, schedule="constant"),
        "compute": CPU,
        "checkpoint": CheckpointConfig(every_steps=2),
        "warn_kl": 1000.0,
    }
    return PPOConfig(**(settings | overrides))


def rows(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("arch", ["llama", "gpt2"])
def test_five_iterations_on_one_trunk_give_the_numbers_of_four_models(arch: Architecture, tmp_path: Path) -> None:
    base, rm = make_chain(tmp_path, arch)
    cfg = ppo_config(base, rm, reward_shift="reference_mean", reward_scale="reference_std", reward_samples=32)
    apart = run_ppo(cfg, tmp_path / "apart", prompts=PROMPTS)
    together = run_ppo(replace(cfg, share_trunk=True), tmp_path / "together", prompts=PROMPTS)
    assert len(rows(apart)) == len(rows(together)) == 5
    for mine, theirs in zip(rows(together), rows(apart), strict=True):
        assert mine.keys() == theirs.keys()
        for name, value in theirs.items():
            assert mine[name] == pytest.approx(value, rel=1e-4, abs=1e-4), (mine["step"], name)
    samples = [
        [json.loads(line)["completion"] for line in (run / "samples/step-000005.jsonl").read_text().splitlines()]
        for run in (apart, together)
    ]
    assert samples[0] == samples[1]
    for name in ("model", "model_raw"):
        expected = load_file(apart / name / "model.safetensors")
        for key, value in load_file(together / name / "model.safetensors").items():
            torch.testing.assert_close(value, expected[key], rtol=0, atol=1e-4)
    assert AutoModelForCausalLM.from_pretrained(together / "model").num_parameters() == tiny_model(arch).num_parameters()


def test_one_trunk_is_in_memory_instead_of_three(chain: tuple[Path, Path], tmp_path: Path) -> None:
    """Four models without LoRA; with it three trunks, since the reference is the policy with its adapter off."""

    def numbers_held(share: bool) -> int:
        cfg = ppo_config(*chain, share_trunk=share)
        with RunDir.open(tmp_path / str(share), stage="ppo", config={}) as run:
            inputs = load_inputs(cfg, run, prompts=PROMPTS, pretrain_texts=None, reward=None)
        assert inputs.reference is None
        models = (inputs.policy, inputs.value_model, inputs.reward.inner.scalar_model)
        held = {value.untyped_storage().data_ptr(): value.numel() for model in models for value in (*model.parameters(), *model.buffers())}
        return sum(held.values())

    model = tiny_model(seed=1)
    whole, trunk = model.num_parameters(), model.base_model.num_parameters()
    together, apart = numbers_held(share=True), numbers_held(share=False)
    assert together < 1.4 * whole  # adapters weigh much in a model of width 32
    assert apart > together + 1.8 * trunk


def test_a_stopped_run_goes_on_as_if_it_had_never_stopped_and_keeps_no_trunk(chain: tuple[Path, Path], tmp_path: Path) -> None:
    cfg = ppo_config(*chain, share_trunk=True, reward_shift="reference_mean", reward_samples=16, evaluate_every=1)
    whole = run_ppo(cfg, tmp_path / "whole", prompts=PROMPTS, evaluators=[lambda **_: Judgement()])
    calls = 0

    def stop_in_the_fourth_iteration(**_: Any) -> Judgement:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise KeyboardInterrupt
        return Judgement()

    with pytest.raises(KeyboardInterrupt):
        run_ppo(cfg, tmp_path / "stopped", prompts=PROMPTS, evaluators=[stop_in_the_fourth_iteration])
    resumed = run_ppo(cfg, tmp_path / "stopped", resume=True, prompts=PROMPTS, evaluators=[lambda **_: Judgement()])
    assert rows(resumed) == rows(whole)
    for name in ("model", "model_raw"):
        for key, value in load_file(whole / name / "model.safetensors").items():
            assert torch.equal(value, load_file(resumed / name / "model.safetensors")[key]), key
    kept = torch.load(max((whole / "checkpoints").rglob("state.pt")), weights_only=True)["modules"]
    assert all(".lora_" in name for name in (*kept["policy"], *kept["ema"]["average"]) if "inv_freq" not in name)
    assert {name.split(".")[0] for name in kept["value"]} == {"own", "score", "score_bias"}


def test_training_moves_the_policys_and_the_values_adapter_but_not_the_rewards(chain: tuple[Path, Path], tmp_path: Path) -> None:
    cfg = ppo_config(*chain, share_trunk=True)
    with RunDir.open(tmp_path / "run", stage="ppo", config={}) as run:
        inputs = load_inputs(cfg, run, prompts=PROMPTS, pretrain_texts=None, reward=None)
        models = {"policy": inputs.policy, "value": inputs.value_model, "reward": inputs.reward.inner.scalar_model}
        before = {kind: {name: value.detach().clone() for name, value in model.named_parameters()} for kind, model in models.items()}
        train_ppo(cfg, run=run, **inputs.arguments())
    moved = {
        kind: {name for name, value in model.named_parameters() if not torch.equal(value, before[kind][name])}
        for kind, model in models.items()
    }
    assert moved["reward"] == set()
    assert moved["policy"] == {name for name in before["policy"] if ".lora_" in name}
    assert moved["value"] == set(before["value"])


def test_beside_a_rule_the_value_network_starts_at_zero(chain: tuple[Path, Path], tmp_path: Path) -> None:
    letter = tiny_tokenizer().encode("e", add_special_tokens=False)[0]
    rule = RewardSpec(name="token_count", args={"token_id": letter})
    cfg = ppo_config(*chain, reward=rule)
    apart = run_ppo(cfg, tmp_path / "apart", prompts=PROMPTS)
    together = run_ppo(replace(cfg, share_trunk=True), tmp_path / "together", prompts=PROMPTS)
    assert rows(together)[0]["ppo/value_mean"] == 0
    for mine, theirs in zip(rows(together), rows(apart), strict=True):
        assert mine == pytest.approx(theirs, rel=1e-4, abs=1e-4)


def test_a_named_value_model_starts_from_its_adapter_also_beside_a_rule(chain: tuple[Path, Path], tmp_path: Path) -> None:
    base, rm = chain
    rule = RewardSpec(name="length_band", args={"low": 2, "high": 5})
    cfg = ppo_config(base, rm, reward=rule, value_model=str(rm), steps=2)
    apart = run_ppo(cfg, tmp_path / "apart", prompts=PROMPTS)
    together = run_ppo(replace(cfg, share_trunk=True), tmp_path / "together", prompts=PROMPTS)
    assert rows(together)[0]["ppo/value_mean"] != 0
    for mine, theirs in zip(rows(together), rows(apart), strict=True):
        assert mine == pytest.approx(theirs, rel=1e-4, abs=1e-4)
    parents = {row["role"]: row["path"] for row in json.loads((together / "lineage.json").read_text())["parents"]}
    assert parents["value_adapter"].endswith("rm/adapter")


@pytest.mark.filterwarnings("ignore::FutureWarning:transformers")  # peft asks for a name that transformers is giving up
def test_the_adapter_of_a_reward_model_opens_with_plain_peft(chain: tuple[Path, Path]) -> None:
    base, rm = chain
    plain = AutoModelForSequenceClassification.from_pretrained(base, num_labels=1)
    opened = PeftModel.from_pretrained(plain, rm / "adapter").eval()
    ids = torch.tensor([[1, 5, 6, 7, 8, 9, 2]])
    ours = load_scalar(rm, CPU, seed=0)
    bias = json.loads((rm / "adapter/instructloop.json").read_text())["score_bias"]
    with torch.no_grad():
        theirs = opened(input_ids=ids).logits[0, 0] + bias
        expected = ours.scores(collate([TokenSequence(tuple(ids[0].tolist()), 3)], 0))[0]
    assert abs(float(expected)) > 1e-3
    torch.testing.assert_close(theirs, expected, rtol=0, atol=1e-5)


def test_what_cannot_share_a_trunk_is_refused_with_the_remedy(chain: tuple[Path, Path], tmp_path: Path) -> None:
    base, rm = chain
    with pytest.raises(ConfigError, match="needs adapters"):
        ppo_config(base, rm, share_trunk=True, lora=LoraConfig())
    with pytest.raises(ConfigError, match="cannot be another model"):
        ppo_config(base, rm, share_trunk=True, reference="elsewhere")
    with pytest.raises(ConfigError, match="compiled again"):
        ppo_config(base, rm, share_trunk=True, compute=ComputeConfig(device="cpu", compile=True))
    other = Path(save_tiny(str(tmp_path / "other"), tiny_model(seed=2), tiny_tokenizer()))
    with pytest.raises(ConfigError, match="other base weights") as refused:
        run_ppo(ppo_config(other, rm, share_trunk=True), tmp_path / "a", prompts=PROMPTS)
    assert f"train rm --model {other}" in str(refused.value.hint)
    full = run_reward_model(rm_config(base, lora=LoraConfig(), max_steps=1), tmp_path / "full", rankings=FEW_E)
    with pytest.raises(ConfigError, match="no adapter/ directory") as refused:
        run_ppo(ppo_config(base, full, share_trunk=True), tmp_path / "b", prompts=PROMPTS)
    assert "--lora.rank" in str(refused.value.hint)
    with pytest.raises(ConfigError, match="already in memory"):
        run_ppo(ppo_config(base, rm, share_trunk=True), tmp_path / "d", prompts=PROMPTS, reward=LearnedReward(load_scalar(rm, CPU, seed=0)))
    spec = RewardSpec(name="model", args={"path": str(rm), "colour": "red"})
    with pytest.raises(ConfigError, match="colour"):
        run_ppo(ppo_config(base, rm, share_trunk=True, reward=spec), tmp_path / "c", prompts=PROMPTS)
