"""Ragged batches without padding and with shared prompts: the padded batch's numbers and gradients."""

from copy import deepcopy
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    BloomConfig,
    Gemma3TextConfig,
    MistralConfig,
    PreTrainedModel,
    Qwen3Config,
)

from instructloop.config import LoraConfig
from instructloop.data import TokenBatch, TokenSequence, collate
from instructloop.models import completion_logprobs
from instructloop.models.adapters import add_lora
from instructloop.models.packing import Packing, can_pack, hidden_at, lay_out, packing_of, set_packing
from instructloop.models.scalar import ScalarModel
from instructloop.testing import ARCHITECTURES, tiny_config, tiny_model

PROMPT = (5, 6, 7, 8)
ROWS = [
    TokenSequence((*PROMPT, 9, 2), 4),
    TokenSequence((3, 4, 9, 9, 2), 2),
    TokenSequence((*PROMPT, 10, 11, 12, 13, 14, 15, 16, 17, 18, 2), 4),
    TokenSequence((*PROMPT, 9, 20, 2), 4),
    TokenSequence((21, 22, 2), 0),
]
SHAPE = {
    "vocab_size": 60,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
OTHERS = {"mistral": MistralConfig(**SHAPE), "qwen3": Qwen3Config(**SHAPE), "gemma3": Gemma3TextConfig(**SHAPE)}


def model_of(name: str) -> PreTrainedModel:
    if name in OTHERS:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            model: PreTrainedModel = AutoModelForCausalLM.from_config(OTHERS[name]).eval()
    else:
        model = tiny_model(name, 60)
    with torch.no_grad():
        for value in model.parameters():
            if value.dim() > 1:
                value.mul_(3)
    return model


def gradients(model: torch.nn.Module, packing: Packing, loss: Any) -> tuple[Tensor, dict[str, Tensor]]:
    set_packing(model, packing)
    result = loss()
    result.backward()
    found = {name: value.grad.clone() for name, value in model.named_parameters() if value.grad is not None}
    model.zero_grad()
    return result.detach(), found


def summed(model: PreTrainedModel, batch: TokenBatch) -> Tensor:
    return completion_logprobs(model, batch).logprobs.sum()


def assert_same(one: tuple[Tensor, dict[str, Tensor]], two: tuple[Tensor, dict[str, Tensor]]) -> None:
    torch.testing.assert_close(one[0], two[0], rtol=1e-5, atol=1e-5)
    assert one[1].keys() == two[1].keys()
    scale = max(float(value.abs().max()) for value in two[1].values())
    for name in two[1]:
        torch.testing.assert_close(one[1][name], two[1][name], rtol=1e-4, atol=1e-5 * scale, msg=name)


def test_the_layout_of_three_rows_with_one_prompt_shared() -> None:
    rows = [TokenSequence((7, 8, 1), 2), TokenSequence((7, 8, 3, 4, 5), 2), TokenSequence((9,), 1)]
    layout = lay_out(collate(rows, 0))
    assert layout is not None
    assert layout.shared
    assert layout.tokens.tolist() == [[7, 8, 1, 3, 4, 5, 9]]
    assert layout.positions.tolist() == [[0, 1, 2, 2, 3, 4, 0]]
    assert layout.index.tolist() == [[0, 1, 2, 0, 0], [0, 1, 3, 4, 5], [6, 0, 0, 0, 0]]
    # 15 padded places: alone 5, together 3 + 3 = 6 (the next cut would save 4 of 10)
    assert [(block.rows, block.width, block.source.tolist()) for block in layout.blocks] == [
        (1, 5, [0, 1, 3, 4, 5]),
        (1, 3, [0, 1, 2]),
        (1, 1, [6]),
    ]
    # the prompt's home is in the row that owns it, which lies behind the longest one
    assert layout.home.tolist() == [5, 6, 7, 2, 3, 4, 8]


def test_rows_of_one_length_and_batches_with_little_padding_stay_as_they_are() -> None:
    even = collate([TokenSequence((1, 2, 3), 1), TokenSequence((4, 5, 6), 1)], 0)
    assert lay_out(even) is None
    assert lay_out(even, least_saving=0.0) is None
    nearly = collate([TokenSequence(tuple(range(30)), 1), TokenSequence(tuple(range(1, 30)), 1)], 0)
    assert lay_out(nearly) is None
    assert lay_out(nearly, least_saving=0.0) is not None


@pytest.mark.parametrize("name", [*ARCHITECTURES, *OTHERS])
@pytest.mark.parametrize("share", [True, False])
def test_completion_logprobs_and_gradients_are_those_of_the_padded_batch(name: str, share: bool) -> None:
    model = model_of(name)
    assert can_pack(model.base_model)
    rows = ROWS if share else [TokenSequence((30 + index, *row.ids[1:]), row.prompt_length) for index, row in enumerate(ROWS)]
    batch = collate(rows, 0)
    layout = lay_out(batch)
    assert layout is not None
    assert layout.shared == share
    assert layout.tokens.shape[1] == sum(map(len, rows)) - (8 if share else 0)

    def loss() -> Tensor:
        return (completion_logprobs(model, batch).logprobs * torch.linspace(-1, 2, 50).view(5, 10)).sum()

    assert_same(gradients(model, "auto", loss), gradients(model, "off", loss))


@pytest.mark.parametrize("name", ["llama", "gpt2", "gpt_neox", "qwen2"])
def test_scores_and_values_and_their_gradients_are_those_of_the_padded_batch(name: str) -> None:
    config = tiny_config(name, 60)
    config.num_labels = 1
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = ScalarModel(AutoModelForSequenceClassification.from_config(config).eval(), score_bias=0.25)
    model.reset_head(0)
    batch = collate([*ROWS, TokenSequence(PROMPT, 4)], 0)

    def loss() -> Tensor:
        scores, values, tokens = model.scores(batch), model.values(batch), model.token_scores(batch)
        return (scores * torch.arange(6.0)).sum() + (values**2).sum() + tokens.abs().sum()

    assert_same(gradients(model, "auto", loss), gradients(model, "off", loss))


@pytest.mark.parametrize("adapters", [True, False])
def test_checkpointed_layers_compute_their_packed_pass_again(adapters: bool) -> None:
    model = model_of("llama").train()
    if adapters:
        add_lora(model, LoraConfig(rank=4), seed=0)
    twin = deepcopy(model)
    twin.activation_checkpointing_enable()
    batch = collate(ROWS, 0)
    packed = gradients(twin, "auto", partial(summed, twin, batch))
    assert_same(packed, gradients(model, "off", partial(summed, model, batch)))


def test_dropout_leaves_prompts_unshared() -> None:
    config = tiny_config("gpt2", 60)
    config.resid_pdrop = 0.5
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config)
        batch = collate([ROWS[0], ROWS[0], ROWS[2]], 0)
        both = torch.tensor([0, 1])
        for training in (True, False):
            model.train(training)
            hidden = hidden_at(model, model.transformer, batch, both, torch.tensor([3, 3]))
            assert torch.equal(hidden[0], hidden[1]) != training


@pytest.mark.parametrize("window", [8, 64])
def test_rows_longer_than_a_local_window_are_left_to_the_library(window: int) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(MistralConfig(**SHAPE, sliding_window=window)).eval()
    batch = collate(ROWS, 0)
    assert_same(
        gradients(model, "auto", partial(summed, model, batch)),
        gradients(model, "off", partial(summed, model, batch)),
    )


def test_an_architecture_with_attention_of_its_own_is_run_padded() -> None:
    model = AutoModelForCausalLM.from_config(BloomConfig(vocab_size=60, hidden_size=32, n_layer=1, n_head=4)).eval()
    assert not can_pack(model.base_model)
    batch = collate(ROWS, 0)
    expected = model(batch.tokens[:1, :6]).logits[0, 3:5].log_softmax(-1)
    found = completion_logprobs(model, batch).logprobs[0, :2]
    torch.testing.assert_close(found, expected[[0, 1], [9, 2]], rtol=1e-4, atol=1e-5)


def test_other_callers_of_the_attention_notice_nothing() -> None:
    model = model_of("llama")
    ids, mask = torch.tensor([[0, 0, 5, 6], [3, 4, 5, 6]]), torch.tensor([[0, 0, 1, 1], [1, 1, 1, 1]])
    found = model(input_ids=ids, attention_mask=mask).logits[0, 2:]
    model.set_attn_implementation("eager")
    expected = model(input_ids=ids, attention_mask=mask).logits[0, 2:]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_a_model_keeps_its_setting() -> None:
    model = model_of("llama")
    assert packing_of(model) == "auto"
    set_packing(model, "off")
    assert packing_of(model) == "off"


def test_places_may_repeat_and_come_in_any_order() -> None:
    model = model_of("llama")
    batch: TokenBatch = collate(ROWS, 0)
    rows, columns = torch.tensor([2, 0, 2, 1]), torch.tensor([13, 1, 13, 0])
    found = hidden_at(model, model.model, batch, rows, columns)
    padded = model.model(batch.tokens).last_hidden_state[rows, columns]
    torch.testing.assert_close(found, padded, rtol=1e-4, atol=1e-5)
