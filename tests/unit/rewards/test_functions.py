"""The user's own functions: called with texts, and their mistakes named by reward and row."""

import math
from pathlib import Path

import pytest
import torch

from instructloop.config.ppo import RewardSpec
from instructloop.core.errors import ConfigError, RewardError
from instructloop.rewards import RewardOutput, as_reward, checked, rewards


def shout(prompts: list[str], completions: list[str]) -> list[float]:
    return [float(sum(letter.isupper() for letter in text)) for text in completions]


def test_a_plain_function_is_a_reward(rollouts) -> None:
    reward = as_reward(shout)
    assert reward(rollouts(["Ab", "ABC"])).scores.tolist() == [1.0, 3.0]
    assert reward.name == "shout"


def test_a_function_sees_the_prompts_as_text(rollouts) -> None:
    seen: list[list[str]] = []

    def spy(prompts: list[str], completions: list[str]) -> list[float]:
        seen.append(prompts)
        return [0.0 for _ in completions]

    as_reward(spy)(rollouts(["a", "b"], prompt="Say it"))
    assert seen == [["Say it", "Say it"]]


def test_a_function_in_a_file_is_a_reward_by_configuration(rollouts, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def score(prompts, completions):\n    return [len(text) for text in completions]\n")
    reward = as_reward(RewardSpec(name="python", args={"path": f"{tmp_path / 'mine.py'}:score"}))
    assert reward(rollouts(["a", "bcd"])).scores.tolist() == [1.0, 3.0]


def test_a_function_in_a_module_is_a_reward(rollouts) -> None:
    with pytest.raises(RewardError, match="raised TypeError"):
        as_reward(RewardSpec(name="python", args={"path": "math:sqrt"}))(rollouts(["a"]))


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("mine.py", "not of the form"),
        ("absent.py:score", "no such file"),
        ("no_such_module_here:score", "no module"),
        ("math:no_such", "no function"),
    ],
)
def test_a_path_that_leads_nowhere_is_refused(path: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        rewards.build("python", {"path": path})


def test_a_file_that_does_not_import_is_refused(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("raise ValueError('no')\n")
    with pytest.raises(ConfigError, match="cannot be imported: ValueError: no"):
        rewards.build("python", {"path": f"{tmp_path / 'broken.py'}:score"})


def test_a_nan_is_refused_with_reward_and_row(rollouts) -> None:
    reward = as_reward(lambda prompts, completions: [0.0, math.nan], name="broken")
    with pytest.raises(RewardError, match=r"reward 'broken': row 1: scores is nan; completion: 'second'"):
        reward(rollouts(["first", "second"]))


def test_an_infinity_is_refused(rollouts) -> None:
    with pytest.raises(RewardError, match="row 0: scores is inf"):
        as_reward(lambda prompts, completions: [math.inf])(rollouts(["a"]))


def test_a_wrong_length_is_refused(rollouts) -> None:
    with pytest.raises(RewardError, match="returned 1 scores for 2 completions"):
        as_reward(lambda prompts, completions: [1.0], name="short")(rollouts(["a", "b"]))


def test_something_that_is_no_number_is_refused_with_its_row(rollouts) -> None:
    with pytest.raises(RewardError, match="row 1: None is not a number"):
        as_reward(lambda prompts, completions: [1.0, None])(rollouts(["a", "b"]))
    with pytest.raises(RewardError, match="returned float instead of a list"):
        as_reward(lambda prompts, completions: 1.0)(rollouts(["a", "b"]))


def test_a_function_that_raises_is_named_with_the_row_it_fails_on(rollouts) -> None:
    def divide(prompts: list[str], completions: list[str]) -> list[float]:
        return [1 / (len(text) - 3) for text in completions]

    with pytest.raises(RewardError, match=r"reward 'divide' raised ZeroDivisionError.*row 2: 'abc'"):
        as_reward(divide)(rollouts(["a", "ab", "abc"]))


def test_parts_and_token_scores_are_checked_too(rollouts) -> None:
    texts = rollouts(["ab", "abcd"])

    def bad_part(_rollouts: object) -> RewardOutput:
        return RewardOutput(scores=torch.zeros(2), parts={"honest": torch.tensor([0.0, math.nan])})

    def bad_token(_rollouts: object) -> RewardOutput:
        scores = torch.zeros(texts.mask.shape)
        scores[1, 3] = math.inf
        return RewardOutput(scores=torch.zeros(2), token_scores=scores)

    def pad_only(_rollouts: object) -> RewardOutput:
        scores = torch.zeros(texts.mask.shape)
        scores[0, -1] = math.nan  # beyond the end of row 0
        return RewardOutput(scores=torch.zeros(2), token_scores=scores)

    with pytest.raises(RewardError, match="row 1: part 'honest' is nan"):
        checked(bad_part)(texts)
    with pytest.raises(RewardError, match="row 1: token_scores"):
        checked(bad_token)(texts)
    assert checked(pad_only)(texts).scores.tolist() == [0.0, 0.0]


def test_a_mix_is_the_weighted_sum_and_keeps_its_parts(rollouts) -> None:
    mixed = rewards.build(
        "mix",
        {
            "parts": [
                {"name": "contains", "args": {"word": "cat"}, "weight": 2.0, "label": "cats"},
                {"name": "token_count", "weight": -0.5},
                {"name": "token_count", "weight": 0.0},
            ]
        },
    )
    output = mixed(rollouts(["cat", "dogs"]))
    assert output.scores.tolist() == [2.0 - 2.0, 0.0 - 2.5]
    assert {name: values.tolist() for name, values in output.parts.items()} == {
        "cats": [1.0, 0.0],
        "token_count": [4.0, 5.0],
        "token_count'": [4.0, 5.0],
    }


@pytest.mark.parametrize("parts", [[], [{"args": {}}], [{"name": "contains", "wieght": 1}]])
def test_a_mix_of_nothing_or_with_a_typo_is_refused(parts: list[dict[str, object]]) -> None:
    with pytest.raises(ConfigError, match="mix"):
        rewards.build("mix", {"parts": parts})
