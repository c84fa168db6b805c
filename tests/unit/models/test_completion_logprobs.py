"""Completion log-probabilities against the model's own full forward."""

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    CohereConfig,
    CohereForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GraniteConfig,
    GraniteForCausalLM,
    PreTrainedModel,
)

from instructloop.core.errors import ConfigError
from instructloop.data import TokenBatch, TokenSequence, collate
from instructloop.models import completion_logprobs, text_nll, trunk_and_head
from instructloop.models import logprobs as module
from instructloop.testing import ARCHITECTURES, tiny_model

ROWS = [TokenSequence((1, 5, 6, 7, 8, 2), 3), TokenSequence((1, 9, 2), 1), TokenSequence(tuple(range(4, 20)), 4)]


def sharpened(model: PreTrainedModel) -> PreTrainedModel:
    """Larger weights, so that logits are far from zero and mistakes show."""
    with torch.no_grad():
        for value in model.parameters():
            if value.dim() > 1:
                value.mul_(4)
    return model


def by_hand(model: PreTrainedModel, row: TokenSequence, temperature: float) -> tuple[list[float], list[float]]:
    """One row, no padding, full logits, in double precision from the logits on."""
    logits = model(torch.tensor([row.ids])).logits[0].detach().double() / temperature
    logprobs = logits - logits.logsumexp(-1, keepdim=True)
    places = range(row.prompt_length, len(row))
    chosen = [float(logprobs[place - 1, row.ids[place]]) for place in places]
    entropy = [float(-(logprobs[place - 1].exp() * logprobs[place - 1]).sum()) for place in places]
    return chosen, entropy


def assert_equals_full_forward(model: PreTrainedModel, temperature: float) -> None:
    result = completion_logprobs(model, collate(ROWS, 0), temperature=temperature, entropy=True)
    assert result.entropies is not None
    assert result.logprobs.shape == (3, 12)
    for index, row in enumerate(ROWS):
        chosen, entropy = by_hand(model, row, temperature)
        padding = [0.0] * (12 - len(chosen))
        torch.testing.assert_close(result.logprobs[index].detach(), torch.tensor(chosen + padding), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(result.entropies[index].detach(), torch.tensor(entropy + padding), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_they_equal_the_full_forward_of_each_architecture(arch: str, temperature: float) -> None:
    model = sharpened(tiny_model(arch))
    assert trunk_and_head(model) is not None
    assert_equals_full_forward(model, temperature)


def odd_models() -> list[PreTrainedModel]:
    shape = {
        "vocab_size": 64,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        return [
            CohereForCausalLM(CohereConfig(**shape, logit_scale=0.25)).eval(),
            GraniteForCausalLM(GraniteConfig(**shape, logits_scaling=8.0)).eval(),
            Gemma2ForCausalLM(Gemma2Config(**shape, head_dim=8, final_logit_softcapping=3.0, attn_implementation="eager")).eval(),
        ]


@pytest.mark.parametrize("index", range(3), ids=["logit scale", "logit division", "soft-capping"])
def test_architectures_that_change_the_logits_after_the_head_fall_back_to_their_own_forward(index: int) -> None:
    model = sharpened(odd_models()[index])
    assert trunk_and_head(model) is None
    assert_equals_full_forward(model, 0.7)


def test_soft_capping_is_found_even_where_all_logits_are_tiny() -> None:
    model = odd_models()[2]
    with torch.no_grad():
        for value in model.parameters():
            value.mul_(1e-3)
    assert trunk_and_head(model) is None


def test_a_new_head_is_noticed() -> None:
    model = tiny_model("llama")
    before = completion_logprobs(model, collate(ROWS, 0)).logprobs
    model.lm_head = nn.Linear(32, 260, bias=False)
    assert_equals_full_forward(model, 1.0)
    assert not torch.allclose(before, completion_logprobs(model, collate(ROWS, 0)).logprobs)


def test_taking_a_model_apart_leaves_mode_and_gradients_alone() -> None:
    model = tiny_model("gpt2").train()
    model.transformer.h[0].eval()
    trunk_and_head(model)
    assert model.training
    assert not model.transformer.h[0].training
    assert not model.transformer.h[0].mlp.training
    assert model.transformer.h[1].mlp.training
    assert all(value.grad is None for value in model.parameters())


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_padding_and_its_token_id_change_nothing(arch: str) -> None:
    model = sharpened(tiny_model(arch))
    short = collate(ROWS[:2], 0)
    wide = TokenBatch(torch.cat([short.tokens, torch.full((2, 9), 7)], 1), short.lengths, short.prompt_lengths)
    torch.testing.assert_close(completion_logprobs(model, short).logprobs, completion_logprobs(model, wide).logprobs, atol=1e-5, rtol=1e-5)
    alone = completion_logprobs(model, collate(ROWS[1:2], 2)).logprobs
    torch.testing.assert_close(completion_logprobs(model, short).logprobs[1:, : alone.shape[1]], alone, atol=1e-5, rtol=1e-5)


def test_chunks_give_the_same_values_and_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    model = sharpened(tiny_model("qwen2"))
    batch = collate(ROWS, 0)

    def run() -> tuple[Tensor, list[Tensor]]:
        model.zero_grad()
        result = completion_logprobs(model, batch, temperature=0.9, entropy=True)
        assert result.entropies is not None
        (result.logprobs.sum() + 0.5 * result.entropies.square().sum()).backward()
        return result.logprobs.detach(), [value.grad.clone() for value in model.parameters() if value.grad is not None]

    whole, gradients = run()
    monkeypatch.setattr(module, "CHUNK_ELEMENTS", 260 * 5)  # 5 of the 17 completion tokens at a time
    pieces, in_pieces = run()
    torch.testing.assert_close(whole, pieces)
    torch.testing.assert_close(gradients, in_pieces)


def test_the_head_sees_completion_positions_only() -> None:
    model = tiny_model("llama")
    trunk_and_head(model)
    seen: list[tuple[int, ...]] = []
    model.lm_head.register_forward_hook(lambda _module, inputs, _output: seen.append(tuple(inputs[0].shape)))
    completion_logprobs(model, collate(ROWS, 0))
    assert seen == [(3 + 2 + 12, 32)]


def test_a_row_without_prompt_has_no_first_log_probability() -> None:
    model = tiny_model("llama")
    result = completion_logprobs(model, collate([TokenSequence((5, 6, 7), 0)], 0))
    assert result.mask.tolist() == [[False, True, True]]
    with_prompt = completion_logprobs(model, collate([TokenSequence((5, 6, 7), 1)], 0))
    torch.testing.assert_close(result.logprobs[0, 1:], with_prompt.logprobs[0])


def test_soft_max_runs_in_float32_under_bfloat16_weights() -> None:
    """ppo-details PPO-33: in bfloat16 the probabilities of a step would sum to 1 within 1e-2 at best."""
    model = tiny_model("llama").to(torch.bfloat16)
    batch = collate([TokenSequence((1, 5, token), 2) for token in range(260)], 0)
    result = completion_logprobs(model, batch)
    assert result.logprobs.dtype == torch.float32
    assert float(result.logprobs.exp().sum().detach()) == pytest.approx(1, abs=1e-3)


def test_text_loss_equals_the_models_own() -> None:
    model = sharpened(tiny_model("gpt_neox"))
    blocks = torch.arange(4, 44).reshape(4, 10)
    torch.testing.assert_close(text_nll(model, blocks), model(blocks, labels=blocks).loss, atol=1e-5, rtol=1e-5)


def test_text_of_one_token_and_temperature_zero_are_refused() -> None:
    model = tiny_model("llama")
    with pytest.raises(ConfigError, match="1 token"):
        text_nll(model, torch.ones(3, 1, dtype=torch.long))
    with pytest.raises(ConfigError, match="temperature"):
        completion_logprobs(model, collate(ROWS, 0), temperature=0)


def test_without_dropout_two_forwards_in_training_mode_are_bit_equal() -> None:
    """ppo-details PPO-14, with a model whose modules do hold dropout layers."""
    model = tiny_model("gpt2").train()
    assert any(isinstance(layer, nn.Dropout) for layer in model.modules())
    batch = collate(ROWS, 0)
    assert torch.equal(completion_logprobs(model, batch).logprobs, completion_logprobs(model, batch).logprobs)
