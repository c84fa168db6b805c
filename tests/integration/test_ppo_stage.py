"""The PPO stage end to end on tiny models: it learns, resumes bit for bit, leaves the reference alone, and refuses bad input."""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from instructloop.config import CheckpointConfig, ComputeConfig, LoraConfig, OptimizerConfig, PPOConfig, RewardSpec, SamplingConfig
from instructloop.core.errors import ConfigError, DataError, RewardError, TrainingDiverged
from instructloop.core.protocols import Judgement, Verdict
from instructloop.core.records import Prompt, Text
from instructloop.models.load import load_scalar
from instructloop.models.save import save_scalar
from instructloop.testing import ARCHITECTURES, Architecture, save_tiny, tiny_codec, tiny_model, tiny_tokenizer
from instructloop.training.ppo import run_ppo

PROMPTS = [Prompt(prompt=f"say {letter * (1 + place % 3)}") for place, letter in enumerate("abcdefghijkl")]
TEXTS = [Text(text="the cat sat on the mat and looked at the moon for a long time. " * 3)]
LETTER = tiny_codec().encode_completion("e")[0]


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return Path(save_tiny(str(tmp_path / "base"), tiny_model(seed=1), tiny_tokenizer()))


def config(base: Path, **overrides: Any) -> PPOConfig:
    settings: dict[str, Any] = {
        "model": str(base),
        "reward": RewardSpec(name="token_count", args={"token_id": LETTER}),
        "steps": 4,
        "batch_size": 16,
        "minibatches": 2,
        "missing_eos": "keep",
        "sampling": SamplingConfig(max_new_tokens=8),
        "optimizer": OptimizerConfig(lr=3e-3, schedule="constant"),
        "value_optimizer": OptimizerConfig(lr=3e-3, schedule="constant"),
        "compute": ComputeConfig(device="cpu"),
        "checkpoint": CheckpointConfig(every_steps=2),
        "warn_kl": 1000.0,
    }
    return PPOConfig(**(settings | overrides))


def rows(run: Path, name: str = "metrics.jsonl") -> list[dict[str, Any]]:
    file = run / name
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def weights(run: Path, name: str = "model") -> dict[str, torch.Tensor]:
    return load_file(run / name / "model.safetensors")


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_every_architecture_learns_to_repeat_a_token(arch: Architecture, tmp_path: Path) -> None:
    base = Path(save_tiny(str(tmp_path / "base"), tiny_model(arch, seed=1), tiny_tokenizer()))
    cfg = config(base, steps=25, batch_size=64, minibatches=4, beta=0.0, optimizer=OptimizerConfig(lr=1e-2, schedule="constant"))
    run = run_ppo(cfg, tmp_path / "run", prompts=PROMPTS)
    counts = [row["ppo/reward"] for row in rows(run)]
    assert counts[0] < 0.5  # chance: 8 tokens out of 260
    assert sum(counts[-3:]) / 3 > 4.0
    assert rows(run)[0]["ppo/first_ratio_deviation"] < 1e-4
    assert abs(rows(run)[0]["ppo/kl"]) < 1e-4  # PPO-12: nothing has moved yet


def test_a_published_policy_opens_with_the_plain_library(base: Path, tmp_path: Path) -> None:
    run = run_ppo(config(base), tmp_path / "run", prompts=PROMPTS)
    for name in ("model", "model_raw"):
        model = AutoModelForCausalLM.from_pretrained(run / name)
        tokenizer = AutoTokenizer.from_pretrained(run / name)
        assert model(**tokenizer("say a", return_tensors="pt")).logits.isfinite().all()
        assert (run / name / "README.md").read_text().startswith("# A policy trained with PPO")
    assert not torch.equal(weights(run)["lm_head.weight"], weights(run, "model_raw")["lm_head.weight"])
    result = json.loads((run / "result.json").read_text())
    assert (result["steps"], result["episodes"], result["algorithm"]) == (4, 64, "ppo")


@pytest.mark.parametrize("kind", ["full", "lora", "ptx"])
def test_a_stopped_run_goes_on_as_if_it_had_never_stopped(kind: str, base: Path, tmp_path: Path) -> None:
    """PPO-35: metrics and weights are equal bit for bit; the stop falls between two checkpoints."""
    extra: dict[str, Any] = {"kl_controller": "adaptive", "reward_shift": "reference_mean", "reward_samples": 16, "steps": 5}
    if kind == "lora":
        extra["lora"] = LoraConfig(rank=2, alpha=4.0)
    if kind == "ptx":
        extra |= {"ptx_coef": 0.5, "ptx_tokens": 12, "pretrain_data": str(tmp_path / "texts.jsonl")}
        (tmp_path / "texts.jsonl").write_text(json.dumps({"text": TEXTS[0].text}) + "\n")
    cfg = config(base, **extra)
    whole = run_ppo(cfg, tmp_path / "whole", prompts=PROMPTS)

    calls = 0

    def stop_in_the_fourth_iteration(**_: Any) -> Judgement:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise KeyboardInterrupt
        return Judgement()

    watched = replace(cfg, evaluate_every=1)
    plain = run_ppo(watched, tmp_path / "plain", prompts=PROMPTS, evaluators=[lambda **_: Judgement()])
    with pytest.raises(KeyboardInterrupt):
        run_ppo(watched, tmp_path / "stopped", prompts=PROMPTS, evaluators=[stop_in_the_fourth_iteration])
    assert [row["step"] for row in rows(tmp_path / "stopped")] == [1, 2, 3]
    resumed = run_ppo(watched, tmp_path / "stopped", resume=True, prompts=PROMPTS, evaluators=[lambda **_: Judgement()])
    assert rows(resumed) == rows(plain) == rows(whole)  # looking at the averaged weights changes nothing either
    for name in ("model", "model_raw"):
        for key, value in weights(whole, name).items():
            assert torch.equal(value, weights(resumed, name)[key]), key


def test_two_runs_with_one_seed_are_equal_and_another_seed_differs(base: Path, tmp_path: Path) -> None:
    first, second = (run_ppo(config(base), tmp_path / name, prompts=PROMPTS) for name in ("a", "b"))
    other = run_ppo(config(base, seed=1), tmp_path / "c", prompts=PROMPTS)
    assert rows(first) == rows(second) != rows(other)


def test_without_pretraining_weight_the_mix_changes_nothing(base: Path, tmp_path: Path) -> None:
    """X2, for the whole stage."""
    plain = run_ppo(config(base), tmp_path / "plain", prompts=PROMPTS)
    mixed = run_ppo(config(base, ptx_coef=0.0), tmp_path / "mixed", prompts=PROMPTS, pretrain_texts=TEXTS)
    assert rows(plain) == rows(mixed)


def test_the_pretraining_mix_holds_the_pretraining_loss(base: Path, tmp_path: Path) -> None:
    """X5 in small: PPO alone raises the loss on text, the mix lowers it, and both learn the reward."""
    common: dict[str, Any] = {"steps": 12, "batch_size": 32, "beta": 0.0, "optimizer": OptimizerConfig(lr=1e-2, schedule="constant")}
    data = {"pretrain_data": str(tmp_path / "texts.jsonl"), "ptx_tokens": 24}
    (tmp_path / "texts.jsonl").write_text(json.dumps({"text": TEXTS[0].text}) + "\n")
    tiny = run_ppo(config(base, ptx_coef=1e-6, **data, **common), tmp_path / "tiny", prompts=PROMPTS)
    mixed = run_ppo(config(base, ptx_coef=1.0, **data, **common), tmp_path / "mixed", prompts=PROMPTS)
    start, alone, held = rows(tiny)[0]["ppo/ptx_loss"], rows(tiny)[-1]["ppo/ptx_loss"], rows(mixed)[-1]["ppo/ptx_loss"]
    assert alone > start > held
    assert rows(mixed)[-1]["ppo/grad_norm_ratio"] > 0
    assert rows(mixed)[-1]["ppo/reward"] > rows(mixed)[0]["ppo/reward"]


def test_reference_and_reward_model_are_left_alone(base: Path, tmp_path: Path) -> None:
    """PPO-34: bit-equal before and after; the value network is a copy of the reward model (spec E10), not the model itself."""
    compute = ComputeConfig(device="cpu")
    save_scalar(load_scalar(base, compute, seed=4), tiny_codec(), tmp_path / "rm", card="rm")
    before = {folder: load_file(folder / "model.safetensors") for folder in (base, tmp_path / "rm")}
    reward = RewardSpec(name="model", args={"path": str(tmp_path / "rm"), "device": "cpu"})
    cfg = config(base, reward=reward, reward_shift="reference_mean", reward_scale="reference_std", reward_samples=32)
    run = run_ppo(cfg, tmp_path / "run", prompts=PROMPTS)
    for folder, tensors in before.items():
        after = load_file(folder / "model.safetensors")
        assert all(torch.equal(after[name], value) for name, value in tensors.items())
    parents = {row["role"] for row in json.loads((run / "lineage.json").read_text())["parents"]}
    assert parents == {"policy_init", "reward"}
    first = rows(run)[0]
    assert abs(first["ppo/score"]) < 1.5  # in units of the reference's spread
    assert first["ppo/kl"] == pytest.approx(0.0, abs=1e-4)
    assert rows(run)[-1]["ppo/kl_k3"] > 0


def test_adapters_train_and_the_tether_is_the_policy_without_them(base: Path, tmp_path: Path) -> None:
    cfg = config(base, lora=LoraConfig(rank=4, alpha=8.0), steps=6, optimizer=OptimizerConfig(lr=2e-2, schedule="constant"))
    run = run_ppo(cfg, tmp_path / "run", prompts=PROMPTS)
    assert rows(run)[0]["ppo/kl"] == pytest.approx(0.0, abs=1e-4)
    assert rows(run)[-1]["ppo/kl_k3"] > 1e-4
    start = load_file(base / "model.safetensors")
    moved = weights(run, "model_raw")
    assert moved.keys() == start.keys()
    assert torch.equal(moved["model.embed_tokens.weight"], start["model.embed_tokens.weight"])
    assert not torch.equal(moved["model.layers.0.self_attn.q_proj.weight"], start["model.layers.0.self_attn.q_proj.weight"])


def test_a_far_too_high_beta_holds_the_policy(base: Path, tmp_path: Path) -> None:
    common: dict[str, Any] = {"steps": 10, "batch_size": 32, "optimizer": OptimizerConfig(lr=1e-2, schedule="constant")}
    loose = run_ppo(config(base, beta=0.0, **common), tmp_path / "loose", prompts=PROMPTS)
    tight = run_ppo(config(base, beta=100.0, **common), tmp_path / "tight", prompts=PROMPTS)
    assert rows(tight)[-1]["ppo/kl_k3"] < 0.1 * rows(loose)[-1]["ppo/kl_k3"]


@pytest.mark.parametrize(("mode", "expected"), [("replace", -2.0), ("subtract", 3.0), ("keep", 5.0)])
def test_a_cut_off_completion_falls_under_the_eos_rule(mode: str, expected: float, base: Path, tmp_path: Path) -> None:
    """T5, PPO-15: with one token nearly no completion of a random model ends by itself."""
    cfg = config(base, steps=1, missing_eos=mode, missing_eos_score=-2.0, sampling=SamplingConfig(max_new_tokens=1))
    run = run_ppo(cfg, tmp_path / "run", prompts=PROMPTS, reward=lambda prompts, completions: [5.0 for _ in completions])
    samples = rows(run, "samples/step-000001.jsonl")
    assert {row["score"] for row in samples if not row["ended"]} == {expected}
    assert {row["reward"] for row in samples} == {5.0}


def test_token_scores_reach_the_policy(base: Path, tmp_path: Path) -> None:
    """A reward on single tokens alone (scores all 0) is learned too."""
    from instructloop.rewards import RewardOutput

    def letters(rollouts: Any) -> RewardOutput:
        hits = ((rollouts.batch.completion_tokens == LETTER) & rollouts.mask).float()
        return RewardOutput(scores=torch.zeros(len(rollouts)), parts={"hits": hits.sum(dim=1)}, token_scores=hits)

    cfg = config(base, steps=15, batch_size=64, beta=0.0, optimizer=OptimizerConfig(lr=1e-2, schedule="constant"))
    run = run_ppo(cfg, tmp_path / "run", prompts=PROMPTS, reward=letters)
    assert rows(run)[-1]["ppo/part/hits"] > 4 * max(rows(run)[0]["ppo/part/hits"], 0.1)


def test_the_kl_bound_stops_before_the_step(base: Path, tmp_path: Path) -> None:
    cfg = config(base, beta=0.0, stop_kl=0.5, steps=30, optimizer=OptimizerConfig(lr=2e-2, schedule="constant"))
    with pytest.raises(TrainingDiverged, match=r"iteration \d+: mean sequence KL .* above stop_kl 0.5; the step was not taken"):
        run_ppo(cfg, tmp_path / "run", prompts=PROMPTS)
    event = rows(tmp_path / "run", "events.jsonl")[-1]
    assert event["kind"] == "diverged"
    assert event["kl"] > 0.5
    assert json.loads((tmp_path / "run" / "status.json").read_text())["status"] == "failed"
    assert all(row["ppo/kl"] <= 0.5 for row in rows(tmp_path / "run"))


def test_alarms_are_events_of_the_run(base: Path, tmp_path: Path) -> None:
    cfg = config(base, beta=0.0, warn_kl=0.2, steps=12, optimizer=OptimizerConfig(lr=1e-2, schedule="constant"))
    run = run_ppo(cfg, tmp_path / "run", prompts=PROMPTS)
    alarms = [row["item"] for row in rows(run, "events.jsonl") if row["kind"] == "alarm"]
    assert "KL" in alarms
    assert len([item for item in alarms if item == "KL"]) <= 3  # told when it begins, not in every iteration


def test_a_batch_of_equal_rewards_rings(base: Path, tmp_path: Path) -> None:
    """KILL-8."""
    run = run_ppo(config(base, steps=1), tmp_path / "run", prompts=PROMPTS, reward=lambda prompts, completions: [1.0] * len(prompts))
    assert "KILL-8" in [row.get("item") for row in rows(run, "events.jsonl")]


def test_an_evaluator_may_end_the_run_and_is_shown_the_average(base: Path, tmp_path: Path) -> None:
    seen: list[int] = []

    def enough(*, step: int, model: object, metrics: Any) -> Judgement:
        seen.append(step)
        return Judgement(verdict=Verdict.STOP if step == 2 else Verdict.CONTINUE, reason="enough", metrics={"wins": 0.5 + step / 10})

    run = run_ppo(config(base, steps=6, evaluate_every=1), tmp_path / "run", prompts=PROMPTS, evaluators=[enough])
    assert seen == [1, 2]
    assert [row["ppo/eval/wins"] for row in rows(run)] == [0.6, 0.7]
    result = json.loads((run / "result.json").read_text())
    assert (result["steps"], result["ended_early"]) == (2, "stop: enough")


def test_an_evaluator_may_roll_back_to_the_best_iteration(base: Path, tmp_path: Path) -> None:
    def judge(*, step: int, model: object, metrics: Any) -> Judgement:
        if step == 5:
            return Judgement(verdict=Verdict.ROLL_BACK, reason="worse since 3", best_step=3)
        return Judgement(best_step=min(step, 3))

    rolled = run_ppo(config(base, steps=8, evaluate_every=1), tmp_path / "rolled", prompts=PROMPTS, evaluators=[judge])
    short = run_ppo(config(base, steps=3, ema_decay=0.5, ema_half_life=0.0), tmp_path / "short", prompts=PROMPTS)
    assert json.loads((rolled / "result.json").read_text())["steps"] == 3
    for key, value in weights(short, "model_raw").items():
        assert torch.equal(value, weights(rolled, "model_raw")[key])


@pytest.mark.parametrize(
    ("reward", "message"),
    [
        (lambda prompts, completions: [math.nan] * len(prompts), "row 0: scores is nan"),
        (lambda prompts, completions: [1.0], "returned 1 scores for 16"),
        (lambda prompts, completions: 1 / 0, "raised ZeroDivisionError"),
    ],
)
def test_a_broken_reward_stops_the_run_with_its_row(reward: Any, message: str, base: Path, tmp_path: Path) -> None:
    with pytest.raises(RewardError, match=message):
        run_ppo(config(base), tmp_path / "run", prompts=PROMPTS, reward=reward)


def test_over_long_prompts_are_left_out_and_counted(base: Path, tmp_path: Path) -> None:
    long = Prompt(prompt="x" * 300)  # the model reads 256 tokens
    run = run_ppo(config(base, steps=1), tmp_path / "run", prompts=[*PROMPTS, long, long])
    skipped = [row for row in rows(run, "events.jsonl") if row["kind"] == "skipped"]
    assert [row["count"] for row in skipped] == [2]
    with pytest.raises(DataError, match="none of the 1 prompts fits"):
        run_ppo(config(base, steps=1), tmp_path / "none", prompts=[long])


def test_missing_inputs_are_named(base: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="ppo.model is empty"):
        run_ppo(config(base, model=""), tmp_path / "one", prompts=PROMPTS)
    with pytest.raises(ConfigError, match="ppo.prompts is empty"):
        run_ppo(config(base), tmp_path / "two")


def test_prompts_are_read_from_a_file(base: Path, tmp_path: Path) -> None:
    file = tmp_path / "prompts.jsonl"
    file.write_text("".join(json.dumps({"prompt": prompt.prompt, "use_case": "chat"}) + "\n" for prompt in PROMPTS))
    by_file = run_ppo(config(base, prompts=str(file)), tmp_path / "file")
    by_records = run_ppo(config(base), tmp_path / "records", prompts=PROMPTS)
    assert rows(by_file) == rows(by_records)


def test_a_pad_that_equals_eos_trains_like_any_other(base: Path, tmp_path: Path) -> None:
    """T1: masks come from lengths, so the same run with PAD = EOS gives the same numbers."""
    shutil.copytree(base, tmp_path / "same")
    tiny_tokenizer(pad_is_eos=True).save_pretrained(tmp_path / "same")
    cfg = config(tmp_path / "same", steps=2)
    run = run_ppo(cfg, tmp_path / "run", prompts=PROMPTS)
    assert len(rows(run)) == 2
    assert rows(run)[0]["ppo/first_ratio_deviation"] < 1e-4


def test_returns_are_taken_before_advantages_are_whitened(base: Path, tmp_path: Path) -> None:
    """PPO-26: the value network's targets are the same whether advantages are whitened or not."""
    white, raw = (run_ppo(config(base, steps=1, whiten_advantages=flag), tmp_path / str(flag), prompts=PROMPTS) for flag in (True, False))
    for name in ("return_mean", "value_loss", "explained_variance"):
        assert rows(white)[0][f"ppo/{name}"] == rows(raw)[0][f"ppo/{name}"]
    assert rows(white)[0]["ppo/grad_norm_ppo"] != rows(raw)[0]["ppo/grad_norm_ppo"]


def test_the_temperature_enters_rollout_reference_and_update_alike(base: Path, tmp_path: Path) -> None:
    """PPO-12: at T = 0.7 every first ratio is 1 and the KL of an unchanged policy is 0."""
    cfg = config(base, steps=1, sampling=SamplingConfig(max_new_tokens=8, temperature=0.7))
    row = rows(run_ppo(cfg, tmp_path / "run", prompts=PROMPTS))[0]
    assert row["ppo/first_ratio_deviation"] < 1e-4
    assert row["ppo/kl"] == pytest.approx(0.0, abs=1e-4)


def test_the_tether_may_hold_to_another_model(base: Path, tmp_path: Path) -> None:
    other = save_tiny(str(tmp_path / "other"), tiny_model(seed=9), tiny_tokenizer())
    row = rows(run_ppo(config(base, steps=1, reference=other), tmp_path / "run", prompts=PROMPTS))[0]
    assert row["ppo/kl_k3"] > 0.01
    assert row["ppo/first_ratio_deviation"] < 1e-4


def test_whitened_rewards_and_a_loose_value_clip_run_too(base: Path, tmp_path: Path) -> None:
    cfg = config(base, steps=2, whiten_rewards=True, value_clip=0.0, inner_epochs=2, value_warmup_steps=1, freeze_policy_embeddings=True)
    run = run_ppo(cfg, tmp_path / "run", prompts=PROMPTS)
    assert "ppo/policy_loss" not in rows(run)[0]
    assert rows(run)[1]["ppo/value_clip_fraction"] == 0.0
    embedding = "model.embed_tokens.weight"
    assert torch.equal(weights(run, "model_raw")[embedding], load_file(base / "model.safetensors")[embedding])


def test_networks_may_be_passed_in_code(base: Path, tmp_path: Path) -> None:
    """``train_ppo`` on objects: a learned reward without a path, and no reference (a frozen copy is taken)."""
    from instructloop.config import to_json
    from instructloop.models.load import load_causal
    from instructloop.rewards import LearnedReward, as_reward
    from instructloop.runs import RunDir
    from instructloop.training.ppo import train_ppo
    from instructloop.training.ppo_setup import initial_value_model, reward_for_policy

    cfg, compute = config(base, steps=2, optimizer=OptimizerConfig(lr=1e-2, schedule="constant")), ComputeConfig(device="cpu")
    judge = load_scalar(base, compute, seed=4)
    reward = reward_for_policy(as_reward(LearnedReward(judge)), tiny_codec())
    value_model = initial_value_model(cfg, reward)
    before = [value.clone() for value in judge.parameters()]
    policy = load_causal(base, compute)
    with RunDir.open(tmp_path / "run", stage="ppo", config=to_json(cfg)) as run:
        learner = train_ppo(
            cfg, run=run, policy=policy, value_model=value_model, reference=None, codec=tiny_codec(), reward=reward, prompts=PROMPTS
        )
    assert learner.policy is policy
    assert rows(tmp_path / "run")[1]["ppo/kl_k3"] > 0
    assert all(torch.equal(one, two) for one, two in zip(before, judge.parameters(), strict=True))
    assert any(not torch.equal(one, two) for one, two in zip(before, value_model.parameters(), strict=True))


def test_below_fp32_the_rollout_is_scored_again(base: Path, tmp_path: Path) -> None:
    """bfloat16 products differ between a cached and a whole pass; rescoring keeps the first ratio near 1."""
    run = run_ppo(config(base, steps=2, compute=ComputeConfig(device="cpu", dtype="bfloat16")), tmp_path / "run", prompts=PROMPTS)
    assert all(row["ppo/first_ratio_deviation"] < 5e-2 for row in rows(run))
    assert "KILL-5" not in [row.get("item") for row in rows(run, "events.jsonl")]
