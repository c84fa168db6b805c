"""Schedules, averages, the KL controller, the reward's unit, and what is restored after a stop."""

from pathlib import Path

import pytest
import torch
from torch import nn

from instructloop.config import OptimizerConfig, PPOConfig
from instructloop.core.errors import RewardError
from instructloop.testing import tiny_model
from instructloop.training.ppo_state import (
    Learner,
    RewardUnit,
    alarm_limits,
    ema_decay,
    express_values_in,
    measured_unit,
    switch_off_dropout,
)

QUIET = {
    "kl": 0.1,
    "kl_se": 0.1,
    "entropy": 1.0,
    "eos_rate": 1.0,
    "length": 5.0,
    "explained_variance": 0.1,
    "reward": 0.0,
    "reward_std": 1.0,
}


def learner(scene, **overrides: object) -> Learner:
    one = scene(**overrides)
    return Learner.start(one.cfg, one.policy, one.value_model)


def test_the_learning_rate_warms_up_over_ten_iterations_and_stays(scene) -> None:
    """PPO-36: peak * (.1 + .09 i) for i < 10, then the constant peak; the same for all minibatches of an iteration."""
    one = learner(scene, steps=45, optimizer=OptimizerConfig(lr=2e-4, schedule="constant", warmup_steps=10, warmup_start=0.1))
    rates = [one.set_learning_rates(step)["lr"] for step in range(45)]
    assert rates[:10] == pytest.approx([2e-4 * (0.1 + 0.09 * i) for i in range(10)])
    assert rates[10:] == [2e-4] * 35
    assert {group["lr"] for group in one.policy_optimizer.param_groups} == {2e-4}


def test_the_defaults_are_the_papers_schedule() -> None:
    """Spec E6: constant after a warm-up over the first 10 iterations that starts at 1/10 of the peak."""
    optimizer = PPOConfig().optimizer
    assert (optimizer.schedule, optimizer.warmup_steps, optimizer.warmup_start) == ("constant", 10, 0.1)


def test_a_linear_schedule_can_end_at_zero(scene) -> None:
    """PPO-5, the older codes' mode."""
    one = learner(scene, steps=20, optimizer=OptimizerConfig(lr=1e-4, schedule="linear", final_fraction=0.0))
    rates = [one.set_learning_rates(step)["lr"] for step in range(20)]
    assert rates[0] == 1e-4
    assert rates[-1] == 0.0
    assert rates == sorted(rates, reverse=True)


def test_the_policys_schedule_waits_for_the_value_network(scene) -> None:
    one = learner(scene, steps=20, value_warmup_steps=5, optimizer=OptimizerConfig(lr=1e-4, schedule="constant", warmup_steps=10))
    assert [one.set_learning_rates(step)["lr"] for step in (0, 5, 10, 15)] == pytest.approx([1e-5, 1e-5, 5.5e-5, 1e-4])


def test_the_average_moves_by_its_decay_each_iteration(scene) -> None:
    """PPO-37: theta_ema <- .992 theta_ema + .008 theta, once an iteration; training goes on from the raw weights."""
    one = learner(scene, ema_decay=0.992, ema_half_life=0.0)
    weight = next(one.policy.parameters())
    start = weight.detach().clone()
    with torch.no_grad():
        weight.add_(1.0)
    one.finish_iteration(dict(QUIET))
    with one.averaged() as averaged:
        torch.testing.assert_close(next(averaged.parameters()), start + 0.008)
    torch.testing.assert_close(weight, start + 1.0)


def test_the_half_life_scales_with_the_run() -> None:
    assert ema_decay(PPOConfig(ema_half_life=0.0)) == 0.992
    decay = ema_decay(PPOConfig(steps=50, ema_half_life=0.2))
    assert decay**10 == pytest.approx(0.5)
    assert ema_decay(PPOConfig(ema_decay=0.0, ema_half_life=0.0)) == 0.0
    # the paper's own: 0.992 halves after 86 iterations
    assert pytest.approx(0.5, abs=2e-3) == 0.992**86


def test_no_average_publishes_the_raw_weights(scene) -> None:
    one = learner(scene, ema_decay=0.0, ema_half_life=0.0)
    with one.averaged() as averaged:
        assert averaged is one.policy


def test_the_adaptive_controller_moves_beta_after_the_iteration(scene) -> None:
    """PPO-21: .15 at KL 12, target 6, horizon 10,000, 64 episodes gives .150192, and .149808 at KL 3."""
    settings = {"kl_controller": "adaptive", "beta": 0.15, "batch_size": 64, "minibatches": 1, "warn_kl": 100.0}
    up, down = learner(scene, **settings), learner(scene, **settings)
    up.finish_iteration(QUIET | {"kl": 12.0})
    down.finish_iteration(QUIET | {"kl": 3.0})
    assert (up.beta, down.beta) == (pytest.approx(0.150192), pytest.approx(0.149808))
    fixed = learner(scene, beta=0.15)
    fixed.finish_iteration(QUIET | {"kl": 2.0})
    assert fixed.beta == 0.15


def test_an_alarm_rings_when_it_begins_and_again_after_a_pause(scene) -> None:
    one = learner(scene)
    kls = [1.0, 4.0, 5.0, 1.0, 4.0]
    assert [[alarm.kind for alarm in one.finish_iteration(QUIET | {"kl": kl})] for kl in kls] == [[], ["KL"], [], [], ["KL"]]


def test_the_history_keeps_the_first_iteration_and_a_window(scene) -> None:
    one = learner(scene)
    for step in range(30):
        one.finish_iteration(QUIET | {"reward": float(step)})
    assert [row["reward"] for row in one.history] == [0.0, *range(20, 30)]


def test_dropout_is_off_in_training_mode_too() -> None:
    """PPO-14: two forwards in training mode are equal bit for bit."""
    model = tiny_model("gpt2")
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.5
    model.train()
    ids = torch.arange(4, 20)[None, :]
    assert not torch.equal(model(input_ids=ids).logits, model(input_ids=ids).logits)
    switch_off_dropout(model)
    assert torch.equal(model(input_ids=ids).logits, model(input_ids=ids).logits)


def test_the_rewards_unit_is_measured_on_the_reference() -> None:
    rewards = torch.tensor([1.0, 3.0, 5.0, 3.0])  # mean 3, biased variance 2
    both = measured_unit(PPOConfig(reward_shift="reference_mean", reward_scale="reference_std"), rewards)
    assert both(rewards).tolist() == pytest.approx([-(2**0.5), 0.0, 2**0.5, 0.0])
    shifted = measured_unit(PPOConfig(reward_shift="reference_mean"), rewards)
    assert shifted(rewards).tolist() == [-2.0, 0.0, 2.0, 0.0]
    assert RewardUnit()(rewards).tolist() == rewards.tolist()


def test_a_reward_that_does_not_vary_cannot_be_scaled() -> None:
    with pytest.raises(RewardError, match="gives 2 to all 3 completions"):
        measured_unit(PPOConfig(reward_scale="reference_std"), torch.full((3,), 2.0))


def test_a_copied_value_head_predicts_in_the_rewards_unit(scene) -> None:
    """PPO-13: with a copy of the reward model, V at the last token is the (shifted, scaled) score."""
    one = scene()
    one.value_model.score_bias.fill_(0.7)
    batch = one.rollouts.batch
    with torch.no_grad():
        scores = one.value_model.scores(batch)
        unit = RewardUnit(shift=0.3, scale=2.5)
        express_values_in(unit, one.value_model)
        torch.testing.assert_close(one.value_model.scores(batch), unit(scores))


def test_a_zero_value_head_stays_at_zero(scene) -> None:
    """PPO-13, the older codes' mode: a fresh head predicts 0 everywhere."""
    one = scene()
    one.value_model.head.weight.data.zero_()
    express_values_in(RewardUnit(shift=3.0, scale=2.0), one.value_model)
    with torch.no_grad():
        assert not bool(one.value_model.values(one.rollouts.batch).any())


def test_a_saved_state_restores_everything(scene, tmp_path: Path) -> None:
    one = learner(scene, kl_controller="adaptive", warn_kl=1.0)
    one.unit = RewardUnit(shift=0.5, scale=2.0, reference_mean=0.5, reference_std=2.0)
    for parameter in one.policy.parameters():
        parameter.grad = torch.ones_like(parameter)
    one.policy_optimizer.step()
    one.finish_iteration(QUIET | {"kl": 9.0})
    one.ended_early = "stop: enough"
    one.save(tmp_path / "state")
    other = learner(scene, kl_controller="adaptive", warn_kl=1.0)
    other.restore(tmp_path / "state")
    assert (other.beta, other.unit, other.steps_done, other.ended_early) == (one.beta, one.unit, 1, "stop: enough")
    assert (other.history, other.ringing) == (one.history, ["KL"])
    for mine, theirs in zip(one.policy.parameters(), other.policy.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    with one.averaged(), other.averaged():
        for mine, theirs in zip(one.policy.parameters(), other.policy.parameters(), strict=True):
            assert torch.equal(mine, theirs)
    assert str(other.policy_optimizer.state_dict()) == str(one.policy_optimizer.state_dict())


def test_the_ratio_may_deviate_more_below_fp32() -> None:
    assert alarm_limits(PPOConfig(), torch.float32).ratio_deviation == 1e-4
    assert alarm_limits(PPOConfig(), torch.bfloat16).ratio_deviation > 1e-3
