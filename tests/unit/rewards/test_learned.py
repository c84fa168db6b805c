"""A learned reward scores the sampled ids themselves, or the text where the tokenizers differ."""

from pathlib import Path

import pytest
import torch

from instructloop.config import ComputeConfig
from instructloop.core.errors import ConfigError
from instructloop.data import TextCodec
from instructloop.models.load import load_scalar
from instructloop.models.save import save_scalar
from instructloop.rewards import LearnedReward, as_reward, rewards, score_batch
from instructloop.testing import save_tiny, tiny_codec, tiny_model, tiny_tokenizer


@pytest.fixture(scope="module")
def reward_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = save_tiny(str(tmp_path_factory.mktemp("base")), tiny_model(), tiny_tokenizer())
    model = load_scalar(base, ComputeConfig(device="cpu"), seed=1)
    model.score_bias.fill_(0.25)
    path = tmp_path_factory.mktemp("rm") / "model"
    save_scalar(model, tiny_codec(), path, card="a reward model")
    return path


def test_the_score_is_the_models_own_with_its_bias(rollouts, reward_model: Path) -> None:
    texts = rollouts(["one", "longer than that"], ended=[True, False])
    model = load_scalar(reward_model, ComputeConfig(device="cpu"), seed=0)
    with torch.no_grad():
        expected = model.scores(texts.batch)
    scores = as_reward({"name": "model", "args": {"path": str(reward_model), "device": "cpu"}})(texts).scores
    torch.testing.assert_close(scores, expected)
    assert not scores.requires_grad


def test_micro_batches_and_padding_change_no_score(rollouts, reward_model: Path) -> None:
    texts = rollouts(["a", "bb", "a rather long completion that pads the others", "cccc"])
    model = load_scalar(reward_model, ComputeConfig(device="cpu"), seed=0)
    together = score_batch(model, texts.batch, budget_tokens=10_000)
    alone = score_batch(model, texts.batch, budget_tokens=16)
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)


def test_ids_are_scored_as_they_are_where_tokenizers_agree(rollouts, reward_model: Path) -> None:
    """T4: a rollout that ended in EOS is scored ending in EOS, one that did not is scored without."""
    learned = rewards.build("model", {"path": str(reward_model), "device": "cpu"})
    assert isinstance(learned, LearnedReward)
    same = learned.for_policy(tiny_codec())
    assert not same.retokenize
    ended, cut = rollouts(["word"], ended=[True]), rollouts(["word"], ended=[False])
    assert same(ended).scores.item() != same(cut).scores.item()


def test_a_reward_model_with_another_tokenizer_reads_the_text(rollouts, reward_model: Path) -> None:
    learned = rewards.build("model", {"path": str(reward_model), "device": "cpu"})
    assert isinstance(learned, LearnedReward)
    other = TextCodec(tiny_tokenizer(eos_is_zero=True), name="other")
    reading = learned.for_policy(other)
    assert reading.retokenize
    texts = rollouts(["word", "sword"], ended=[True, False])
    # here the ids happen to be the reward model's own, so reading the text again must give the same scores
    torch.testing.assert_close(reading(texts).scores, learned(texts).scores)


def test_an_empty_path_says_how_to_train_one() -> None:
    with pytest.raises(ConfigError, match="path is empty") as caught:
        rewards.build("model", {"path": ""})
    assert caught.value.hint == "train one first: instructloop train rm"
