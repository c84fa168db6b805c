"""Whose preferences a reward model learns: weights and texts by group of labelers (spec L1), held-out labelers apart (spec B3)."""

from dataclasses import replace

import pytest
import torch

from instructloop.config import ComputeConfig, RewardModelConfig
from instructloop.core.errors import ConfigError, DataError
from instructloop.core.records import Message, Ranking
from instructloop.data import RankedGroup, tokenize_rankings
from instructloop.models import load_scalar
from instructloop.testing import save_tiny, tiny_codec, tiny_model, tiny_tokenizer
from instructloop.training.rm_groups import apart, conditioned, weighted
from instructloop.training.rm_loss import accumulate_ranking_gradient


def row(labeler: str, cohort: str | None = "training", prompt: str = "p?", ranks: tuple[int, ...] = (0, 1)) -> Ranking:
    return Ranking(
        prompt=prompt, completions=("good", "bad")[: len(ranks)], ranks=ranks, labeler=labeler, meta={"cohort": cohort} if cohort else {}
    )


def groups(*rows: Ranking) -> list[RankedGroup]:
    return list(tokenize_rankings(rows, tiny_codec(), 64))


def test_held_out_labelers_are_set_apart_whatever_file_they_came_in() -> None:
    ours, strangers = apart([row("L1"), row("L2", "heldout"), row("L3", None), row("L4", "researcher")])
    assert [one.labeler for one in ours] == ["L1", "L3", "L4"]
    assert [one.labeler for one in strangers] == ["L2"]


def test_weights_have_a_mean_of_one_and_a_code_goes_before_its_cohort() -> None:
    given = groups(row("L1"), row("L2"), row("R1", "researcher"), row("R2", "researcher"))
    scaled, table = weighted(given, {"researcher": 3.0, "R2": 1.0})
    # raw weights 1, 1, 3, 1 have the mean 1.5
    assert [one.weight for one in scaled] == pytest.approx([2 / 3, 2 / 3, 2.0, 2 / 3])
    assert table["researcher"] == pytest.approx({"weight": 2.0, "rankings": 1, "share": 0.5})
    assert table["everyone else"] == pytest.approx({"weight": 2 / 3, "rankings": 2, "share": 1 / 3})


def test_a_weight_of_zero_leaves_a_labeler_out_and_says_so() -> None:
    scaled, table = weighted(groups(row("L1"), row("L2")), {"L2": 0.0})
    assert [one.labeler for one in scaled] == ["L1"]
    assert table["L2"] == {"weight": 0.0, "rankings": 1, "share": 0.0}
    with pytest.raises(ConfigError, match="leaves no ranking"):
        weighted(groups(row("L1")), {"training": 0.0})


def test_a_misspelt_group_is_an_error_with_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match="by 'reseacher'") as error:
        weighted(groups(row("R1", "researcher")), {"reseacher": 2.0})
    assert error.value.hint == "did you mean 'researcher'?"
    with pytest.raises(ConfigError, match="must be >= 0"):
        RewardModelConfig(group_weights={"L1": -1.0})


def test_doubling_a_weight_is_the_gradient_of_a_ranking_given_twice(tmp_path: object) -> None:
    folder = save_tiny(str(tmp_path), tiny_model("llama"), tiny_tokenizer())
    model = load_scalar(folder, ComputeConfig(device="cpu"), seed=0)
    first, second = groups(row("L1", prompt="a?"), row("L2", prompt="b?", ranks=(1, 0)))

    def gradient(batch: list[RankedGroup], scale: float) -> torch.Tensor:
        model.zero_grad()
        accumulate_ranking_gradient(model, batch, 0, 4096, step=1)
        return torch.cat([part.grad.flatten() for part in model.parameters() if part.grad is not None]) * scale

    # weights 1 and 2 over 2 prompts = (g1 + 2 g2) / 2; the same rows given once and twice = (g1 + 2 g2) / 3
    doubled = gradient([first, replace(second, weight=2.0)], 2.0)
    repeated = gradient([first, second, second], 3.0)
    torch.testing.assert_close(doubled, repeated, rtol=1e-4, atol=1e-5)


def test_the_group_text_stands_before_the_last_turn_and_needs_its_field() -> None:
    talk = (Message("user", "Hi"), Message("assistant", "Hello"), Message("user", "Why?"))
    plain, chat = conditioned([row("L1"), replace(row("R1", "researcher"), prompt=talk)], "[{cohort}] ")
    assert plain.prompt == "[training] p?"
    assert chat.prompt == (*talk[:2], Message("user", "[researcher] Why?"))
    with pytest.raises(DataError, match="needs 'cohort'"):
        conditioned([row("L1", None)], "[{cohort}] ")
