"""The pieces of the banana exercise."""

from pathlib import Path

import pytest

from instructloop.config import RewardSpec
from instructloop.core.errors import ConfigError
from instructloop.recipes.banana import default_betas, parse_reward, run_banana, story_openings


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("sentiment", RewardSpec(name="sentiment")),
        ("contains:banana", RewardSpec(name="contains", args={"word": "banana", "count": True})),
        ("rewards/mine.py:score", RewardSpec(name="python", args={"path": "rewards/mine.py:score"})),
        ("length", RewardSpec(name="length")),
    ],
)
def test_a_reward_is_named_in_one_word(text: str, spec: RewardSpec) -> None:
    assert parse_reward(text) == spec


def test_openings_are_all_different_until_they_run_out() -> None:
    texts = [prompt.prompt for prompt in story_openings(128, seed=1)]
    assert len(set(texts)) == 128
    assert texts[:5] != [prompt.prompt for prompt in story_openings(5, seed=2)]
    assert story_openings(130, seed=1)[128].prompt == texts[0]


def test_a_counted_word_gets_a_stronger_tether() -> None:
    assert default_betas(parse_reward("contains:boat"))[1] > default_betas(parse_reward("sentiment"))[1]


@pytest.mark.parametrize("betas", [(0.0, 1.0), (0.0, 1.0, 1.0)])
def test_the_exercise_takes_three_different_betas(betas: tuple[float, ...], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="three different betas"):
        run_banana(tmp_path / "out", model=str(tmp_path), reward="sentiment", betas=betas)
