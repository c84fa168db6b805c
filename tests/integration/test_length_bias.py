"""Labelers who like long answers: the reward model learns it, the inspection names it, and equal length shows what is left (spec I15)."""

import json
from pathlib import Path
from random import Random

import pytest

from instructloop.config import InspectionConfig, OptimizerConfig, RewardModelConfig
from instructloop.core.files import read_json
from instructloop.core.records import Prompt
from instructloop.core.seeds import stream
from instructloop.evaluation.observatory import inspect
from instructloop.evaluation.voters import RewardModelVoter
from instructloop.stats import length_controlled
from instructloop.testing.models import save_tiny, tiny_model
from instructloop.testing.tokenizers import tiny_tokenizer
from instructloop.training.reward_model import run_reward_model

LETTERS = "bcdfgh"


def reply(random: Random) -> str:
    """One letter in front (an a is what a good answer begins with), then one to eight more."""
    return random.choice("az") + "".join(random.choice(LETTERS) for _ in range(random.randint(1, 8)))


def rankings(file: Path, *, likes_length: bool) -> Path:
    """Two replies each, ranked by length alone, or by the first letter alone."""
    random = stream(0, "rankings")
    rows = []
    while len(rows) < 600:
        pair = [reply(random), reply(random)]
        values = [len(text) if likes_length else text[0] == "a" for text in pair]
        if values[0] != values[1]:
            ranks = [0, 1] if values[0] > values[1] else [1, 0]
            rows.append({"prompt": f"p{len(rows)}", "completions": pair, "ranks": ranks, "labeler": "L1"})
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


@pytest.fixture(scope="module")
def reward_models(tmp_path_factory) -> dict[bool, Path]:
    """A reward model by labelers who like long answers (True), and one by labelers who do not."""
    home = tmp_path_factory.mktemp("length")
    trunk = save_tiny(str(home / "trunk"), tiny_model("gpt2", hidden=32), tiny_tokenizer())
    made = {}
    for likes in (True, False):
        cfg = RewardModelConfig(
            model=trunk,
            data=(str(rankings(home / f"{likes}.jsonl", likes_length=likes)),),
            epochs=3,
            batch_prompts=16,
            optimizer=OptimizerConfig(lr=3e-3),
        )
        made[likes] = run_reward_model(cfg, home / f"rm_{likes}")
    return made


def alarm(run: Path, tmp_path: Path) -> dict:
    (file,) = inspect(run, InspectionConfig(models="yes"), out=tmp_path / "observatory.json")
    return next(one for one in read_json(file)["alarms"] if one["kind"] == "length_bias")


def test_the_length_alarm_names_a_reward_model_that_likes_length_and_no_other(reward_models, tmp_path) -> None:
    biased = alarm(reward_models[True], tmp_path)
    assert biased["state"] == "alarm"
    assert biased["measured"] > 0.8
    assert "longer ones score higher" in biased["explanation"]
    assert len(biased["examples"]) == 5
    assert alarm(reward_models[False], tmp_path)["state"] == "ok"


def test_the_inspection_holds_out_the_rankings_that_training_held_out(reward_models, tmp_path) -> None:
    run = reward_models[False]
    (file,) = inspect(run, InspectionConfig(models="yes"), out=tmp_path / "observatory.json")
    table = next(one for one in read_json(file)["sections"] if one["name"] == "reward_accuracy")["tables"][0]
    held_out = read_json(run / "result.json")["held_out"]
    assert table["rows"][0][1] == held_out["pairs"]
    assert table["rows"][0][2]["value"] == held_out["accuracy"]
    assert table["rows"][2][2]["value"] < 0.9  # words alone: no reply of one letter more is a word that training has seen


def test_at_equal_length_nothing_is_left_of_a_win_that_was_length(reward_models) -> None:
    random = stream(1, "contest")
    prompts = [Prompt(prompt=f"p{i}") for i in range(300)]
    # the long model's replies have two letters more on average, and are no better
    short = [reply(random)[:6] for _ in prompts]
    long = [reply(random) + random.choice(["", "bb", "cccc"]) for _ in prompts]
    voter = RewardModelVoter(reward_models[True])
    scores = [voter.score(prompts, texts) for texts in (long, short)]
    wins = [1.0 if a > b else 0.0 if a < b else 0.5 for a, b in zip(*scores, strict=True)]
    found = length_controlled(wins, [len(text) for text in long], [len(text) for text in short])
    assert sum(wins) / len(wins) > 0.65
    assert found.slope.low > 0
    assert abs(found.rate.value - 0.5) < 0.15
