"""The pretraining stage end to end on a tiny corpus."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from instructloop.config import CheckpointConfig, ComputeConfig, OptimizerConfig, PretrainConfig
from instructloop.core.errors import CheckpointError, ConfigError
from instructloop.core.files import read_json
from instructloop.core.records import Text
from instructloop.formats import read_texts, write_texts
from instructloop.testing import tiny_codec, tiny_model, tiny_tokenizer
from instructloop.training.pretrain import accumulate_text_gradient, run_pretrain


@pytest.fixture
def cfg(tmp_path: Path) -> PretrainConfig:
    tiny_tokenizer().save_pretrained(tmp_path / "tokenizer")
    write_texts(tmp_path / "documents.jsonl", [Text(text=f"{k} little ducks went out to play. ") for k in range(60)])
    write_texts(tmp_path / "held-out.jsonl", [Text(text=f"{k} little ducks went out to play. ") for k in range(60, 70)])
    return PretrainConfig(
        data=str(tmp_path / "documents.jsonl"),
        validation=str(tmp_path / "held-out.jsonl"),
        tokenizer=str(tmp_path / "tokenizer"),
        hidden_size=32,
        layers=2,
        heads=4,
        intermediate_size=48,
        context_tokens=32,
        steps=30,
        batch_tokens=256,
        evaluate_every=10,
        optimizer=OptimizerConfig(lr=1e-2, warmup_steps=3),
        compute=ComputeConfig(device="cpu", micro_batch_tokens=128),
        checkpoint=CheckpointConfig(every_steps=7),
    )


def metrics_of(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_a_base_model_learns_its_corpus_and_opens_with_plain_transformers(cfg: PretrainConfig, tmp_path: Path) -> None:
    run = run_pretrain(cfg, tmp_path / "run")
    rows = metrics_of(run)
    assert [row["step"] for row in rows] == list(range(1, 31))
    assert rows[0]["pretrain/loss"] == pytest.approx(5.56, abs=0.15)  # ln 260: nothing is known yet
    assert rows[-1]["pretrain/val_loss"] < 2.5
    assert [row["step"] for row in rows if "pretrain/val_loss" in row] == [10, 20, 30]
    result = read_json(run / "result.json")
    assert result["tokens_seen"] == 30 * 256
    assert result["val_loss"] == rows[-1]["pretrain/val_loss"]
    model = AutoModelForCausalLM.from_pretrained(run / "model")
    assert sum(parameter.numel() for parameter in model.parameters()) == result["parameters"]


def test_a_run_stopped_on_the_way_and_resumed_gives_the_same_bits(cfg: PretrainConfig, tmp_path: Path) -> None:
    whole = run_pretrain(cfg, tmp_path / "whole")
    part = tmp_path / "part"
    stopped = run_until(cfg, part, step=17)
    assert stopped == 17
    run_pretrain(cfg, part, resume=True)
    assert (whole / "metrics.jsonl").read_bytes() == (part / "metrics.jsonl").read_bytes()
    assert (whole / "model" / "model.safetensors").read_bytes() == (part / "model" / "model.safetensors").read_bytes()


def run_until(cfg: PretrainConfig, out: Path, *, step: int) -> int:
    """Start a run and let it die in the middle of a step: the log of that step is the last thing it does."""
    from instructloop.runs.rundir import RunDir

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
            run_pretrain(cfg, out)
    return metrics_of(out)[-1]["step"]


def test_training_further_from_a_given_model_starts_where_that_ended(cfg: PretrainConfig, tmp_path: Path) -> None:
    first = run_pretrain(cfg, tmp_path / "first")
    gentle = replace(cfg, tokenizer="", init=str(first), steps=2, optimizer=OptimizerConfig(lr=1e-6))
    second = run_pretrain(gentle, tmp_path / "second")
    assert metrics_of(second)[-1]["pretrain/val_loss"] == pytest.approx(metrics_of(first)[-1]["pretrain/val_loss"], abs=1e-3)


def test_a_run_directory_in_use_and_a_missing_tokenizer_are_refused(cfg: PretrainConfig, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="needs a tokenizer"):
        run_pretrain(replace(cfg, tokenizer=""), tmp_path / "run")
    short = replace(cfg, steps=1)
    run_pretrain(short, tmp_path / "run")
    with pytest.raises(CheckpointError, match="already holds a run"):
        run_pretrain(short, tmp_path / "run")


def test_records_can_be_given_instead_of_files(cfg: PretrainConfig, tmp_path: Path) -> None:
    documents = read_texts(cfg.data).records
    from_files = run_pretrain(replace(cfg, steps=2, validation=""), tmp_path / "files")
    from_records = run_pretrain(replace(cfg, steps=2, data="", validation=""), tmp_path / "records", documents=documents)
    assert (from_files / "metrics.jsonl").read_bytes() == (from_records / "metrics.jsonl").read_bytes()


def test_the_gradient_does_not_depend_on_the_split_into_micro_batches() -> None:
    blocks = torch.randint(4, 260, (8, 16), generator=torch.Generator().manual_seed(1))
    gradients = []
    for tokens in (16, 48, 128):
        model = tiny_model("llama", len(tiny_codec().tokenizer))
        loss = accumulate_text_gradient(model, blocks, tokens, name="loss", step=1)
        gradients.append((loss, [parameter.grad for parameter in model.parameters()]))
    for loss, grads in gradients[1:]:
        assert loss == pytest.approx(gradients[0][0], rel=1e-6)
        torch.testing.assert_close(grads, gradients[0][1], rtol=1e-4, atol=1e-7)
