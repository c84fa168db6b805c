"""Supervised fine-tuning end to end on tiny models: both kinds, selection, resume, adapters, every architecture."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from instructloop.config import CheckpointConfig, ComputeConfig, LoraConfig, OptimizerConfig, SamplingConfig, SFTConfig
from instructloop.core.errors import ConfigError, TrainingDiverged
from instructloop.core.files import read_json
from instructloop.core.protocols import Judgement, Verdict
from instructloop.core.records import Demonstration, Prompt, Text
from instructloop.formats import write_demonstrations, write_texts
from instructloop.generation import TorchEngine
from instructloop.models import ScalarModel, load_causal, load_scalar, save_scalar
from instructloop.runs.prompts_used import selections
from instructloop.runs.rundir import RunDir
from instructloop.testing import ARCHITECTURES, Architecture, save_tiny, tiny_codec, tiny_model, tiny_tokenizer
from instructloop.training.sft import run_sft

ANSWERS = ["red", "a blue hat", "no", "seven", "in the sea", "yes", "two cats", "snow"]
ROWS = [Demonstration(prompt=f"{name}?", completion=answer) for name, answer in zip("abcdefgh", ANSWERS, strict=True)]


@pytest.fixture
def base(tmp_path: Path) -> Callable[[Architecture], str]:
    def make(arch: Architecture = "llama") -> str:
        return save_tiny(str(tmp_path / arch), tiny_model(arch), tiny_tokenizer())

    return make


def config(model: str, folder: Path, **changes: object) -> SFTConfig:
    data = folder / "demonstrations.jsonl"
    if not data.exists():
        write_demonstrations(data, ROWS)
    cfg = SFTConfig(
        model=model,
        data=str(data),
        validation_fraction=0.0,
        epochs=3,
        batch_size=4,
        optimizer=OptimizerConfig(lr=3e-3),
        compute=ComputeConfig(device="cpu", micro_batch_tokens=64),
        checkpoint=CheckpointConfig(every_steps=2),
    )
    return replace(cfg, **changes)  # type: ignore[arg-type]


def metrics_of(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def same_weights(a: Path, b: Path) -> bool:
    return (a / "model" / "model.safetensors").read_bytes() == (b / "model" / "model.safetensors").read_bytes()


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_every_architecture_learns_eight_demonstrations_by_heart(
    arch: Architecture, base: Callable[[Architecture], str], tmp_path: Path
) -> None:
    cfg = config(base(arch), tmp_path, epochs=150, batch_size=8, optimizer=OptimizerConfig(lr=1e-2, warmup_steps=10))
    cfg = replace(cfg, checkpoint=CheckpointConfig(every_steps=1000))
    run = run_sft(cfg, tmp_path / "run")
    assert metrics_of(run)[-1]["sft/loss"] < 0.1
    model = AutoModelForCausalLM.from_pretrained(run / "model")
    assert not any(parameter.isnan().any() for parameter in model.parameters())
    rollouts = TorchEngine(load_causal(run, ComputeConfig(device="cpu")), tiny_codec()).generate(
        [Prompt(prompt=row.prompt) for row in ROWS], sampling=SamplingConfig(temperature=0, max_new_tokens=16), seed=0
    )
    assert rollouts.ended.all(), "EOS is part of what is learned"
    assert list(rollouts.completions) == ANSWERS


def test_a_run_killed_twice_and_resumed_gives_the_same_bits_with_dropout(base: Callable[[Architecture], str], tmp_path: Path) -> None:
    cfg = config(base("gpt2"), tmp_path, dropout=0.2, validation_fraction=0.25, select_by="validation_loss")
    whole = run_sft(cfg, tmp_path / "whole")
    part = tmp_path / "part"
    for step in (3, 5):
        die_at(step, lambda: run_sft(cfg, part, resume=True))
    run_sft(cfg, part, resume=True)
    assert (whole / "metrics.jsonl").read_bytes() == (part / "metrics.jsonl").read_bytes()
    assert read_json(whole / "result.json") == read_json(part / "result.json")
    assert same_weights(whole, part)
    assert not same_weights(whole, run_sft(replace(cfg, dropout=0.0), tmp_path / "without dropout"))


def die_at(step: int, start: Callable[[], object]) -> None:
    """Let a run die in the middle of a step, right after it logged that step's numbers."""

    class Killed(Exception):  # noqa: N818 - not an error of ours
        pass

    plain = RunDir.metrics

    def dying(self: RunDir, at: int, stage: str, values: dict[str, float]) -> None:
        plain(self, at, stage, values)
        if at == step:
            raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunDir, "metrics", dying)
        with pytest.raises(Killed):
            start()


def test_the_rl_init_model_mixes_pretraining_text_and_forgets_less(base: Callable[[Architecture], str], tmp_path: Path) -> None:
    texts = [Text(text=f"{k} little ducks went out to play. ") for k in range(300)]
    write_texts(tmp_path / "texts.jsonl", texts)
    plain = config(base("llama"), tmp_path, epochs=20, max_tokens=64)
    mixed = replace(plain, pretrain_fraction=0.25, pretrain_data=str(tmp_path / "texts.jsonl"))
    run = run_sft(mixed, tmp_path / "mixed")
    rows = metrics_of(run)
    assert rows[-1]["sft/pretrain_loss"] < rows[1]["sft/pretrain_loss"] - 1
    assert rows[-1]["sft/pretrain_val_loss"] < rows[0]["sft/pretrain_val_loss"] - 1
    assert rows[-1]["sft/loss"] < rows[1]["sft/loss"] - 1
    result = read_json(run / "result.json")
    assert result["pretrain_share"] == 0.25
    assert result["steps"] == 54  # 20 epochs of 8 rows, 3 a step beside 1 block
    with pytest.raises(ConfigError, match="pretrain_data is empty"):
        run_sft(replace(plain, pretrain_fraction=0.1), tmp_path / "without")


def test_validation_loss_selects_the_epoch_before_over_fitting(base: Callable[[Architecture], str], tmp_path: Path) -> None:
    cfg = config(
        base("llama"), tmp_path, epochs=30, validation_fraction=0.25, select_by="validation_loss", optimizer=OptimizerConfig(lr=1e-2)
    )
    run = run_sft(cfg, tmp_path / "run")
    rows = [row for row in metrics_of(run)[1:] if "sft/val_loss" in row]
    best = min(rows, key=lambda row: row["sft/val_loss"])
    result = read_json(run / "result.json")
    assert rows[-1]["sft/val_loss"] > best["sft/val_loss"] + 0.1, "there is over-fitting to avoid"
    assert result["selected_step"] == best["step"] < rows[-1]["step"]
    assert result["val_loss"] == best["sft/val_loss"]
    again = run_sft(replace(cfg, max_steps=1, optimizer=OptimizerConfig(lr=1e-12), model=str(run)), tmp_path / "again")
    assert metrics_of(again)[0]["sft/val_loss"] == pytest.approx(best["sft/val_loss"], abs=1e-5), "the published weights are that epoch's"


def some_reward_model(folder: Path) -> str:
    """A reward model with random opinions; selection must follow them all the same."""
    save_tiny(str(folder / "trunk"), tiny_model("gpt2"), tiny_tokenizer())
    model: ScalarModel = load_scalar(folder / "trunk", ComputeConfig(device="cpu"), seed=0)
    save_scalar(model, tiny_codec(), folder / "rm", card="x")
    return str(folder / "rm")


def test_the_reward_model_selects_the_epoch_and_its_samples_are_kept(base: Callable[[Architecture], str], tmp_path: Path) -> None:
    cfg = config(
        base("llama"),
        tmp_path,
        epochs=6,
        validation_fraction=0.25,
        select_by="rm_score",
        reward_model=some_reward_model(tmp_path),
        sampling=SamplingConfig(max_new_tokens=8),
    )
    run = run_sft(cfg, tmp_path / "run")
    rows = [row for row in metrics_of(run) if "sft/rm_score" in row]
    best = max(rows, key=lambda row: row["sft/rm_score"])
    result = read_json(run / "result.json")
    assert len(rows) == 6
    assert (result["selected_step"], result["rm_score"]) == (best["step"], best["sft/rm_score"])
    assert (run / "samples" / f"step-{best['step']:06d}.jsonl").exists()
    (noted,) = selections(run)
    assert (noted.what, len(noted.hashes)) == ("epoch by rm_score", result["validation"])
    part = tmp_path / "part"
    die_at(7, lambda: run_sft(cfg, part))
    run_sft(cfg, part, resume=True)
    assert (run / "metrics.jsonl").read_bytes() == (part / "metrics.jsonl").read_bytes()
    assert same_weights(run, part)


def test_adapters_leave_the_base_alone_and_are_merged_into_plain_weights(base: Callable[[Architecture], str], tmp_path: Path) -> None:
    model = base("llama")
    cfg = config(model, tmp_path, epochs=20, lora=LoraConfig(rank=4), optimizer=OptimizerConfig(lr=1e-2))
    run = run_sft(cfg, tmp_path / "run")
    result = read_json(run / "result.json")
    assert result["trained_parameters"] < result["parameters"] / 4
    assert metrics_of(run)[-1]["sft/loss"] < metrics_of(run)[1]["sft/loss"] - 0.3
    before, after = (AutoModelForCausalLM.from_pretrained(path).state_dict() for path in (model, run / "model"))
    assert before.keys() == after.keys()
    assert torch.equal(before["lm_head.weight"], after["lm_head.weight"])
    part = tmp_path / "part"
    die_at(17, lambda: run_sft(cfg, part))
    run_sft(cfg, part, resume=True)
    assert same_weights(run, part)


def test_missing_dropout_is_said(base: Callable[[Architecture], str], tmp_path: Path) -> None:
    run = run_sft(config(base("llama"), tmp_path, dropout=0.2, max_steps=1), tmp_path / "run")
    assert "no residual dropout" in (run / "events.jsonl").read_text()


def test_rows_that_do_not_fit_are_counted_and_never_cut(base: Callable[[Architecture], str], tmp_path: Path) -> None:
    run = run_sft(config(base("llama"), tmp_path, max_tokens=9, max_steps=1), tmp_path / "run")
    result = read_json(run / "result.json")
    fitting = [row for row in ROWS if 3 + len(row.completion) + 1 <= 9]
    assert result["demonstrations"] == len(fitting)
    assert result["skipped"] == {"over_long": len(ROWS) - len(fitting)}
    assert "left out" in (run / "events.jsonl").read_text()


def test_an_evaluator_can_end_the_run(base: Callable[[Architecture], str], tmp_path: Path) -> None:
    def stop_at_once(*, step: int, model: object, metrics: object) -> Judgement:
        return Judgement(verdict=Verdict.STOP, reason="enough", metrics={"mood": 0.5})

    cfg = config(base("llama"), tmp_path)
    run = run_sft(cfg, tmp_path / "run", evaluators=[stop_at_once])
    assert metrics_of(run)[-1]["step"] == 2
    assert metrics_of(run)[-1]["sft/mood"] == 0.5
    assert read_json(run / "result.json")["steps"] == 2
    run_sft(cfg, run, resume=True, evaluators=[stop_at_once])
    assert metrics_of(run)[-1]["step"] == 2


def test_divergence_stops_before_the_step_and_the_run_says_failed(base: Callable[[Architecture], str], tmp_path: Path) -> None:
    path = base("llama")
    model = AutoModelForCausalLM.from_pretrained(path)
    with torch.no_grad():
        model.lm_head.weight[5, 0] = float("nan")
    model.save_pretrained(path)
    with pytest.raises(TrainingDiverged, match=r"sft/(val_)?loss is nan"):
        run_sft(config(path, tmp_path), tmp_path / "run")
    assert read_json(tmp_path / "run" / "status.json")["status"] == "failed"
