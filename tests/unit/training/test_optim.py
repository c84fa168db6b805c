"""The optimizer's two forms, its schedule, and its guard."""

import math

import pytest
import torch
from torch import nn

from instructloop.config.shared import OptimizerConfig
from instructloop.core.errors import ConfigError, TrainingDiverged
from instructloop.training.optim import check_loss, lr_at, make_optimizer, set_lr, step_checked, trainable_parameters


def one_step(style: str, second: float) -> float:
    """Size of the first step, in learning rates, at gradient 1e-6 and eps 1e-5."""
    weight = nn.Parameter(torch.zeros(1, dtype=torch.float64))
    cfg = OptimizerConfig(lr=1.0, betas=(0.9, second), eps=1e-5, adam_style=style)
    optimizer = make_optimizer([weight], cfg)
    weight.grad = torch.full((1,), 1e-6, dtype=torch.float64)
    optimizer.step()
    return -weight.item()


@pytest.mark.parametrize(("style", "second", "size"), [("torch", 0.999, 0.0909), ("tf", 0.999, 0.00315), ("tf", 0.95, 0.0219)])
def test_the_first_step_depends_on_where_epsilon_enters_as_computed_by_hand(style: str, second: float, size: float) -> None:
    assert one_step(style, second) == pytest.approx(size, rel=5e-3)


def test_both_forms_agree_when_epsilon_is_negligible() -> None:
    finals = []
    for style in ("torch", "tf"):
        weight = nn.Parameter(torch.tensor([[1.0, -2.0]], dtype=torch.float64))
        optimizer = make_optimizer([weight], OptimizerConfig(lr=0.01, eps=1e-14, weight_decay=0.1, adam_style=style))
        if style == "tf":  # the group's own decay is what counts
            assert optimizer.param_groups[0]["weight_decay"] == 0.1
        for k in range(5):
            weight.grad = torch.tensor([[0.3 + k, -0.1]], dtype=torch.float64)
            optimizer.step()
        finals.append(weight.detach().clone())
    torch.testing.assert_close(finals[0], finals[1])


def test_vectors_and_frozen_weights_are_not_decayed() -> None:
    layer = nn.Linear(3, 2)
    frozen = nn.Parameter(torch.ones(2, 2), requires_grad=False)
    groups = make_optimizer([layer.weight, layer.bias, frozen], OptimizerConfig(weight_decay=0.1)).param_groups
    assert [(len(group["params"]), group["weight_decay"]) for group in groups] == [(1, 0.1), (1, 0.0)]
    assert groups[0]["params"][0] is layer.weight


def test_an_optimizer_without_anything_to_train_is_refused() -> None:
    with pytest.raises(ConfigError, match="nothing to train"):
        make_optimizer([nn.Parameter(torch.ones(1), requires_grad=False)], OptimizerConfig())


def test_tied_weights_are_trained_once() -> None:
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    model[1].weight = model[0].weight
    assert [name for name, _ in trainable_parameters(model)] == ["0.weight"]


def test_cosine_falls_from_the_peak_to_ten_percent_in_the_last_step() -> None:
    cfg = OptimizerConfig(lr=2.0)
    assert lr_at(0, 101, cfg) == 2.0
    assert lr_at(50, 101, cfg) == pytest.approx(2.0 * 0.55)
    assert lr_at(100, 101, cfg) == pytest.approx(0.2)
    assert lr_at(500, 101, cfg) == pytest.approx(0.2)
    assert lr_at(0, 1, cfg) == 2.0


def test_warm_up_rises_by_nine_hundredths_of_the_peak_a_step() -> None:
    cfg = OptimizerConfig(lr=1.0, warmup_steps=10, warmup_start=0.1, schedule="constant")
    assert [lr_at(i, 1000, cfg) for i in range(12)] == pytest.approx([0.1 + 0.09 * i for i in range(11)] + [1.0])


def test_linear_schedule_is_half_way_in_the_middle() -> None:
    assert lr_at(5, 11, OptimizerConfig(lr=1.0, schedule="linear", final_fraction=0.0)) == pytest.approx(0.5)


def test_set_lr_reaches_every_group() -> None:
    optimizer = make_optimizer(nn.Linear(2, 2), OptimizerConfig())
    set_lr(optimizer, 0.25)
    assert [group["lr"] for group in optimizer.param_groups] == [0.25, 0.25]


def test_clipping_scales_the_gradient_to_the_limit_and_returns_the_norm_before() -> None:
    weight = nn.Parameter(torch.zeros(2))
    weight.grad = torch.tensor([3.0, 4.0])
    norm = step_checked(torch.optim.SGD([weight], lr=1.0), [weight], 1.0)
    assert norm == pytest.approx(5.0)
    torch.testing.assert_close(weight.detach(), torch.tensor([-0.6, -0.8]), atol=1e-5, rtol=0)
    assert weight.grad is None


def test_zero_switches_clipping_off() -> None:
    weight = nn.Parameter(torch.zeros(1))
    weight.grad = torch.tensor([50.0])
    step_checked(torch.optim.SGD([weight], lr=1.0), [weight], 0.0)
    assert weight.item() == -50.0


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_an_unusable_gradient_stops_before_the_step_and_is_named(bad: float) -> None:
    model = nn.Linear(2, 1)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = make_optimizer(model, OptimizerConfig(lr=1.0))
    model.weight.grad, model.bias.grad = torch.ones(1, 2), torch.tensor([bad])
    with pytest.raises(TrainingDiverged, match="gradient of bias is not finite"):
        step_checked(optimizer, model, 1.0)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not optimizer.state


def test_an_unusable_loss_is_named_with_its_step() -> None:
    with pytest.raises(TrainingDiverged, match="sft/loss is nan at step 7"):
        check_loss(torch.tensor(math.nan), "sft/loss", 7)
    assert float(check_loss(torch.tensor(1.5), "sft/loss", 7)) == 1.5
