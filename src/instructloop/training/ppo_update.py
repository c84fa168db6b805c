"""The optimizer steps of one PPO iteration: minibatches, micro-batches, gradients of both terms, one step for both.

A minibatch's losses are sums over its tokens divided by its *global* token count, so the gradient does not depend on how it is
split into micro-batches (PPO-17, PPO-29). The pretraining gradient is accumulated beside the PPO gradient and both are applied by
ONE optimizer step (spec E12, X1): a second step would let Adam divide the factor gamma away (X3).
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import PreTrainedModel

from instructloop.config.ppo import PPOConfig
from instructloop.core.seeds import derive, permutation
from instructloop.data.batching import batch_at, micro_batches
from instructloop.data.sequences import TokenBatch
from instructloop.models.logprobs import completion_logprobs
from instructloop.models.ranks import ALONE, Ranks
from instructloop.models.scalar import ScalarModel
from instructloop.models.sharding import is_sharded
from instructloop.objectives.policy import clipped_policy_loss
from instructloop.objectives.value import clipped_value_loss
from instructloop.training.optim import check_loss, gradient_norm, step_checked
from instructloop.training.pretrain import accumulate_text_gradient


class Targets(NamedTuple):
    """What one rollout batch teaches: all completion-aligned [B, R], all computed before the first update (PPO-34), none with gradient."""

    old_logprobs: Float[Tensor, "batch response"]
    old_values: Float[Tensor, "batch response"]
    advantages: Float[Tensor, "batch response"]
    returns: Float[Tensor, "batch response"]
    mask: Bool[Tensor, "batch response"]

    def select(self, rows: Sequence[int], width: int) -> "Targets":
        """Some rows, cut to the longest completion among them."""
        index = torch.as_tensor(rows, device=self.mask.device)
        return Targets(*(matrix[index, :width] for matrix in self))


@dataclass(slots=True)
class Meter:
    """Means over the optimizer steps of an iteration, and extremes over all its tokens."""

    sums: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    extremes: dict[str, float] = field(default_factory=dict)

    def mean(self, **values: float) -> None:
        """Enter one optimizer step's values."""
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
            self.counts[name] = self.counts.get(name, 0) + 1

    def low(self, name: str, value: float) -> None:
        """Enter a value of a minimum."""
        self.extremes[name] = min(self.extremes.get(name, value), value)

    def high(self, name: str, value: float) -> None:
        """Enter a value of a maximum."""
        self.extremes[name] = max(self.extremes.get(name, value), value)

    def read(self) -> dict[str, float]:
        """All means, minima and maxima."""
        return {name: total / self.counts[name] for name, total in self.sums.items()} | self.extremes


def ppo_epochs(
    cfg: PPOConfig,
    *,
    step: int,
    policy: PreTrainedModel,
    value_model: ScalarModel,
    policy_optimizer: torch.optim.Optimizer,
    value_optimizer: torch.optim.Optimizer,
    batch: TokenBatch,
    targets: Targets,
    pretrain_blocks: Int[Tensor, "blocks length"] | None,
    ranks: Ranks = ALONE,
) -> dict[str, float]:
    """Go ``inner_epochs`` times over the rollout batch, one optimizer step of each network a minibatch; returns metrics.

    Raises:
        TrainingDiverged: a loss or gradient is not finite; the step is not taken.
    """
    meter = Meter()
    learn_policy = step >= cfg.value_warmup_steps
    for number, rows in minibatches(cfg, step):
        value_optimizer.zero_grad(set_to_none=True)
        value_gradient(cfg, value_model, batch, targets, rows, meter, step=step, ranks=ranks)
        meter.mean(value_grad_norm=step_checked(value_optimizer, value_model, cfg.value_optimizer.max_grad_norm, ranks=ranks))
        if not learn_policy:
            continue
        policy_optimizer.zero_grad(set_to_none=True)
        policy_gradient(cfg, policy, batch, targets, rows, meter, step=step, first=number == 0, ranks=ranks)
        # both gradients come summed over the processes: their norms are compared, and the step must not sum them again
        if pretrain_blocks is not None and cfg.ptx_coef > 0:
            blocks = pretrain_blocks[pretrain_rows(cfg, step, number, len(pretrain_blocks))].to(batch.tokens.device)
            add_pretrain_gradient(cfg, policy, blocks, meter, step=step, ranks=ranks)
        meter.mean(grad_norm=step_checked(policy_optimizer, policy, cfg.optimizer.max_grad_norm))
    return meter.read()


def minibatches(cfg: PPOConfig, step: int) -> Iterator[tuple[int, list[int]]]:
    """(number, row indices): each inner epoch visits every rollout exactly once in a fresh permutation (PPO-17)."""
    size = cfg.batch_size // cfg.minibatches
    for epoch in range(cfg.inner_epochs):
        order = permutation(cfg.batch_size, cfg.seed, "minibatch", step, epoch)
        for part in range(cfg.minibatches):
            yield epoch * cfg.minibatches + part, order[part * size : (part + 1) * size]


def pretrain_rows(cfg: PPOConfig, step: int, number: int, blocks: int) -> list[int]:
    """Which pretraining blocks accompany a minibatch: shuffled epochs over the blocks, a pure function of the step."""
    size = cfg.ptx_per_episode * cfg.batch_size // cfg.minibatches
    return batch_at(step * cfg.inner_epochs * cfg.minibatches + number, blocks, size, derive(cfg.seed, "pretrain"))


def policy_gradient(
    cfg: PPOConfig,
    policy: PreTrainedModel,
    batch: TokenBatch,
    targets: Targets,
    rows: Sequence[int],
    meter: Meter,
    *,
    step: int,
    first: bool = False,
    ranks: Ranks = ALONE,
) -> None:
    """Accumulate the gradient of the clipped surrogate (PPO eq. 7), mean over the minibatch's completion tokens."""
    tokens = _token_count(targets, rows)
    shares = torch.zeros(4, device=batch.tokens.device)
    lowest, highest = math.inf, -math.inf
    parts = _parts(batch, rows, cfg.compute.micro_batch_tokens, ranks)
    for part, counts in ranks.in_step(parts, idle=lambda: _idle(batch, rows), sharded=is_sharded(policy)):
        new = completion_logprobs(policy, batch.select(part), temperature=cfg.sampling.temperature)
        old = targets.select(part, new.mask.shape[1])
        result = clipped_policy_loss(new.logprobs, old.old_logprobs, old.advantages, old.mask, clip=cfg.clip, denominator=tokens)
        (check_loss(result.loss, "the policy loss", step + 1) * counts).backward()
        shares += counts * torch.stack([result.loss.detach(), result.clip_fraction, result.approx_kl, result.ratio_mean])
        lowest, highest = min(lowest, float(result.ratio_min)), max(highest, float(result.ratio_max))
    ranks.sum_gradients(policy.parameters())
    lows, highs = zip(*ranks.gather((lowest, highest)), strict=True)
    low, high = min(lows), max(highs)
    meter.low("ratio_min", low)
    meter.high("ratio_max", high)
    if first:
        meter.high("first_ratio_deviation", max(abs(high - 1), abs(low - 1)))
    loss, clip_fraction, approx_kl, ratio_mean = ranks.sum(*shares.tolist())
    meter.mean(policy_loss=loss, clip_fraction=clip_fraction, approx_kl=approx_kl, ratio_mean=ratio_mean)
    meter.mean(grad_norm_ppo=gradient_norm([parameter.grad for parameter in policy.parameters()]))


def value_gradient(
    cfg: PPOConfig,
    value_model: ScalarModel,
    batch: TokenBatch,
    targets: Targets,
    rows: Sequence[int],
    meter: Meter,
    *,
    step: int,
    ranks: Ranks = ALONE,
) -> None:
    """Accumulate the gradient of the clipped value loss (PPO-20), mean over the minibatch's completion tokens."""
    tokens = _token_count(targets, rows)
    shares = torch.zeros(2, device=batch.tokens.device)
    parts = _parts(batch, rows, cfg.compute.micro_batch_tokens, ranks)
    for part, counts in ranks.in_step(parts, idle=lambda: _idle(batch, rows), sharded=is_sharded(value_model)):
        values = value_model.values(batch.select(part)).float()
        old = targets.select(part, values.shape[1])
        result = clipped_value_loss(values, old.old_values, old.returns, old.mask, clip=cfg.value_clip, denominator=tokens)
        (cfg.value_coef * counts * check_loss(result.loss, "the value loss", step + 1)).backward()
        shares += counts * torch.stack([result.loss.detach(), result.clip_fraction])
    loss, clip_fraction = ranks.sum(*shares.tolist())
    meter.mean(value_loss=loss, value_clip_fraction=clip_fraction)


def add_pretrain_gradient(
    cfg: PPOConfig, policy: PreTrainedModel, blocks: Int[Tensor, "blocks length"], meter: Meter, *, step: int, ranks: Ranks = ALONE
) -> None:
    """Add gamma times the gradient of the pretraining loss to the PPO gradient, and log the norms of both terms (X1, X4)."""
    parameters = [parameter for parameter in policy.parameters() if parameter.requires_grad]
    ppo_gradients = [parameter.grad for parameter in parameters]
    for parameter in parameters:
        parameter.grad = None
    loss = accumulate_text_gradient(
        policy, blocks, cfg.compute.micro_batch_tokens, name="the pretraining loss", step=step + 1, weight=cfg.ptx_coef, ranks=ranks
    )
    ranks.sum_gradients(parameters)
    ppo_norm, ptx_norm = gradient_norm(ppo_gradients), gradient_norm([parameter.grad for parameter in parameters])
    meter.mean(ptx_loss=loss, grad_norm_ptx=ptx_norm, grad_norm_ratio=ptx_norm / max(ppo_norm, 1e-12))
    for parameter, gradient in zip(parameters, ppo_gradients, strict=True):
        if parameter.grad is None:
            parameter.grad = gradient
        elif gradient is not None:
            parameter.grad.add_(gradient)


def _token_count(targets: Targets, rows: Sequence[int]) -> Tensor:
    return targets.mask[torch.as_tensor(rows, device=targets.mask.device)].sum()


def _idle(batch: TokenBatch, rows: Sequence[int]) -> list[int]:
    return [min(rows, key=lambda row: int(batch.lengths[row]))]


def _parts(batch: TokenBatch, rows: Sequence[int], budget_tokens: int, ranks: Ranks) -> list[list[int]]:
    """This process's share of the minibatch's row indices, in micro-batches of at most ``budget_tokens`` padded tokens."""
    lengths = batch.lengths.tolist()
    rows = [rows[place] for place in ranks.share([lengths[row] for row in rows])]
    return [[rows[place] for place in part] for part in micro_batches([lengths[row] for row in rows], budget_tokens)]
