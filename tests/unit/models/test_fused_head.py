"""Head, softmax and choice in one step against the same taken apart."""

from copy import deepcopy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from instructloop.models import fast_linear, fused_head
from instructloop.models.fast_linear import speed_up
from instructloop.models.fused_head import fusible, head_logprobs


def case(bias: bool, spread: float) -> tuple[nn.Linear, Tensor, Tensor, Tensor]:
    draws = torch.Generator().manual_seed(5)
    head = nn.Linear(16, 50, bias=bias)
    with torch.no_grad():
        for value in head.parameters():
            value.copy_(torch.randn(value.shape, generator=draws) * spread)
    return (
        head,
        torch.randn(9, 16, generator=draws),
        torch.randint(0, 50, (9,), generator=draws),
        torch.randn(9, generator=draws),
    )


def in_parts(head: nn.Linear, hidden: Tensor, targets: Tensor, temperature: float) -> Tensor:
    """Double precision, one operation after another."""
    bias = None if head.bias is None else head.bias.double()
    logits = F.linear(hidden.double(), head.weight.double(), bias) / temperature
    return F.log_softmax(logits, -1).gather(1, targets[:, None]).squeeze(1)


@pytest.mark.parametrize("spread", [0.3, 20.0])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("width", [2, 9, 100])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("fast", [True, False])
def test_values_and_gradients_are_those_of_the_separate_operations(
    spread: float, temperature: float, width: int, bias: bool, fast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fast_linear, "SMALLEST_PRODUCT", 1)
    head, hidden, targets, upstream = case(bias, spread)
    plain, twin = deepcopy(head), hidden.clone().requires_grad_()
    if fast and fast_linear.onednn_works():
        speed_up(head, "onednn")
    hidden.requires_grad_()
    found, expected = head_logprobs(head, hidden, targets, temperature, width), in_parts(plain, twin, targets, temperature)
    assert found.dtype == torch.float32
    # at spread 20 the targets lie up to 300 nats below the top: far below the smallest float32 probability
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)
    found.backward(upstream)
    expected.backward(upstream.double())
    torch.testing.assert_close(hidden.grad, twin.grad, rtol=1e-4, atol=1e-5 * spread)
    for one, two in zip(head.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one.grad, two.grad, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("width", [4, 20])
def test_a_second_backward_pass_gives_the_gradient_again(width: int) -> None:
    head, hidden, targets, upstream = case(True, 1.0)
    result = head_logprobs(head, hidden, targets, 1.0, width)
    result.backward(upstream, retain_graph=True)
    first = head.weight.grad.clone()
    head.weight.grad = None
    result.backward(upstream)
    torch.testing.assert_close(head.weight.grad, first, rtol=1e-6, atol=1e-6)


def test_a_frozen_head_gets_no_gradient_and_hands_one_on() -> None:
    head, hidden, targets, _ = case(False, 1.0)
    head.requires_grad_(False)
    hidden.requires_grad_()
    head_logprobs(head, hidden, targets, 1.0, 3).sum().backward()
    assert head.weight.grad is None
    assert hidden.grad is not None
    with torch.no_grad():
        assert not head_logprobs(head, hidden, targets, 1.0, 3).requires_grad


def test_under_autocast_the_product_is_bfloat16_and_the_softmax_float32() -> None:
    head, hidden, targets, _ = case(False, 1.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = head(hidden)
        assert logits.dtype == torch.bfloat16
        result = head_logprobs(head, hidden, targets, 1.0, 100)
    expected = F.log_softmax(logits.float(), -1).gather(1, targets[:, None]).squeeze(1)
    torch.testing.assert_close(result, expected, rtol=1e-6, atol=1e-6)
    result.sum().backward()
    assert head.weight.grad.dtype == torch.float32


@pytest.mark.parametrize("spread", [0.1, 30.0])
def test_both_ways_to_normalize_agree(spread: float) -> None:
    logits = torch.randn(7, 300, generator=torch.Generator().manual_seed(0)) * spread
    expected = logits.double().logsumexp(-1), logits.double().softmax(-1)
    for normalize in (fused_head._normalize_by_softmax, fused_head._normalize_by_logsumexp):
        normalizer, probabilities = normalize(logits.clone())
        torch.testing.assert_close(normalizer.double(), expected[0], rtol=1e-6, atol=1e-5)
        torch.testing.assert_close(probabilities.double(), expected[1], rtol=1e-4, atol=1e-7)


def test_only_a_bare_linear_head_is_fused() -> None:
    head = nn.Linear(4, 4)
    assert fusible(head)
    head.register_forward_pre_hook(lambda *_: None)
    assert not fusible(head)
    assert not fusible(nn.Sequential(nn.Linear(4, 4)))
