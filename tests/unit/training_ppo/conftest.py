"""A small rollout batch with networks, so that single steps of PPO can be looked at."""

from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from instructloop.config import ComputeConfig, OptimizerConfig, PPOConfig, SamplingConfig
from instructloop.core.records import Prompt
from instructloop.generation.rollouts import Rollouts
from instructloop.generation.torch_engine import TorchEngine
from instructloop.models.scalar import ScalarModel
from instructloop.testing import tiny_codec, tiny_config, tiny_model
from instructloop.training.ppo_update import Targets


def scalar_model(seed: int = 0) -> ScalarModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = tiny_config("llama", 260)
        config.num_labels = 1
        model = ScalarModel(AutoModelForSequenceClassification.from_config(config, dtype=torch.float32).eval())
    model.reset_head(seed)
    return model


class Scene(NamedTuple):
    cfg: PPOConfig
    policy: PreTrainedModel
    value_model: ScalarModel
    rollouts: Rollouts
    targets: Targets
    blocks: Tensor


@pytest.fixture
def scene() -> Callable[..., Scene]:
    def make(**overrides: object) -> Scene:
        defaults: dict[str, object] = {
            "batch_size": 8,
            "minibatches": 2,
            "sampling": SamplingConfig(max_new_tokens=6),
            "compute": ComputeConfig(device="cpu", micro_batch_tokens=4096),
            "optimizer": OptimizerConfig(lr=1e-3, schedule="constant"),
        }
        cfg = PPOConfig(**(defaults | overrides))  # type: ignore[arg-type]
        policy, codec = tiny_model(seed=3), tiny_codec()
        prompts = [Prompt(prompt="ab" * (1 + row % 4)) for row in range(cfg.batch_size)]
        rollouts = TorchEngine(policy, codec).generate(prompts, sampling=cfg.sampling, seed=5)
        generator = torch.Generator().manual_seed(7)
        shape = rollouts.mask.shape
        values, advantages, returns = (torch.randn(shape, generator=generator) * rollouts.mask for _ in range(3))
        targets = Targets(rollouts.logprobs, values, advantages, returns, rollouts.mask)
        blocks = torch.randint(4, 260, (12, 10), generator=generator)
        return Scene(cfg, policy, scalar_model(), rollouts, targets, blocks)

    return make
