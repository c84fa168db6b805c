"""Useful floating-point operations of a training step, counted from parameters and real tokens (spec H20).

    forward pass      2 operations for each parameter that multiplies, and token
    backward pass     2 for each such parameter (towards the inputs), 2 more for each one that is trained: 6 N a token in all

Only matrices count; an embedding table is looked up, and counts once, as the head, where both share their weights. The head is counted
at the positions where it is read. "Useful" leaves out what a machine adds of its own: padding, activations computed again, idle
processes. Left out too, since they are no matrix of the model: attention's own products (12 L d T a token beside 6 N: a few per cent
unless sequences are much longer than the model is wide), softmax, the optimizer; and the measurements on held-out rows along the way.
"""

from dataclasses import dataclass

from torch import nn
from transformers import PreTrainedModel

from instructloop.config.ppo import PPOConfig
from instructloop.data import TokenBatch
from instructloop.models.scalar import ScalarModel
from instructloop.rewards import LearnedReward, Reward
from instructloop.rewards.checked import CheckedReward
from instructloop.rewards.mix import MixedReward


@dataclass(frozen=True, slots=True)
class Size:
    """Parameters of a model that multiply."""

    trunk: int
    trunk_trained: int
    head: int
    head_trained: int

    @classmethod
    def of(cls, model: PreTrainedModel | ScalarModel) -> "Size":
        """Count them; call it before the weights are split among processes."""
        head = model.head if isinstance(model, ScalarModel) else model.get_output_embeddings()
        at_head = {id(parameter) for parameter in head.parameters()} if isinstance(head, nn.Module) else set()
        counts = [0, 0, 0, 0]
        seen: set[int] = set()
        for module in model.modules():
            if isinstance(module, nn.Embedding):
                continue
            for parameter in module.parameters(recurse=False):
                if parameter.dim() < 2 or id(parameter) in seen:
                    continue
                seen.add(id(parameter))
                place = 2 if id(parameter) in at_head else 0
                counts[place] += parameter.numel()
                counts[place + 1] += parameter.numel() if parameter.requires_grad else 0
        return cls(*counts)

    def forward(self, tokens: float, read: float) -> float:
        """Operations of a pass without gradient.

        Args:
            tokens: real tokens that go through the trunk.
            read: positions at which the head is read.
        """
        return 2.0 * (self.trunk * tokens + self.head * read)

    def training(self, tokens: float, read: float) -> float:
        """Operations of a forward and a backward pass; frozen matrices still carry the gradient through."""
        return (4.0 * self.trunk + 2.0 * self.trunk_trained) * tokens + (4.0 * self.head + 2.0 * self.head_trained) * read


@dataclass(frozen=True, slots=True)
class PPOWork:
    """Operations of a PPO iteration over a rollout batch of T real tokens, C of them completion.

    rollout        forward, policy        T, C       (each prompt once, then a token a step with cached keys)
    reward         forward, reward model  T          (each one of a learned reward; none for a rule)
    reference      forward, reference     T, C
    values         forward, value model   T, C
    policy         training, policy       T, C       times inner epochs
    values         training, value model  T, C       times inner epochs
    pretraining    training, policy       P, P       P tokens of text, with PPO-ptx
    rescoring      forward, policy        T, C       only in bfloat16 or with another engine
    """

    policy: Size
    value: Size
    rewards: tuple[Size, ...]
    inner_epochs: int
    text_tokens: int

    @classmethod
    def of(cls, cfg: PPOConfig, policy: PreTrainedModel, value_model: ScalarModel, reward: Reward) -> "PPOWork":
        """Look at the networks once, before the first iteration. The reference has the policy's size."""
        text = cfg.inner_epochs * cfg.ptx_per_episode * cfg.batch_size * cfg.ptx_tokens if cfg.ptx_coef > 0 else 0
        return cls(Size.of(policy), Size.of(value_model), tuple(map(Size.of, scored_by(reward))), cfg.inner_epochs, text)

    def iteration(self, batch: TokenBatch, *, rescored: bool) -> float:
        """Operations of the iteration that this batch was rolled out in."""
        tokens, read = float(batch.lengths.sum()), float(batch.completion_lengths.sum())
        passes = 3 if rescored else 2  # rollout, reference, and perhaps the policy's own scores
        total = passes * self.policy.forward(tokens, read) + self.value.forward(tokens, read)
        total += sum(size.forward(tokens, len(batch.lengths)) for size in self.rewards)
        total += self.inner_epochs * (self.policy.training(tokens, read) + self.value.training(tokens, read))
        return total + self.policy.training(self.text_tokens, self.text_tokens)


def scored_by(reward: Reward) -> list[ScalarModel]:
    """The networks behind a reward: none for a rule, several for a mix."""
    if isinstance(reward, CheckedReward):
        return scored_by(reward.inner)
    if isinstance(reward, MixedReward):
        return [model for _, part, _ in reward.parts for model in scored_by(part)]
    return [reward.scalar_model] if isinstance(reward, LearnedReward) else []
