"""The reward model end to end on tiny models: spec D item by item."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from instructloop.config import CheckpointConfig, ComputeConfig, LoraConfig, OptimizerConfig, RewardModelConfig
from instructloop.core.errors import ConfigError, DataError
from instructloop.core.files import read_json
from instructloop.core.records import Demonstration, Ranking
from instructloop.data import TokenSequence, collate, tokenize_demonstrations, tokenize_rankings
from instructloop.formats import write_demonstrations, write_rankings
from instructloop.models import load_scalar
from instructloop.models.packing import set_packing
from instructloop.runs.rundir import RunDir
from instructloop.testing import ARCHITECTURES, Architecture, save_tiny, tiny_codec, tiny_model, tiny_tokenizer
from instructloop.training.reward_model import run_reward_model
from instructloop.training.rm_loss import accumulate_ranking_gradient, score_groups, score_sequences

WORDS = ["awful", "bad", "fair", "good", "great", "fine!", "nice.", "well"]


def ranked(prompt: str, count: int, *, labeler: str | None = None, confidence: float | None = None) -> Ranking:
    """More stars are better; the stars stand before the end, so length says nothing."""
    completions = tuple("*" * stars + "-" * (count - stars) for stars in range(count))
    return Ranking(prompt=prompt, completions=completions, ranks=tuple(range(count))[::-1], labeler=labeler, confidence=confidence)


ROWS = [ranked(f"{word}?", 3 + index % 3) for index, word in enumerate(WORDS)]


@pytest.fixture
def base(tmp_path: Path) -> Callable[[Architecture], str]:
    def make(arch: Architecture = "llama") -> str:
        return save_tiny(str(tmp_path / arch), tiny_model(arch), tiny_tokenizer())

    return make


def config(model: str, folder: Path, rows: Sequence[Ranking] = ROWS, **changes: object) -> RewardModelConfig:
    data = folder / "rankings.jsonl"
    if not data.exists():
        write_rankings(data, rows)
    cfg = RewardModelConfig(
        model=model,
        data=(str(data),),
        validation_fraction=0.0,
        epochs=3,
        batch_prompts=4,
        optimizer=OptimizerConfig(lr=3e-3),
        compute=ComputeConfig(device="cpu", micro_batch_tokens=128),
        checkpoint=CheckpointConfig(every_steps=2),
    )
    return replace(cfg, **changes)  # type: ignore[arg-type]


def metrics_of(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


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


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_every_architecture_ranks_eight_separable_groups_perfectly(
    arch: Architecture, base: Callable[[Architecture], str], tmp_path: Path
) -> None:
    cfg = config(base(arch), tmp_path, epochs=40, batch_prompts=8, checkpoint=CheckpointConfig(every_steps=1000))
    run = run_reward_model(cfg, tmp_path / "run")
    model = load_scalar(run, ComputeConfig(device="cpu"), seed=0)
    groups = list(tokenize_rankings(ROWS, tiny_codec(), 256))
    for group, scores in zip(groups, score_groups(model, groups, 0, 512), strict=True):
        assert sorted(range(group.k), key=lambda i: -scores[i]) == sorted(range(group.k), key=lambda i: group.ranks[i])


def test_k_completions_of_a_prompt_cost_k_forward_passes(base: Callable[[Architecture], str]) -> None:
    model = load_scalar(base("llama"), ComputeConfig(device="cpu"), seed=0)
    set_packing(model, "off")  # packed, all nine are one row
    seen: list[int] = []
    model.trunk.register_forward_hook(lambda _m, _a, kwargs, _o: seen.append(len(kwargs["input_ids"])), with_kwargs=True)
    group = list(tokenize_rankings([ranked("good?", 9)], tiny_codec(), 256))
    stats = accumulate_ranking_gradient(model, group, 0, 10_000, step=1)
    assert stats.pairs == 36
    assert seen == [9]


def test_the_gradient_of_one_batch_of_eight_equals_eight_of_one(base: Callable[[Architecture], str]) -> None:
    path = base("llama")
    groups = list(tokenize_rankings(ROWS, tiny_codec(), 256))
    results = []
    for budget in (1, 150, 10_000):
        model = load_scalar(path, ComputeConfig(device="cpu"), seed=0)
        stats = accumulate_ranking_gradient(model, groups, 0, budget, step=1)
        results.append((stats, [parameter.grad for parameter in model.parameters() if parameter.grad is not None]))
    for stats, gradients in results[1:]:
        assert stats.loss == pytest.approx(results[0][0].loss, rel=1e-5)
        torch.testing.assert_close(gradients, results[0][1], rtol=1e-3, atol=1e-6)


def test_the_batch_loss_is_the_mean_over_prompts_of_the_mean_over_their_strict_pairs(base: Callable[[Architecture], str]) -> None:
    rows = [
        Ranking(prompt="a", completions=("x", "y", "zz"), ranks=(0, 1, 1)),  # two strict pairs, one tie
        Ranking(prompt="b", completions=("p", "q"), ranks=(1, 0)),
        Ranking(prompt="c", completions=("u", "v"), ranks=(0, 0)),  # tied throughout: counts for nothing
    ]
    model = load_scalar(base("llama"), ComputeConfig(device="cpu"), seed=0)
    groups = list(tokenize_rankings(rows, tiny_codec(), 256))
    (x, y, z), (p, q), _ = score_groups(model, groups, 0, 512)

    def cost(winner: float, loser: float) -> float:
        return math.log1p(math.exp(loser - winner))

    by_prompt = ((cost(x, y) + cost(x, z)) / 2 + cost(q, p)) / 2
    by_pair = (cost(x, y) + cost(x, z) + cost(q, p)) / 3
    assert accumulate_ranking_gradient(model, groups, 0, 512, step=1).loss == pytest.approx(by_prompt, rel=1e-5)
    assert accumulate_ranking_gradient(model, groups, 0, 512, step=1, per_pair=True).loss == pytest.approx(by_pair, rel=1e-5)


def test_scores_do_not_depend_on_padding_and_include_eos(base: Callable[[Architecture], str]) -> None:
    model = load_scalar(base("llama"), ComputeConfig(device="cpu"), seed=0)
    codec = tiny_codec()
    group = next(iter(tokenize_rankings([ROWS[0]], codec, 256)))
    row = group.sequences[0]
    assert row.ids[-1] == codec.eos_id
    alone = score_sequences(model, [row], 0, 512)[0]
    wide = score_sequences(model, [row, TokenSequence(tuple(range(4, 104)), 3)], 7, 4096)[0]
    assert wide == pytest.approx(alone, abs=1e-5)
    without_eos = TokenSequence(row.ids[:-1], row.prompt_length)
    assert abs(score_sequences(model, [without_eos], 0, 512)[0] - alone) > 1e-3


def test_pairs_are_rankings_of_two(base: Callable[[Architecture], str], tmp_path: Path) -> None:
    model = base("llama")
    write_pairs = tmp_path / "pairs.jsonl"
    write_pairs.write_text("".join(json.dumps({"prompt": f"{w}?", "chosen": f"{w} yes", "rejected": f"{w} no"}) + "\n" for w in WORDS))
    as_rankings = [Ranking(prompt=f"{w}?", completions=(f"{w} no", f"{w} yes"), ranks=(1, 0)) for w in WORDS]
    from_pairs = run_reward_model(config(model, tmp_path, data=(str(write_pairs),)), tmp_path / "pairs")
    from_rankings = run_reward_model(config(model, tmp_path), tmp_path / "rankings", rankings=as_rankings)
    ours, theirs = metrics_of(from_pairs), metrics_of(from_rankings)
    assert [row["rm/loss"] for row in ours] == pytest.approx([row["rm/loss"] for row in theirs], rel=1e-4)
    assert [row["rm/pairs"] for row in ours] == [4] * 6


def test_demonstrations_have_mean_reward_zero_and_the_bias_is_in_the_checkpoint(
    base: Callable[[Architecture], str], tmp_path: Path
) -> None:
    demonstrations = [Demonstration(prompt=f"{word}?", completion=f"very {word}") for word in WORDS]
    write_demonstrations(tmp_path / "demonstrations.jsonl", demonstrations)
    cfg = config(base("llama"), tmp_path, demonstrations=str(tmp_path / "demonstrations.jsonl"))
    run = run_reward_model(cfg, tmp_path / "run")
    model = load_scalar(run, ComputeConfig(device="cpu"), seed=0)
    sequences = tokenize_demonstrations(demonstrations, tiny_codec(), 256).sequences
    scores = score_sequences(model, sequences, 0, 512)
    result = read_json(run / "result.json")
    assert sum(scores) / len(scores) == pytest.approx(0, abs=1e-5)
    assert float(model.score_bias) == pytest.approx(result["score_bias"])
    assert result["normalized_on"] == "8 demonstrations"
    plain = AutoModelForSequenceClassification.from_pretrained(run / "model").eval()
    assert plain.config.pad_token_id != AutoTokenizer.from_pretrained(run / "model").eos_token_id
    batch = collate(list(sequences), plain.config.pad_token_id)
    with torch.no_grad():
        pooled = plain(input_ids=batch.tokens, attention_mask=batch.attention_mask.long()).logits.squeeze(1)
    torch.testing.assert_close(pooled + result["score_bias"], torch.tensor(scores), atol=1e-4, rtol=0)


def test_without_demonstrations_the_best_ranked_completions_have_mean_zero(base: Callable[[Architecture], str], tmp_path: Path) -> None:
    run = run_reward_model(config(base("llama"), tmp_path), tmp_path / "run")
    model = load_scalar(run, ComputeConfig(device="cpu"), seed=0)
    groups = list(tokenize_rankings(ROWS, tiny_codec(), 256))
    best = [values[group.ranks.index(0)] for group, values in zip(groups, score_groups(model, groups, 0, 512), strict=True)]
    assert sum(best) / len(best) == pytest.approx(0, abs=1e-5)
    assert read_json(run / "result.json")["normalized_on"] == "8 best-ranked completions"


def test_held_out_accuracy_is_told_by_k_by_labeler_and_by_confidence_beside_longer_wins(
    base: Callable[[Architecture], str], tmp_path: Path
) -> None:
    held_out = [
        ranked("one?", 4, labeler="ann", confidence=0.5),
        ranked("two?", 5, labeler="bob", confidence=0.9),
        Ranking(prompt="three?", completions=("short", "a longer one", "x"), ranks=(1, 0, 1), labeler="ann", confidence=0.9),
    ]
    write_rankings(tmp_path / "held-out.jsonl", held_out)
    run = run_reward_model(config(base("llama"), tmp_path, validation=str(tmp_path / "held-out.jsonl")), tmp_path / "run")
    report = read_json(run / "result.json")["held_out"]
    assert (report["prompts"], report["rankings"], report["pairs"], report["ties"]) == (3, 3, 6 + 10 + 2, 1)
    assert report["low"] <= report["accuracy"] <= report["high"]
    # 16 pairs of equal length count one half each, and two are won by the longer one
    assert report["longer_wins"] == pytest.approx((16 * 0.5 + 2) / 18)
    assert {name: part["pairs"] for name, part in report["by_k"].items()} == {"3": 2, "4": 6, "5": 10}
    assert {name: part["pairs"] for name, part in report["by_labeler"].items()} == {"ann": 8, "bob": 10}
    assert {name: part["pairs"] for name, part in report["by_confidence"].items()} == {"0.5": 6, "0.9": 12}
    assert metrics_of(run)[-1]["rm/val_accuracy"] == pytest.approx(report["accuracy"])
    assert metrics_of(run)[-1]["rm/val_loss"] == pytest.approx(report["loss"])


def test_ties_and_unusable_completions_are_counted(base: Callable[[Architecture], str], tmp_path: Path) -> None:
    rows = [
        *ROWS,
        Ranking(prompt="t", completions=("a", "b"), ranks=(0, 0)),
        Ranking(prompt="u", completions=("a", "b", "a"), ranks=(0, 1, 0)),
    ]
    result = read_json(run_reward_model(config(base("llama"), tmp_path, rows, epochs=1), tmp_path / "run") / "result.json")
    assert result["notes"]["ties"] == 1
    assert result["notes"]["no_pair"] == 1
    assert result["notes"]["merged"] == 1
    assert result["prompts"] == len(ROWS) + 1
    with pytest.raises(DataError, match="different ranks"):
        run_reward_model(config(base("llama"), tmp_path), tmp_path / "tied", rankings=rows[-2:-1])


def test_a_second_round_is_a_second_file(base: Callable[[Architecture], str], tmp_path: Path) -> None:
    cfg = config(base("llama"), tmp_path, epochs=1)
    write_rankings(tmp_path / "round-2.jsonl", [ranked(f"again {word}", 4) for word in WORDS])
    second = replace(cfg, model=str(run_reward_model(cfg, tmp_path / "first")), data=(*cfg.data, str(tmp_path / "round-2.jsonl")))
    run = run_reward_model(second, tmp_path / "second")
    assert read_json(run / "result.json")["prompts"] == 16
    roles = [row["role"] for row in read_json(run / "lineage.json")["parents"]]
    assert roles == ["trunk", "rankings", "rankings 2"]


@pytest.mark.parametrize("lora", [LoraConfig(), LoraConfig(rank=4, dropout=0.1)])
def test_a_run_killed_twice_and_resumed_gives_the_same_bits(lora: LoraConfig, base: Callable[[Architecture], str], tmp_path: Path) -> None:
    cfg = config(base("llama"), tmp_path, lora=lora, validation_fraction=0.25, evaluate_every=2)
    whole = run_reward_model(cfg, tmp_path / "whole")
    part = tmp_path / "part"
    for step in (3, 5):
        die_at(step, lambda: run_reward_model(cfg, part, resume=True))
    run_reward_model(cfg, part, resume=True)
    assert (whole / "metrics.jsonl").read_bytes() == (part / "metrics.jsonl").read_bytes()
    assert read_json(whole / "result.json") == read_json(part / "result.json")
    assert (whole / "model" / "model.safetensors").read_bytes() == (part / "model" / "model.safetensors").read_bytes()


def test_a_run_killed_between_its_last_step_and_its_result_is_finished_by_resume(
    base: Callable[[Architecture], str], tmp_path: Path
) -> None:
    cfg = config(base("llama"), tmp_path, validation_fraction=0.25)
    whole = run_reward_model(cfg, tmp_path / "whole")

    def full_disk(self: RunDir, name: str, save: object) -> Path:
        raise OSError("no space")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunDir, "publish", full_disk)
        with pytest.raises(OSError, match="no space"):
            run_reward_model(cfg, tmp_path / "part")
    assert read_json(tmp_path / "part" / "status.json")["status"] == "failed"
    part = run_reward_model(cfg, tmp_path / "part", resume=True)
    assert read_json(whole / "result.json") == read_json(part / "result.json")
    assert (whole / "model" / "model.safetensors").read_bytes() == (part / "model" / "model.safetensors").read_bytes()


def test_cross_validation_compares_strangers_with_the_training_labelers(base: Callable[[Architecture], str], tmp_path: Path) -> None:
    """Two schools of labelers with opposite tastes: within a school accuracy is high, across schools it is low."""
    rows = []
    for index in range(24):
        row = ranked(f"question {index}?", 4, labeler="ab"[index % 2])
        rows.append(row if index % 2 else replace(row, ranks=row.ranks[::-1]))
    cfg = config(base("llama"), tmp_path, rows, epochs=25, cross_validation_groups=2, cross_validation_seeds=1, validation_fraction=0.3)
    run = run_reward_model(cfg, tmp_path / "run")
    found = read_json(run / "result.json")["cross_validation"]
    assert [fold["group"] for fold in found["folds"]] in ([["a"], ["b"]], [["b"], ["a"]])
    assert found["own_labelers"]["accuracy"] > 0.9
    assert found["held_out_labelers"]["accuracy"] < 0.1
    assert not (run / "cross-validation" / "seed-0-group-0" / "checkpoints").exists()
    with pytest.raises(ConfigError, match="needs as many labelers"):
        run_reward_model(replace(cfg, cross_validation_groups=3), tmp_path / "three")
