"""Adapters through oneDNN give peft's numbers and gradients."""

import pytest
import torch
from peft.tuners.lora import Linear as PeftLinear
from torch import nn

from instructloop.config import LoraConfig
from instructloop.models import add_lora, reference_of
from instructloop.models.fast_linear import onednn_works, speed_up
from instructloop.models.fast_lora import FastLora, add_low_rank, fused_sum_works
from instructloop.testing import tiny_model

pytestmark = pytest.mark.skipif(not (onednn_works() and fused_sum_works()), reason="this torch has no oneDNN products")


def random_model(arch: str, *, dropout: float = 0.0) -> nn.Module:
    """Wide enough that its products go through oneDNN, with adapters away from their start."""
    model = tiny_model(arch, hidden=128, context=64)  # type: ignore[arg-type]
    speed_up(model, "onednn")
    add_lora(model, LoraConfig(rank=4, dropout=dropout), seed=0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "lora_B" in name:
                value.copy_(torch.randn(value.shape, generator=generator) * 0.1)
    return model


def fast_layers(model: nn.Module) -> list[FastLora]:
    return [module for module in model.modules() if isinstance(module, FastLora)]


def as_peft_makes_it(model: nn.Module) -> nn.Module:
    for module in fast_layers(model):
        module.__class__ = PeftLinear
    return model


IDS = torch.randint(3, 200, (4, 60), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("arch", ["llama", "gpt2"])
def test_logits_and_gradients_are_those_of_peft(arch: str) -> None:
    fast, slow = random_model(arch), as_peft_makes_it(random_model(arch))
    assert len(fast_layers(fast)) >= 8
    assert not fast_layers(slow)
    logits = [model(input_ids=IDS).logits for model in (fast, slow)]
    torch.testing.assert_close(*logits, rtol=1e-4, atol=1e-5)
    for one in logits:
        one.square().mean().backward()
    for (name, mine), theirs in zip(fast.named_parameters(), slow.parameters(), strict=True):
        assert (mine.grad is None) == (theirs.grad is None), name
        if mine.grad is not None:
            torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-3, atol=1e-7, msg=name)
    with torch.no_grad():
        assert torch.equal(fast(input_ids=IDS).logits, logits[0])  # without gradients the same way is taken


def test_the_step_is_its_formula_and_leaves_its_arguments_alone() -> None:
    draw = torch.Generator().manual_seed(0)
    result, x = torch.randn(3, 70, 48, generator=draw), torch.randn(3, 70, 32, generator=draw)
    a, b = torch.randn(4, 32, generator=draw) / 8, torch.randn(48, 4, generator=draw) / 8
    gradients = []
    for step in (add_low_rank, lambda result, x, a, b, scale: result + scale * (x @ a.T @ b.T)):
        leaves = [value.clone().requires_grad_(True) for value in (result, x, a, b)]
        found = step(*leaves, 2.5)
        found.sin().sum().backward()
        assert all(torch.equal(leaf, value) for leaf, value in zip(leaves, (result, x, a, b), strict=True))
        gradients.append((found, *(leaf.grad for leaf in leaves)))
    for mine, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-3)


def test_with_dropout_in_training_and_with_adapters_off_peft_computes() -> None:
    fast, slow = random_model("llama", dropout=0.5), as_peft_makes_it(random_model("llama", dropout=0.5))
    outputs = []
    for model in (fast.train(), slow.train()):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            outputs.append(model(input_ids=IDS).logits)
    assert torch.equal(*outputs)
    fast.eval(), slow.eval()
    assert not torch.equal(fast(input_ids=IDS).logits, slow(input_ids=IDS).logits)  # the quick way again, rounded otherwise
    with reference_of(fast), reference_of(slow):
        assert torch.equal(fast(input_ids=IDS).logits, slow(input_ids=IDS).logits)


def test_without_onednn_layers_adapters_stay_peft_s_own() -> None:
    model = tiny_model("llama")
    add_lora(model, LoraConfig(rank=4), seed=0)
    assert not fast_layers(model)
    assert any(type(module) is PeftLinear for module in model.modules())
