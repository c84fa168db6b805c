"""One frozen dataclass per stage; TOML in, JSON out."""

from instructloop.config.evaluation import EvaluationConfig
from instructloop.config.inspection import InspectionConfig
from instructloop.config.judge import JudgeConfig
from instructloop.config.load import from_command_line, from_mapping, load_toml, read_toml, to_json
from instructloop.config.ppo import PPOConfig, RewardSpec
from instructloop.config.pretrain import PretrainConfig
from instructloop.config.reward_model import RewardModelConfig
from instructloop.config.sample import SampleConfig
from instructloop.config.selection import SelectionConfig
from instructloop.config.sft import SFTConfig
from instructloop.config.shared import CheckpointConfig, ComputeConfig, LoraConfig, OptimizerConfig, SamplingConfig
from instructloop.config.watch import WatchConfig

__all__ = [
    "CheckpointConfig",
    "ComputeConfig",
    "EvaluationConfig",
    "InspectionConfig",
    "JudgeConfig",
    "LoraConfig",
    "OptimizerConfig",
    "PPOConfig",
    "PretrainConfig",
    "RewardModelConfig",
    "RewardSpec",
    "SFTConfig",
    "SampleConfig",
    "SamplingConfig",
    "SelectionConfig",
    "WatchConfig",
    "from_command_line",
    "from_mapping",
    "load_toml",
    "read_toml",
    "to_json",
]
