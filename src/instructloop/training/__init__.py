"""The trainers, each one file that reads top to bottom like the paper: pretraining, SFT, reward model, PPO and PPO-ptx.

``run_*`` take a configuration and a run directory (the commands, recipes and the Python API call these); ``train_*`` take models and
records.
"""

from instructloop.training.ppo import run_ppo, train_ppo
from instructloop.training.pretrain import run_pretrain, train_pretrain
from instructloop.training.reward_model import run_reward_model, train_reward_model
from instructloop.training.sft import run_sft, train_sft

__all__ = [
    "run_ppo",
    "run_pretrain",
    "run_reward_model",
    "run_sft",
    "train_ppo",
    "train_pretrain",
    "train_reward_model",
    "train_sft",
]
