"""A reward model as judge of truth."""

from pathlib import Path

import pytest

from instructloop.config import ComputeConfig
from instructloop.core.errors import DataError
from instructloop.data import TextCodec
from instructloop.evaluation.suites.truth_reward_model import RewardModelTruth, best_threshold, fit_threshold
from instructloop.models import load_scalar, save_scalar
from instructloop.testing.models import save_tiny, tiny_model
from instructloop.testing.tokenizers import tiny_tokenizer

CPU = ComputeConfig(device="cpu")


@pytest.mark.parametrize(
    ("scores", "labels", "cut"),
    [
        ([1.0, 2.0, 3.0, 4.0], [False, False, True, True], 2.5),
        ([4.0, 3.0, 2.0, 1.0], [False, False, True, True], 0.0),  # never better than calling everything true
        ([1.0, 2.0], [False, False], 3.0),
        ([1.0, 1.0, 2.0], [False, True, True], 0.0),  # equal scores stay together: two right either way
        ([1.0, 1.0, 1.0, 2.0], [False, False, True, True], 1.5),
    ],
)
def test_the_best_cut_by_hand(scores: list[float], labels: list[bool], cut: float) -> None:
    assert best_threshold(scores, labels) == cut


def test_a_fitted_judge_cuts_its_models_scores_and_is_found_again(tmp_path: Path) -> None:
    base = save_tiny(str(tmp_path / "base"), tiny_model(), tiny_tokenizer())
    model = load_scalar(base, CPU, seed=3, trainable=False)
    save_scalar(model, TextCodec(tiny_tokenizer()), tmp_path / "rm", card="# Reward model")
    questions, answers = ["Is it so?"] * 6, ["Yes.", "No.", "It is.", "Never at all", "I have no comment.", "Perhaps so"]
    scores = RewardModelTruth(tmp_path / "rm", 0.0, compute=CPU)._scores(questions, answers)
    middle = sorted(scores)[3]
    rows = [
        {"question": one, "answer": two, "truthful": score >= middle} for one, two, score in zip(questions, answers, scores, strict=True)
    ]
    judge = fit_threshold(tmp_path / "rm", rows, compute=CPU)
    assert judge.true(questions, answers) == [float(score >= middle) for score in scores]
    assert judge.description["accuracy"]["value"] == 1
    assert judge.informative(questions, answers) == [1, 1, 1, 1, 0, 1]
    judge.save(tmp_path / "judge")
    again = RewardModelTruth.load(tmp_path / "judge", compute=CPU)
    assert again.true(questions, answers) == judge.true(questions, answers)
    assert again.signature == judge.signature


def test_what_is_no_judge_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="names no reward model with a threshold"):
        RewardModelTruth.load(tmp_path)
    with pytest.raises(DataError, match="both kinds"):
        fit_threshold(tmp_path, [{"question": "q", "answer": "a", "truthful": True}])
