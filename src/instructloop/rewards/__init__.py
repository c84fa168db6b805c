"""Rewards: learned models, rules, functions of the user's and mixes, all the same thing to a trainer."""

from instructloop.rewards.base import Reward, RewardOutput, rewards
from instructloop.rewards.checked import CheckedReward, as_reward, checked
from instructloop.rewards.learned import LearnedReward, learned_on_trunk, score_batch
from instructloop.rewards.mix import MixedReward
from instructloop.rewards.python_function import from_function
from instructloop.rewards.rules import contains, length_band, token_count
from instructloop.rewards.sentiment import sentiment

__all__ = [
    "CheckedReward",
    "LearnedReward",
    "MixedReward",
    "Reward",
    "RewardOutput",
    "as_reward",
    "checked",
    "contains",
    "from_function",
    "learned_on_trunk",
    "length_band",
    "rewards",
    "score_batch",
    "sentiment",
    "token_count",
]
