"""Reward against KL, read from metrics."""

from instructloop.evaluation import reward_against_kl, reward_per_sqrt_kl


def test_only_steps_that_logged_both_are_points() -> None:
    metrics = [{"step": 1, "ppo/kl": 0.0, "ppo/reward": 0.1}, {"step": 2, "ppo/kl": 4.0}, {"step": 3, "ppo/kl": 4.0, "ppo/reward": 1.1}]
    points = reward_against_kl(metrics)
    assert points == [{"step": 1.0, "kl": 0.0, "reward": 0.1}, {"step": 3.0, "kl": 4.0, "reward": 1.1}]
    # (1.1 - 0.1) / sqrt(4)
    assert reward_per_sqrt_kl(points, start=0.1) == [0.5]
