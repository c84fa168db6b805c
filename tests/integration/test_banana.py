"""``instructloop lab banana``: one command, three regimes, a table, samples and a picture."""

import json
from pathlib import Path

import pytest

from instructloop.recipes.banana import run_banana, sample_lines, table
from instructloop.testing import save_tiny, tiny_model, tiny_tokenizer


def test_the_exercise_leaves_a_table_samples_and_a_picture(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    base = save_tiny(str(tmp_path / "base"), tiny_model(seed=1), tiny_tokenizer())
    reward = tmp_path / "mine.py"
    reward.write_text("def score(prompts, completions):\n    return [text.count('e') for text in completions]\n")
    path = run_banana(tmp_path / "out", model=base, reward=f"{reward}:score", steps=2, evaluation_samples=16)
    result = json.loads(path.read_text())
    assert [row["regime"] for row in result["rows"]] == ["reference", "no tether", "tethered", "too tight"]
    assert abs(result["rows"][0]["kl"]) < 1e-4
    assert {row["n"] for row in result["rows"]} == {16}
    assert [len(row) for row in table(path)] == [8] * 5
    assert len(sample_lines(path)) == 4
    assert (tmp_path / "out" / "banana.png").read_bytes().startswith(b"\x89PNG")
    # a second call finds the three runs done and only draws again
    before = (tmp_path / "out" / "beta-0" / "status.json").read_bytes()
    assert run_banana(tmp_path / "out", model=base, reward=f"{reward}:score", steps=2, evaluation_samples=16, resume=True) == path
    assert (tmp_path / "out" / "beta-0" / "status.json").read_bytes() == before
    assert json.loads(path.read_text()) == result


@pytest.mark.slow
def test_three_tethers_on_a_model_that_speaks(shared: Path, tmp_path: Path) -> None:
    """beta = 0 hacks the reward, the middle gains a standard deviation at KL < 15 and keeps its variety, the last does not move."""
    pytest.importorskip("vaderSentiment")
    pytest.importorskip("matplotlib")
    path = run_banana(tmp_path / "out", model=str(shared / "models" / "model-stories260K"), reward="sentiment")
    reference, hacked, tethered, tight = json.loads(path.read_text())["rows"]
    spread = reference["reward_std"]
    assert tethered["reward"] - reference["reward"] >= spread
    assert tethered["kl"] < 15
    assert tethered["distinct_2"] >= 0.7 * reference["distinct_2"]
    assert hacked["reward"] > tethered["reward"]
    assert hacked["kl"] > 15
    assert hacked["distinct_2"] < 0.3 * reference["distinct_2"]
    assert tight["reward"] - reference["reward"] < 0.3 * spread
    assert tight["kl"] < tethered["kl"]
