"""Scores and values of the scalar model."""

from pathlib import Path

import pytest
import torch
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    LlamaConfig,
    LlamaForSequenceClassification,
    PreTrainedTokenizerBase,
)

from instructloop.config import ComputeConfig
from instructloop.core.errors import ConfigError
from instructloop.data import TextCodec, TokenBatch, TokenSequence, collate
from instructloop.models import ScalarModel, load_scalar, load_tokenizer, save_causal, save_scalar
from instructloop.testing import ARCHITECTURES, save_tiny, tiny_codec, tiny_model, tiny_tokenizer

CPU = ComputeConfig(device="cpu")
ROWS = [TokenSequence((1, 5, 6, 7, 8, 2), 3), TokenSequence((1, 9, 2), 1), TokenSequence((1, 50, 60, 70, 80, 90, 100, 110), 4)]


def scalar(tmp_path: Path, arch: str = "llama", *, tokenizer: PreTrainedTokenizerBase | None = None, seed: int = 0) -> ScalarModel:
    path = save_tiny(str(tmp_path / "causal"), tiny_model(arch), tokenizer or tiny_tokenizer())
    return load_scalar(path, CPU, seed=seed)


def test_a_fresh_head_has_standard_deviation_one_over_root_d_plus_one(tmp_path: Path) -> None:
    """Spec D2, PPO-9: d = 512 gives 0.04415; the sample deviation of 512 numbers has a relative error of 1/sqrt(1024) = 3 %."""
    path = save_tiny(str(tmp_path), tiny_model("llama", hidden=512, layers=1), tiny_tokenizer())
    model = load_scalar(path, CPU, seed=3)
    assert float(model.head.weight.detach().std()) == pytest.approx(513**-0.5, rel=0.12)
    assert abs(float(model.head.weight.detach().mean())) < 4 * 513**-0.5 / 512**0.5
    assert float(model.score_bias) == 0
    assert model.head.bias is None


def test_the_head_depends_on_the_seed_and_on_nothing_else(tmp_path: Path) -> None:
    first, again, other = scalar(tmp_path, seed=1), scalar(tmp_path, seed=1), scalar(tmp_path, seed=2)
    assert torch.equal(first.head.weight, again.head.weight)
    assert not torch.equal(first.head.weight, other.head.weight)


def test_loading_leaves_the_global_generator_alone(tmp_path: Path) -> None:
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    scalar(tmp_path)
    assert torch.equal(torch.rand(1), expected)


def test_the_trunk_is_the_causal_models(tmp_path: Path) -> None:
    """PPO-11: at step 0 the reward model's trunk equals that of the SFT model."""
    model, causal = scalar(tmp_path), tiny_model("llama")
    batch = collate(ROWS, 0)
    hidden = model.trunk(input_ids=batch.tokens).last_hidden_state
    assert torch.equal(hidden, causal.model(input_ids=batch.tokens).last_hidden_state)


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_scores_are_read_at_the_last_real_token_whatever_the_padding(tmp_path: Path, arch: str) -> None:
    """PPO-8, PPO-11: each row alone is the second implementation."""
    model = scalar(tmp_path, arch)
    batch = collate(ROWS, 0)
    wide = TokenBatch(torch.cat([batch.tokens, torch.full((3, 5), 77)], 1), batch.lengths, batch.prompt_lengths)
    alone = torch.stack([model.head(model.trunk(input_ids=torch.tensor([row.ids])).last_hidden_state[0, -1])[0] for row in ROWS])
    for each in (batch, wide):
        torch.testing.assert_close(model.scores(each), alone, atol=1e-5, rtol=1e-5)


def test_the_prompt_counts(tmp_path: Path) -> None:
    """PPO-1."""
    model = scalar(tmp_path)
    one, two = collate([TokenSequence((1, 5, 9, 2), 2)], 0), collate([TokenSequence((1, 6, 9, 2), 2)], 0)
    assert abs(float((model(one) - model(two)).detach())) > 1e-4


def test_only_the_last_real_tokens_carry_gradient(tmp_path: Path) -> None:
    """PPO-8: the derivative of the scores by the scalar at any other position is 0."""
    model, batch = scalar(tmp_path), collate(ROWS, 0)
    tokens = model.token_scores(batch).detach().requires_grad_()
    tokens.gather(1, batch.last_positions[:, None]).sum().backward()
    assert tokens.grad is not None
    assert tokens.grad.nonzero().tolist() == [[0, 5], [1, 2], [2, 7]]
    torch.testing.assert_close(model.scores(batch), tokens.gather(1, batch.last_positions[:, None])[:, 0])


def test_a_value_is_read_one_position_before_its_token(tmp_path: Path) -> None:
    """V(s_t) may see the prompt and y_<t: at column t it equals the score of the row cut before token t."""
    model, batch = scalar(tmp_path), collate(ROWS, 0)
    model.score_bias.fill_(0.25)
    values = model.values(batch)
    assert values.shape == (3, 4)
    for index, row in enumerate(ROWS):
        for column in range(4):
            if column >= row.completion_length:
                assert float(values[index, column].detach()) == 0
                continue
            cut = TokenSequence(row.ids[: row.prompt_length + column], row.prompt_length)
            torch.testing.assert_close(values[index, column], model.scores(collate([cut], 0))[0], atol=1e-5, rtol=1e-5)


def test_a_value_network_copied_from_the_reward_model_agrees_with_it(tmp_path: Path) -> None:
    """PPO-13, N+ mode: at the last token its scalar is the reward model's score."""
    reward = scalar(tmp_path)
    reward.score_bias.fill_(-0.5)
    save_scalar(reward, tiny_codec(), tmp_path / "rm", card="# rm")
    value = load_scalar(tmp_path / "rm", CPU, seed=99)
    batch = collate(ROWS, 0)
    scores = value.token_scores(batch).gather(1, batch.last_positions[:, None])[:, 0]
    torch.testing.assert_close(scores, reward.scores(batch), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("pad_is_eos", [False, True])
def test_a_saved_one_opens_in_plain_transformers_equal_up_to_the_bias(tmp_path: Path, arch: str, pad_is_eos: bool) -> None:
    codec = TextCodec(tiny_tokenizer(pad_is_eos=pad_is_eos))
    model = scalar(tmp_path, arch, tokenizer=codec.tokenizer)
    model.score_bias.fill_(1.5)
    save_scalar(model, codec, tmp_path / "rm", card="# A card")
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path / "rm")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "rm")
    assert plain.config.num_labels == 1
    assert plain.config.pad_token_id == tokenizer.pad_token_id
    assert tokenizer.pad_token_id not in codec.stop_ids
    assert tokenizer.padding_side == "right"
    texts = ["hello there</s>", "a longer text that ends</s>", "cut off"]
    inputs = tokenizer(texts, return_tensors="pt", padding=True)
    rows = [TokenSequence(tuple(tokenizer(text).input_ids), 1) for text in texts]
    scores = plain(**inputs).logits[:, 0]
    torch.testing.assert_close(scores + 1.5, model.scores(collate(rows, 2)), atol=1e-5, rtol=1e-5)
    assert (tmp_path / "rm" / "README.md").read_text() == "# A card\n"


def test_a_vocabulary_without_spare_token_gets_a_padding_row(tmp_path: Path) -> None:
    """As GPT-2's, whose one special token is BOS, EOS and unknown at once."""
    tokenizer = tiny_tokenizer(pad_is_eos=True, bos=False)
    tokenizer.bos_token = tokenizer.unk_token = "</s>"
    model = scalar(tmp_path, "gpt2", tokenizer=tokenizer)
    save_scalar(model, tokenizer, tmp_path / "rm", card="x")
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path / "rm")
    assert plain.config.pad_token_id == 260
    assert plain.get_input_embeddings().weight.shape[0] == 261
    assert model.classifier.config.vocab_size == 260
    assert tokenizer.pad_token_id == 2
    batch = collate(ROWS, 260)
    torch.testing.assert_close(plain(batch.tokens).logits[:, 0], model.scores(collate(ROWS, 0)), atol=1e-5, rtol=1e-5)
    assert load_tokenizer(tmp_path / "rm").pad_token_id == 260


def test_a_classifier_of_several_labels_is_refused(tmp_path: Path) -> None:
    config = LlamaConfig(
        vocab_size=260, hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, num_labels=3, pad_token_id=0
    )
    LlamaForSequenceClassification(config).save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="3 labels"):
        load_scalar(tmp_path, CPU, seed=0)


def test_a_scalar_model_built_from_a_causal_model_is_refused() -> None:
    with pytest.raises(ConfigError, match="no scalar head"):
        ScalarModel(tiny_model("llama"))


def test_the_head_computes_in_float32_under_bfloat16(tmp_path: Path) -> None:
    path = save_tiny(str(tmp_path), tiny_model("llama"), tiny_tokenizer())
    compute = ComputeConfig(device="cpu", dtype="bfloat16")
    trained, frozen = load_scalar(path, compute, seed=0), load_scalar(path, compute, seed=0, trainable=False)
    exact = load_scalar(path, CPU, seed=0)
    batch = collate(ROWS, 0)
    assert trained.head.weight.dtype == torch.float32
    assert frozen.head.weight.dtype == torch.bfloat16
    for model in (trained, frozen):
        assert model.scores(batch).dtype == torch.float32
        torch.testing.assert_close(model.scores(batch), exact.scores(batch), atol=3e-2, rtol=3e-2)


def test_saving_a_policy_keeps_tokenizer_template_and_stop_tokens(tmp_path: Path) -> None:
    codec = tiny_codec(chat=True)
    save_causal(tiny_model("llama"), codec, tmp_path, card="# Policy")
    again = load_tokenizer(tmp_path)
    assert again.chat_template == codec.tokenizer.chat_template
    assert again.encode("hello") == codec.tokenizer.encode("hello")
