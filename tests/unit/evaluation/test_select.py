"""A candidate is chosen by preference, the choice is written down, and nobody tests on its prompts afterwards."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from instructloop.cli.main import main
from instructloop.config import ComputeConfig, EvaluationConfig, SamplingConfig, SelectionConfig
from instructloop.core.errors import ConfigError
from instructloop.core.records import Prompt
from instructloop.evaluation import run_evaluation
from instructloop.evaluation.select import choose, run_selection
from instructloop.models import load_tokenizer
from instructloop.runs import RunDir, parent, verify
from instructloop.testing.models import save_tiny, tiny_model
from instructloop.testing.tokenizers import tiny_tokenizer

CPU = ComputeConfig(device="cpu")
SHORT = SamplingConfig(max_new_tokens=4)


@pytest.fixture
def candidates(tmp_path: Path) -> tuple[str, ...]:
    """Three runs trained on one prompt."""
    data = tmp_path / "train.jsonl"
    data.write_text('{"prompt": "trained on"}\n')
    for seed, name in enumerate(("a", "b", "c")):
        with RunDir.open(tmp_path / name, stage="ppo", config={}, parents=[parent("prompts", data)]) as run:
            run.publish("model", lambda path, seed=seed: save_tiny(str(path), tiny_model(seed=seed), tiny_tokenizer()))  # type: ignore[misc]
    return tuple(f"{name}={tmp_path / name}" for name in ("a", "b", "c"))


def prompts(path: Path, *texts: str) -> str:
    path.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in texts))
    return str(path)


def longest(_: Sequence[Prompt], completions: Sequence[str]) -> list[float]:
    return [float(len(text.encode())) for text in completions]


def win(a: str, b: str, rate: float, low: float, high: float) -> dict[str, object]:
    return {"a": a, "b": b, "win_rate": rate, "low": low, "high": high, "n": 9, "clusters": 9, "ties": 0}


def test_the_highest_win_rate_against_the_first_wins_and_the_first_stays_if_nobody_beats_it() -> None:
    table = {"n_prompts": 9, "wins": [win("b", "a", 0.6, 0.45, 0.7), win("a", "b", 0.4, 0.3, 0.55), win("c", "a", 0.7, 0.6, 0.8)]}
    found = choose(table, "a")
    assert (found["chosen"], found["clear"], [row["model"] for row in found["evidence"]]) == ("c", True, ["c", "b"])
    table["wins"] = [win("b", "a", 0.6, 0.45, 0.7)]
    assert (choose(table, "a")["chosen"], choose(table, "a")["clear"]) == ("b", False)
    table["wins"] = [win("b", "a", 0.5, 0.4, 0.6)]
    assert (choose(table, "a")["chosen"], choose(table, "a")["clear"]) == ("a", False)
    table["wins"] = [win("b", "a", 0.2, 0.1, 0.3)]
    assert (choose(table, "a")["chosen"], choose(table, "a")["clear"]) == ("a", True)
    with pytest.raises(ConfigError, match="nobody was compared with 'a'"):
        choose({"n_prompts": 1, "wins": [win("b", "c", 0.5, 0.4, 0.6)]}, "a")


def test_the_chosen_model_stands_in_the_run_and_its_prompts_can_no_longer_be_tested_on(candidates: tuple[str, ...], tmp_path: Path) -> None:
    validation = prompts(tmp_path / "validation.jsonl", *(f"valid {n}" for n in range(6)))
    cfg = SelectionConfig(models=candidates, prompts=validation, sampling=SHORT, bootstrap_samples=200, compute=CPU)
    out = run_selection(cfg, tmp_path / "best", voter=longest)
    choice = json.loads((out / "choice.json").read_text())
    table = json.loads((out / "eval/voter.json").read_text())
    rates = {row["a"]: row["win_rate"] for row in table["wins"] if row["b"] == "a"}
    best = max(rates, key=lambda name: rates[name])
    assert choice["chosen"] == (best if rates[best] > 0.5 else "a")
    assert {row["model"] for row in choice["evidence"]} == {"b", "c"}
    assert all(row["clusters"] == 6 for row in choice["evidence"])
    load_tokenizer(out)
    weights = f"model/{'model.safetensors'}"
    assert (out / weights).read_bytes() == (tmp_path / choice["chosen"] / weights).read_bytes()
    assert all(finding.verdict == "same" for finding in verify(out))
    tests = prompts(tmp_path / "test.jsonl", "fresh", "VALID 3")
    for name in (f"best={out}", *candidates):
        test = EvaluationConfig(models=(name,), prompts=tests, reward_model="none", compute=CPU)
        with pytest.raises(ConfigError, match=r"1 of 2 test prompts are not held out \(0 trained on, 1 used for selection\)"):
            run_evaluation(test, tmp_path / "eval")
    again = SelectionConfig(models=candidates, prompts=validation, sampling=SHORT, bootstrap_samples=200, compute=CPU)
    run_selection(again, tmp_path / "again", voter=longest)


def test_prompts_that_a_candidate_was_trained_on_choose_nobody(candidates: tuple[str, ...], tmp_path: Path) -> None:
    cfg = SelectionConfig(models=candidates, prompts=prompts(tmp_path / "v.jsonl", "x", "Trained ON"), compute=CPU)
    with pytest.raises(ConfigError, match=r"1 of 2 selection prompts are not held out \(1 trained on"):
        run_selection(cfg, tmp_path / "best", voter=longest)
    assert not (tmp_path / "best").exists()


def test_people_choose_by_a_file_of_votes(candidates: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    votes = tmp_path / "votes.jsonl"
    rows = [{"prompt": f"p{n}", "model_a": "a", "model_b": other, "winner": "b"} for n in range(12) for other in ("b", "c")]
    rows[0]["winner"] = "tie"
    votes.write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = tmp_path / "best"
    assert main(["select", "--models", *candidates, "--votes", str(votes), "--bootstrap-samples", "200", "--out", str(out)]) == 0
    assert json.loads((out / "choice.json").read_text())["chosen"] == "c"
    assert "chosen: c\n" in capsys.readouterr().out
    votes.write_text('{"prompt": "p", "model_a": "a", "model_b": "z", "winner": "b"}\n')
    assert main(["select", "--models", *candidates, "--votes", str(votes), "--out", str(tmp_path / "other")]) == 2
    assert "'z', which is no candidate" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "no candidates"),
        ({"models": ("a=x", "b=y")}, "nobody votes"),
        ({"models": ("a=x", "b=y"), "reward_model": "rm"}, "no prompts"),
    ],
)
def test_a_choice_needs_candidates_a_voter_and_prompts(values: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        run_selection(SelectionConfig(**values), tmp_path / "out")  # type: ignore[arg-type]


def test_one_candidate_or_two_voters_are_refused() -> None:
    with pytest.raises(ConfigError, match="leaves no choice"):
        SelectionConfig(models=("a=x",))
    with pytest.raises(ConfigError, match="several voters"):
        SelectionConfig(models=("a=x", "b=y"), reward_model="rm", votes="votes.jsonl")
