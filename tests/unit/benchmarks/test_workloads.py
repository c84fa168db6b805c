"""The workloads are what they say: shapes, lengths, the same rows each time; and the FLOPs counted for them."""

from statistics import fmean

import pytest
import torch
from torch import nn
from transformers import GPT2LMHeadModel, LlamaForCausalLM
from transformers.pytorch_utils import Conv1D
from useful_flops import attention, forward, head, per_episode, per_ranking, per_sampled_token, per_sft_token, trunk
from workloads import PROMPT_TOKENS, SHAPES, Shape, even_prompts, make_tokenizer, model_config, pairs_of, ragged_lengths, rankings

TOY = Shape(hidden=4, layers=2, heads=2, kv_heads=1, intermediate=6, vocab=10)


@pytest.mark.parametrize(("size", "millions"), [("tiny", 1.28), ("small", 6.77), ("base", 24.9), ("smollm2", 134.5)])
def test_sizes_have_the_weights_they_are_named_for(size: str, millions: float) -> None:
    with torch.device("meta"):
        model = LlamaForCausalLM(model_config(SHAPES[size]))
    assert sum(weight.numel() for weight in model.parameters()) / 1e6 == pytest.approx(millions, rel=5e-3)


@pytest.mark.parametrize("size", ["tiny", "smollm2", "tiny-gpt2"])
def test_the_trunk_s_weights_are_those_of_the_model_s_linear_layers(size: str) -> None:
    shape = SHAPES[size]
    with torch.device("meta"):
        model = (GPT2LMHeadModel if shape.family == "gpt2" else LlamaForCausalLM)(model_config(shape))
    linear = [
        module.weight.numel() for name, module in model.named_modules() if isinstance(module, nn.Linear | Conv1D) and name != "lm_head"
    ]
    assert sum(linear) == shape.trunk_weights


def test_forward_flops_are_counted_as_by_hand() -> None:
    # q, o: 4 x 4; k, v: 4 x 2; three MLP maps of 4 x 6; two layers
    assert TOY.trunk_weights == 2 * (2 * 16 + 2 * 8 + 3 * 24) == 240
    assert trunk(TOY, 3) == 2 * 240 * 3
    # three tokens see 1 + 2 + 3 places: 2 products x 2 FLOPs x 4 wide x 2 layers
    assert attention(TOY, 3) == 6 * 32
    assert head(TOY, 5) == 2 * 4 * 10 * 5
    assert forward(TOY, 3, 1) == 1440 + 192 + 80


def test_flops_of_a_unit_divide_by_what_is_counted() -> None:
    # 2 + 1 tokens, logits at one; three times for training; a third of it each token
    assert per_sft_token(TOY, [(2, 1)]) == forward(TOY, 3, 1)
    # two completions of one token behind a prompt of two: four tokens, which see 1 + 2 + 3 + 3 places
    assert per_ranking(TOY, 2, [1, 1]) == 3 * (2 * 240 * 4 + 9 * 32)
    # two new tokens behind one: the second is not read again
    assert per_sampled_token(TOY, 1, [2]) == forward(TOY, 2, 2) / 2
    policy, scalar = forward(TOY, 3, 2), forward(TOY, 3, 0)
    assert per_episode(TOY, [1], 2, ptx=False) == forward(TOY, 2, 2) + policy + 2 * scalar + 3 * (policy + scalar)


def test_even_prompts_have_one_length() -> None:
    tokenizer = make_tokenizer(512)
    assert {len(tokenizer.encode(prompt, add_special_tokens=False)) for prompt in even_prompts(20, tokenizer)} == {PROMPT_TOKENS}


def test_ragged_lengths_have_the_stated_mean_and_longest() -> None:
    lengths = ragged_lengths(512)
    assert max(lengths) == 159
    assert min(lengths) >= 1
    assert fmean(lengths) == pytest.approx(43, rel=0.05)
    assert ragged_lengths(512) == lengths


def test_a_ranking_of_k_gives_all_its_pairs_better_one_first() -> None:
    row = rankings(1, 4)[0]
    pairs = list(pairs_of([row]))
    assert len(pairs) == 6
    places = {text: place for place, text in enumerate(row["completions"])}
    assert all(places[pair["chosen"]] < places[pair["rejected"]] for pair in pairs)
