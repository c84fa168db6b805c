"""The watch over PPO end to end on tiny models: it looks, rings, rolls back, resumes bit for bit, and selects."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from instructloop.config import CheckpointConfig, ComputeConfig, OptimizerConfig, PPOConfig, RewardSpec, SamplingConfig, WatchConfig
from instructloop.core.errors import ConfigError
from instructloop.core.records import Prompt
from instructloop.models.load import load_scalar
from instructloop.models.save import save_scalar
from instructloop.recipes.launch import Launch, Work, launch
from instructloop.recipes.watched import run_ppo
from instructloop.runs.prompts_used import prompt_hash, selections
from instructloop.testing import save_tiny, tiny_codec, tiny_model, tiny_tokenizer

PROMPTS = [Prompt(prompt=f"say {letter * (1 + place % 3)}") for place, letter in enumerate("abcdefghijkl")]
LETTER = tiny_codec().encode_completion("e")[0]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(save_tiny(str(tmp_path_factory.mktemp("models") / "base"), tiny_model(seed=1), tiny_tokenizer()))


@pytest.fixture(scope="module")
def judge(base: Path) -> Path:
    """A reward model that knows nothing of the letter: a random head on the same trunk."""
    model = load_scalar(base, ComputeConfig(device="cpu"), seed=3)
    with torch.no_grad():
        model.head.weight.copy_(torch.linspace(-1, 1, model.head.weight.numel()).view_as(model.head.weight))
    path = base.parent / "judge"
    path.mkdir()
    save_scalar(model, tiny_codec(), path, card="a judge")
    return path


@pytest.fixture
def configured(base: Path, judge: Path, tmp_path: Path) -> Callable[..., PPOConfig]:
    selection = tmp_path / "selection.jsonl"
    selection.write_text("".join(json.dumps({"prompt": f"tell {letter}", "id": letter}) + "\n" for letter in "mnopqrst"))

    def make(*, steps: int = 12, **watch: Any) -> PPOConfig:
        settings: dict[str, Any] = {
            "every": 2,
            "prompts": str(selection),
            "reward_models": (str(judge),),
            "draws": 4,
            "standard_errors": 1.0,
            "confirmed": 0.9,
        }
        return PPOConfig(
            model=str(base),
            reward=RewardSpec(name="token_count", args={"token_id": LETTER}),
            steps=steps,
            batch_size=32,
            minibatches=2,
            beta=0.0,
            missing_eos="keep",
            sampling=SamplingConfig(max_new_tokens=8),
            optimizer=OptimizerConfig(lr=1e-2, schedule="constant"),
            compute=ComputeConfig(device="cpu"),
            checkpoint=CheckpointConfig(every_steps=3),
            warn_kl=1000.0,
            watch=WatchConfig(**(settings | watch)),
        )

    return make


def rows(run: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / name).read_text().splitlines()]


def alarms(run: Path) -> list[dict[str, Any]]:
    return (
        [row for row in rows(run, "events.jsonl") if row["kind"] == "alarm" and "threshold" in row]
        if (run / "events.jsonl").exists()
        else []
    )


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "model" / "model.safetensors")


def test_a_gain_that_the_held_out_judge_does_not_see_rolls_the_run_back(configured: Callable[..., PPOConfig], tmp_path: Path) -> None:
    warned = run_ppo(configured(action="warn"), tmp_path / "warned", prompts=PROMPTS)
    rolled = run_ppo(configured(action="roll_back"), tmp_path / "rolled", prompts=PROMPTS)

    first = next(row for row in alarms(rolled) if row["item"] == "unconfirmed")
    assert first["measured"] < first["threshold"] == 0.9
    assert first["next"]
    assert len(first["examples"]) == 5
    result = json.loads((rolled / "result.json").read_text())
    assert result["ended_early"].startswith(f"roll_back: iteration {first['step']}: Gain not confirmed")
    assert result["steps"] <= first["step"] < 12
    assert result["steps"] == int(rows(rolled, "watch/looks.jsonl")[-1]["best"])
    # Whoever tests this model later is told which prompts chose it; a run that only warned has chosen nothing.
    chosen = selections(rolled)[0]
    assert chosen.hashes == {prompt_hash(f"tell {letter}") for letter in "mnopqrst"}
    assert not selections(warned)
    # The twin that only warned is the same run up to the alarm, and went on to the end.
    assert rows(warned, "metrics.jsonl")[: first["step"]] == rows(rolled, "metrics.jsonl")
    assert rows(warned, f"watch/step-{first['step']:06d}.jsonl") == rows(rolled, f"watch/step-{first['step']:06d}.jsonl")
    assert len(rows(warned, "metrics.jsonl")) == 12
    assert any(row["item"] == "unconfirmed" and row["step"] == first["step"] for row in alarms(warned))


def test_looks_are_paired_with_the_reference_and_their_numbers_stand_in_the_metrics(
    configured: Callable[..., PPOConfig], tmp_path: Path
) -> None:
    run = run_ppo(configured(action="warn", steps=5), tmp_path / "run", prompts=PROMPTS)
    assert sorted(path.name for path in (run / "watch").glob("step-*")) == [f"step-{step:06d}.jsonl" for step in (0, 2, 4, 5)]
    reference, last = rows(run, "watch/step-000000.jsonl"), rows(run, "watch/step-000005.jsonl")
    assert len(reference) == len(last) == 8 * 4
    assert [row["prompt"] for row in reference] == [row["prompt"] for row in last]
    assert reference[0]["meta"] == {"id": "m"}
    assert all(abs(row["kl"]) < 1e-4 for row in reference)  # the reference against itself
    for row in last:
        assert row["proxy"] == float(row["completion"].count("e"))  # the reward counts the letter; one byte is one token
    metrics = {row["step"]: row for row in rows(run, "metrics.jsonl")}
    gain = [now["proxy"] - then["proxy"] for now, then in zip(last, reference, strict=True)]
    mean = sum(row["proxy"] for row in reference) / 32
    spread = (sum((row["proxy"] - mean) ** 2 for row in reference) / 32) ** 0.5
    assert metrics[5]["ppo/eval/watch_proxy_gain"] == pytest.approx(sum(gain) / 32 / spread)
    assert metrics[5]["ppo/eval/watch_kl"] == pytest.approx(sum(row["kl"] for row in last) / 32)
    assert "ppo/eval/watch_kl" not in metrics[3]


def test_a_stopped_run_under_watch_goes_on_as_if_it_had_never_stopped(configured: Callable[..., PPOConfig], tmp_path: Path) -> None:
    cfg = configured(action="roll_back")
    whole = run_ppo(cfg, tmp_path / "whole", prompts=PROMPTS)
    ended = len(rows(whole, "metrics.jsonl"))
    calls = 0

    def stop_late(**_: object) -> Any:
        from instructloop.core.protocols import Judgement

        nonlocal calls
        calls += 1
        if calls == ended // 2:
            raise KeyboardInterrupt
        return Judgement()

    with pytest.raises(KeyboardInterrupt):
        run_ppo(cfg, tmp_path / "stopped", prompts=PROMPTS, evaluators=[stop_late])
    resumed = run_ppo(cfg, tmp_path / "stopped", prompts=PROMPTS, resume=True)
    for name in ("metrics.jsonl", "events.jsonl", "watch/looks.jsonl"):
        assert [row for row in rows(resumed, name) if row.get("kind") != "resumed"] == rows(whole, name), name
    assert json.loads((resumed / "result.json").read_text()) == json.loads((whole / "result.json").read_text())
    for key, value in weights(whole).items():
        assert torch.equal(value, weights(resumed)[key]), key


def test_selection_publishes_the_iteration_that_the_judges_prefer(configured: Callable[..., PPOConfig], tmp_path: Path) -> None:
    run = run_ppo(configured(select=True, steps=8, acts_on=()), tmp_path / "run", prompts=PROMPTS)
    looks = rows(run, "watch/looks.jsonl")
    result = json.loads((run / "result.json").read_text())
    assert looks[-1]["step"] == 8
    assert result["steps"] == looks[-1]["best"]
    assert looks[-1]["best"] == 8 or result["ended_early"] == f"roll_back: the held-out judges prefer iteration {looks[-1]['best']}"


def test_a_stop_ends_the_run_at_the_alarm(configured: Callable[..., PPOConfig], tmp_path: Path) -> None:
    run = run_ppo(configured(action="stop", measure_kl=False), tmp_path / "run", prompts=PROMPTS)
    assert all("kl" not in row for row in rows(run, "watch/step-000002.jsonl"))
    looks, metrics = rows(run, "watch/looks.jsonl"), rows(run, "metrics.jsonl")
    assert looks[0]["numbers"]["kl"] == metrics[1]["ppo/kl"]  # the rollouts', where the replies' own is not measured
    result = json.loads((run / "result.json").read_text())
    assert result["ended_early"].startswith("stop: ")
    assert result["steps"] == len(rows(run, "metrics.jsonl")) == rows(run, "watch/looks.jsonl")[-1]["step"]


def test_the_trainer_alone_refuses_a_watch_that_nobody_keeps(configured: Callable[..., PPOConfig], tmp_path: Path) -> None:
    from instructloop.training.ppo import run_ppo as train

    with pytest.raises(ConfigError, match="nobody keeps"):
        train(configured(), tmp_path / "run", prompts=PROMPTS)


@pytest.mark.parametrize("sharding", ["ddp", "fsdp"])
def test_of_two_processes_one_looks_and_both_roll_back(sharding: str, configured: Callable[..., PPOConfig], tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("".join(json.dumps({"prompt": prompt.prompt}) + "\n" for prompt in PROMPTS))
    cfg = replace(configured(action="roll_back"), prompts=str(prompts), compute=ComputeConfig(device="cpu", sharding=sharding))
    alone = run_ppo(replace(cfg, compute=ComputeConfig(device="cpu")), tmp_path / "alone")
    launch(Work(kind="ppo", config=cfg, out=tmp_path / "two", resume=False), Launch(processes=2))
    one, two = (json.loads((run / "result.json").read_text()) for run in (alone, tmp_path / "two"))
    assert (two["steps"], two["ended_early"]) == (one["steps"], one["ended_early"])
    assert two["ended_early"].startswith("roll_back")
    for mine, theirs in zip(rows(alone, "watch/looks.jsonl"), rows(tmp_path / "two", "watch/looks.jsonl"), strict=True):
        assert mine["numbers"] == pytest.approx(theirs["numbers"], abs=1e-3)
        assert mine["ringing"] == theirs["ringing"]
    assert [row["step"] for row in alarms(alone)] == [row["step"] for row in alarms(tmp_path / "two")]
