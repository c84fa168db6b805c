"""One iteration's optimizer steps: minibatches, micro-batches, and two gradients in one step."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from instructloop.config import ComputeConfig, OptimizerConfig, PPOConfig
from instructloop.core.errors import TrainingDiverged
from instructloop.models.logprobs import completion_logprobs, text_nll
from instructloop.training.optim import make_optimizer
from instructloop.training.ppo_update import (
    Meter,
    add_pretrain_gradient,
    minibatches,
    policy_gradient,
    ppo_epochs,
    pretrain_rows,
    value_gradient,
)

PTX = {"ptx_coef": 3.0, "ptx_per_episode": 1, "ptx_tokens": 10, "pretrain_data": "texts.jsonl"}


def gradients(model: torch.nn.Module) -> dict[str, Tensor]:
    found = {name: value.grad.clone() for name, value in model.named_parameters() if value.grad is not None}
    for value in model.parameters():
        value.grad = None
    return found


def update(scene: Any, cfg: PPOConfig | None = None, *, blocks: Tensor | None = None, step: int = 0) -> tuple[dict[str, float], Any]:
    cfg = cfg or scene.cfg
    optimizer = make_optimizer(scene.policy, cfg.optimizer)
    metrics = ppo_epochs(
        cfg,
        step=step,
        policy=scene.policy,
        value_model=scene.value_model,
        policy_optimizer=optimizer,
        value_optimizer=make_optimizer(scene.value_model, cfg.value_optimizer),
        batch=scene.rollouts.batch,
        targets=scene.targets,
        pretrain_blocks=blocks,
    )
    return metrics, optimizer


def test_each_inner_epoch_visits_every_rollout_once_in_a_fresh_order() -> None:
    """PPO-17."""
    cfg = PPOConfig(batch_size=12, minibatches=3, inner_epochs=2)
    parts = list(minibatches(cfg, step=4))
    assert [number for number, _ in parts] == [0, 1, 2, 3, 4, 5]
    assert [len(rows) for _, rows in parts] == [4] * 6
    first, second = ([row for _, rows in parts[start : start + 3] for row in rows] for start in (0, 3))
    assert sorted(first) == sorted(second) == list(range(12))
    assert first != second
    assert [row for _, rows in minibatches(cfg, step=5) for row in rows][:12] != first


def test_the_gradient_does_not_depend_on_the_micro_batches(scene) -> None:
    """PPO-17, PPO-29: one, two and eight micro-batches give the same gradients of both networks."""
    found = []
    for budget in (4096, 60, 16):
        one = scene(compute=ComputeConfig(device="cpu", micro_batch_tokens=budget))
        rows = list(range(8))
        policy_gradient(one.cfg, one.policy, one.rollouts.batch, one.targets, rows, Meter(), step=0)
        value_gradient(one.cfg, one.value_model, one.rollouts.batch, one.targets, rows, Meter(), step=0)
        found.append(gradients(one.policy) | gradients(one.value_model))
    for other in found[1:]:
        assert other.keys() == found[0].keys()
        for name, value in other.items():
            torch.testing.assert_close(value, found[0][name], rtol=1e-4, atol=1e-7)


def test_the_policy_gradient_is_that_of_the_mean_over_all_tokens(scene) -> None:
    """With ratio 1 the clipped surrogate's gradient is that of -mean(A log pi): a second way to compute it."""
    one = scene()
    rows = [5, 0, 3]
    policy_gradient(one.cfg, one.policy, one.rollouts.batch, one.targets, rows, Meter(), step=0)
    found = gradients(one.policy)
    new = completion_logprobs(one.policy, one.rollouts.batch)
    weight = (one.targets.advantages * one.targets.mask)[rows]
    (-(new.logprobs[rows] * weight).sum() / one.targets.mask[rows].sum()).backward()
    for name, value in gradients(one.policy).items():
        torch.testing.assert_close(found[name], value, rtol=1e-3, atol=1e-6)


def test_the_gradient_of_a_step_is_the_ppo_gradient_plus_gamma_times_the_pretraining_gradient(scene) -> None:
    """X1: g = g_ppo + gamma g_ptx, to 1e-6."""
    one = scene(**PTX)
    rows, blocks = [1, 4, 6, 7], one.blocks[[0, 5, 2, 9]]
    policy_gradient(one.cfg, one.policy, one.rollouts.batch, one.targets, rows, Meter(), step=0)
    ppo = gradients(one.policy)
    text_nll(one.policy, blocks).backward()
    ptx = gradients(one.policy)
    meter = Meter()
    policy_gradient(one.cfg, one.policy, one.rollouts.batch, one.targets, rows, meter, step=0)
    add_pretrain_gradient(one.cfg, one.policy, blocks, meter, step=0)
    both = gradients(one.policy)
    for name, value in both.items():
        torch.testing.assert_close(value, ppo.get(name, torch.zeros_like(value)) + 3.0 * ptx[name], rtol=0, atol=1e-6)

    def norm(parts: dict[str, Tensor]) -> float:
        return sum(float(part.square().sum()) for part in parts.values()) ** 0.5

    logged = meter.read()  # X4: both norms and their ratio
    assert logged["grad_norm_ppo"] == pytest.approx(norm(ppo), rel=1e-4)
    assert logged["grad_norm_ptx"] == pytest.approx(3.0 * norm(ptx), rel=1e-4)
    assert logged["grad_norm_ratio"] == pytest.approx(3.0 * norm(ptx) / norm(ppo), rel=1e-4)
    assert logged["ptx_loss"] == pytest.approx(text_nll(one.policy, blocks).item(), rel=1e-5)


def test_both_gradients_share_one_optimizer_step_per_minibatch(scene) -> None:
    """X1, X3: Adam has counted as many steps as there were minibatches, not twice as many."""
    one = scene(**PTX, inner_epochs=2)
    _, optimizer = update(one, blocks=one.blocks)
    assert {int(state["step"]) for state in optimizer.state.values()} == {4}


def test_the_factor_gamma_keeps_its_meaning(scene) -> None:
    """X3: with one shared step a larger gamma moves the weights further towards the pretraining text."""
    losses = []
    for gamma in (0.01, 3.0, 100.0):
        one = scene(**(PTX | {"ptx_coef": gamma}))
        for step in range(3):
            update(one, blocks=one.blocks, step=step)
        losses.append(text_nll(one.policy, one.blocks).item())
    assert losses[0] > losses[1] > losses[2]


def test_gamma_zero_is_ppo_bit_for_bit(scene) -> None:
    """X2: blocks are there, but without weight nothing of them reaches the policy."""
    plain, mixed = scene(), scene(**(PTX | {"ptx_coef": 0.0}))
    plain_metrics, _ = update(plain)
    mixed_metrics, _ = update(mixed, blocks=mixed.blocks)
    assert plain_metrics == mixed_metrics
    for one, two in zip(plain.policy.parameters(), mixed.policy.parameters(), strict=True):
        assert torch.equal(one, two)


def test_pretraining_blocks_are_a_function_of_the_step_and_all_get_their_turn() -> None:
    cfg = PPOConfig(batch_size=8, minibatches=2, ptx_per_episode=2)
    rows = [pretrain_rows(cfg, step, number, 16) for step in range(2) for number in range(2)]
    assert [len(part) for part in rows] == [8, 8, 8, 8]
    assert sorted(rows[0] + rows[1]) == sorted(rows[2] + rows[3]) == list(range(16))


def test_the_first_ratio_is_one(scene) -> None:
    """PPO-23, KILL-5: rollout log-probs are those of the update; later minibatches have moved."""
    one = scene(optimizer=OptimizerConfig(lr=1e-2, schedule="constant"), inner_epochs=2)
    metrics, _ = update(one)
    assert metrics["first_ratio_deviation"] < 1e-4
    assert metrics["ratio_max"] > 1.01
    assert metrics["ratio_min"] < 0.99


def test_a_foreign_log_probability_shows_in_the_first_ratio(scene) -> None:
    one = scene()
    off = replace_targets(one, old_logprobs=one.targets.old_logprobs - 0.01)
    metrics, _ = update(off)
    assert metrics["first_ratio_deviation"] == pytest.approx(torch.tensor(0.01).exp().item() - 1, rel=1e-2)


def test_value_warm_up_leaves_the_policy_alone(scene) -> None:
    one = scene(value_warmup_steps=1)
    before = copy.deepcopy(one.policy.state_dict())
    metrics, _ = update(one)
    assert all(torch.equal(before[name], value) for name, value in one.policy.state_dict().items())
    assert "policy_loss" not in metrics
    assert metrics["value_loss"] > 0


def test_a_loss_that_is_not_a_number_stops_before_the_step(scene) -> None:
    one = scene()
    broken = replace_targets(one, advantages=one.targets.advantages * float("nan"))
    before = copy.deepcopy(one.policy.state_dict())
    with pytest.raises(TrainingDiverged, match="policy loss"):
        update(broken)
    assert all(torch.equal(before[name], value) for name, value in one.policy.state_dict().items())


def test_padding_carries_no_gradient(scene) -> None:
    """T11: whatever stands in padded slots of the targets changes nothing."""
    one = scene()
    if bool(one.targets.mask.all()):
        short = one.rollouts.batch.prompt_lengths + 3
        one.rollouts.batch.lengths[:4] = short[:4]
        one = one._replace(targets=one.targets._replace(mask=one.rollouts.batch.completion_mask))
    rows = list(range(8))
    policy_gradient(one.cfg, one.policy, one.rollouts.batch, one.targets, rows, Meter(), step=0)
    clean = gradients(one.policy)
    junk = one.targets.advantages.masked_fill(~one.targets.mask, 1e6)
    policy_gradient(one.cfg, one.policy, one.rollouts.batch, one.targets._replace(advantages=junk), rows, Meter(), step=0)
    for name, value in gradients(one.policy).items():
        assert torch.equal(value, clean[name])


def replace_targets(scene: Any, **changes: Tensor) -> Any:
    return scene._replace(targets=scene.targets._replace(**changes))


def test_the_minibatch_gradient_is_clipped_as_one(scene) -> None:
    """One global norm over both terms, not one for each."""
    one = scene(**PTX, optimizer=OptimizerConfig(lr=1e-3, schedule="constant", max_grad_norm=1e-3))
    metrics, _ = update(one, blocks=one.blocks)
    assert metrics["grad_norm"] > 1e-3
    assert metrics["grad_norm"] < metrics["grad_norm_ppo"] + metrics["grad_norm_ptx"] + 1e-6
