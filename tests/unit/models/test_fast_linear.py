"""Linear layers through oneDNN: the numbers of torch's own, and modules that stay what they were."""

import pickle
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from instructloop.config import ComputeConfig, LoraConfig
from instructloop.core.errors import ConfigError
from instructloop.models import fast_linear, load
from instructloop.models.adapters import add_lora, plain_state_dict, reference_of
from instructloop.models.fast_linear import FastConv1D, FastLinear, speed_up
from instructloop.testing import ARCHITECTURES, tiny_model

needs_onednn = pytest.mark.skipif(not fast_linear.onednn_works(), reason="this torch has no oneDNN")


@pytest.fixture
def every_product(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small models too take the fast path."""
    monkeypatch.setattr(fast_linear, "SMALLEST_PRODUCT", 1)


def drawn(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


@needs_onednn
@pytest.mark.usefixtures("every_product")
@pytest.mark.parametrize("shape", [(7,), (2, 5), (1,), (2, 3, 4)])
@pytest.mark.parametrize("biased", [True, False])
def test_values_and_all_three_gradients_are_those_of_torch(shape: tuple[int, ...], biased: bool) -> None:
    layer = nn.Linear(24, 40, bias=biased)
    twin = deepcopy(layer)
    assert speed_up(twin, "onednn") == 1
    x, upstream = drawn(*shape, 24), drawn(*shape, 40)
    inputs = [x.clone().requires_grad_() for _ in range(2)]
    results = [module(one) for module, one in zip((layer, twin), inputs, strict=True)]
    for result in results:
        result.backward(upstream)
    torch.testing.assert_close(results[1], results[0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(inputs[1].grad, inputs[0].grad, rtol=1e-5, atol=1e-5)
    for one, two in zip(layer.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(two.grad, one.grad, rtol=1e-5, atol=1e-5)
        assert two.grad is not None
        assert two.grad.is_contiguous()
    with torch.no_grad():
        torch.testing.assert_close(twin(x), layer(x), rtol=1e-5, atol=1e-5)


@needs_onednn
@pytest.mark.usefixtures("every_product")
@pytest.mark.parametrize(
    "view", [lambda x: x.t(), lambda x: x[:, ::2][:, :24], lambda x: x[1:, 3:27], lambda x: x[:1].expand(6, -1)[:, :24]]
)
def test_views_of_any_layout_are_read_as_they_are(view: Callable[[Tensor], Tensor]) -> None:
    x = view(drawn(24, 24) if view(torch.zeros(24, 24)).shape == (24, 24) else drawn(9, 60))
    layer = nn.Linear(24, 16)
    expected = F.linear(x, layer.weight, layer.bias)
    speed_up(layer, "onednn")
    torch.testing.assert_close(layer(x), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(layer(x).sum(), expected.sum(), rtol=1e-5, atol=1e-4)


@needs_onednn
@pytest.mark.usefixtures("every_product")
def test_only_gradients_that_are_asked_for_are_made() -> None:
    layer = nn.Linear(8, 8)
    speed_up(layer, "onednn")
    layer.weight.requires_grad_(False)
    x = drawn(3, 8).requires_grad_()
    layer(x).sum().backward()
    assert layer.weight.grad is None
    assert layer.bias.grad is not None
    torch.testing.assert_close(x.grad, layer.weight.sum(0).expand(3, 8), rtol=1e-5, atol=1e-5)


@needs_onednn
@pytest.mark.usefixtures("every_product")
def test_other_precisions_autocast_and_empty_batches_go_the_usual_way() -> None:
    layer = nn.Linear(8, 8)
    plain, x = deepcopy(layer), drawn(3, 8)
    speed_up(layer, "onednn")
    assert layer(x[:0]).shape == (0, 8)
    assert torch.equal(layer.double()(x.double()), plain.double()(x.double()))
    layer.float(), plain.float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16
        assert torch.equal(layer(x), plain(x))


@needs_onednn
@pytest.mark.usefixtures("every_product")
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_a_model_computes_and_learns_the_same(arch: str) -> None:
    model = tiny_model(arch)
    twin = deepcopy(model)
    assert speed_up(twin, "onednn") > 8
    kinds = {type(module) for module in twin.modules()}
    assert nn.Linear not in kinds
    assert kinds & {FastLinear, FastConv1D}
    ids = torch.arange(3, 63).reshape(4, 15)
    for one in (model, twin):
        one(input_ids=ids, labels=ids).loss.backward()
    torch.testing.assert_close(twin(ids).logits, model(ids).logits, rtol=1e-4, atol=1e-5)
    for (name, one), two in zip(model.named_parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(two.grad, one.grad, rtol=1e-4, atol=1e-6, msg=name)
    assert speed_up(twin, "onednn") == 0


@needs_onednn
@pytest.mark.usefixtures("every_product")
@pytest.mark.parametrize("arch", ["llama", "gpt2"])
def test_copies_pickles_adapters_and_saved_directories_are_as_ever(arch: str, tmp_path: Path) -> None:
    model = tiny_model(arch)
    ids = torch.arange(3, 23)[None]
    expected = model(ids).logits
    names = list(model.state_dict())
    speed_up(model, "onednn")
    assert list(model.state_dict()) == names
    for twin in (deepcopy(model), pickle.loads(pickle.dumps(model))):
        torch.testing.assert_close(twin(ids).logits, expected, rtol=1e-4, atol=1e-5)
    model.save_pretrained(tmp_path)
    torch.testing.assert_close(AutoModelForCausalLM.from_pretrained(tmp_path)(ids).logits, expected, rtol=1e-4, atol=1e-5)
    add_lora(model, LoraConfig(rank=4), seed=0)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "lora_B" in name:
                value.add_(0.05)
    adapted = model(ids)
    adapted.logits.sum().backward()
    assert all(value.grad is not None for name, value in model.named_parameters() if "lora_" in name)
    with reference_of(model):
        torch.testing.assert_close(model(ids).logits, expected, rtol=1e-4, atol=1e-5)
    plain = tiny_model(arch)
    plain.load_state_dict(plain_state_dict(model), strict=False)
    torch.testing.assert_close(plain(ids).logits, adapted.logits, rtol=1e-3, atol=1e-4)


def test_auto_takes_the_kernels_of_the_processor_and_torch_none(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model()
    assert speed_up(model, "torch") == 0
    monkeypatch.setattr(fast_linear, "_vendor", lambda: "GenuineIntel")
    fast_linear.onednn_pays.cache_clear()
    try:
        assert speed_up(model) == 0
    finally:
        fast_linear.onednn_pays.cache_clear()
    monkeypatch.setattr(fast_linear, "onednn_works", lambda: False)
    with pytest.raises(ConfigError, match="onednn"):
        speed_up(model, "onednn")


@needs_onednn
def test_loading_applies_the_setting(tmp_path: Path) -> None:
    tiny_model().save_pretrained(tmp_path)
    for matmul, kind in (("onednn", FastLinear), ("torch", nn.Linear)):
        loaded = load.load_causal(tmp_path, ComputeConfig(device="cpu", matmul=matmul))
        assert type(loaded.model.layers[0].mlp.up_proj) is kind
        scalar = load.load_scalar(tmp_path, ComputeConfig(device="cpu", matmul=matmul), seed=0)
        assert type(scalar.trunk.layers[0].mlp.up_proj) is kind
    half = load.load_causal(tmp_path, ComputeConfig(device="cpu", dtype="bfloat16", matmul="onednn"))
    assert type(half.model.layers[0].mlp.up_proj) is nn.Linear
