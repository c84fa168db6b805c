"""Everything that changes while PPO runs, so that it can be saved and restored bit for bit (PPO-35)."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from instructloop.config.ppo import PPOConfig
from instructloop.core.errors import RewardError
from instructloop.models.adapters import has_adapters, reference_of
from instructloop.models.device import compute_dtype
from instructloop.models.ema import EMA
from instructloop.models.ranks import joined
from instructloop.models.scalar import ScalarModel
from instructloop.models.state import Stateful, load_state, save_state
from instructloop.objectives.kl import adapt_beta
from instructloop.training.optim import lr_at, make_optimizer, set_lr
from instructloop.training.ppo_alarms import Alarm, Limits, check

_SMALLEST_SCALE = 1e-6
_EXACT_RATIO, _LOW_PRECISION_RATIO = 1e-4, 5e-2


@dataclass(slots=True, kw_only=True)
class RewardUnit:
    """Affine map from the reward's own unit to the one PPO maximizes: (reward - shift) / scale."""

    shift: float = 0.0
    scale: float = 1.0
    reference_mean: float | None = None
    """Mean reward of the reference's own completions, where it was measured."""
    reference_std: float | None = None

    def __call__(self, rewards: Tensor) -> Tensor:
        """Rewards in PPO's unit."""
        return (rewards - self.shift) / self.scale


@dataclass(slots=True, kw_only=True)
class Learner:
    """The networks in training, their optimizers, the weight average, the KL coefficient, the reward's unit, and the position."""

    cfg: PPOConfig
    policy: PreTrainedModel
    value_model: ScalarModel
    policy_optimizer: torch.optim.Optimizer
    value_optimizer: torch.optim.Optimizer
    ema: EMA | None
    beta: float
    unit: RewardUnit = field(default_factory=RewardUnit)
    steps_done: int = 0
    ended_early: str = ""
    """Why an evaluator ended the run; empty while it goes on."""
    history: list[dict[str, float]] = field(default_factory=list)
    """Metrics of the first and the latest iterations, for the alarms."""
    ringing: list[str] = field(default_factory=list)
    """Alarms that held after the last iteration: each is told once, when it begins."""

    @classmethod
    def start(cls, cfg: PPOConfig, policy: PreTrainedModel, value_model: ScalarModel) -> "Learner":
        """Fresh optimizers and average around the given networks; dropout is switched off in both (PPO-14)."""
        for network in (policy, value_model):
            switch_off_dropout(network)
            network.train(cfg.compute.gradient_checkpointing)  # checkpointing works in train mode only
        if cfg.freeze_policy_embeddings:
            policy.get_input_embeddings().requires_grad_(False)
        decay = ema_decay(cfg)
        return cls(
            cfg=cfg,
            policy=policy,
            value_model=value_model,
            policy_optimizer=make_optimizer(policy, cfg.optimizer),
            value_optimizer=make_optimizer(value_model, cfg.value_optimizer),
            ema=EMA(policy, decay) if decay > 0 else None,
            beta=cfg.beta,
        )

    def set_learning_rates(self, step: int) -> dict[str, float]:
        """Per-iteration schedules (spec E6, PPO-36); the policy's begins when the value network's own warm-up is over."""
        wait, cfg = self.cfg.value_warmup_steps, self.cfg
        rate = lr_at(max(step - wait, 0), max(cfg.steps - wait, 1), cfg.optimizer)
        value_rate = lr_at(step, cfg.steps, cfg.value_optimizer)
        set_lr(self.policy_optimizer, rate)
        set_lr(self.value_optimizer, value_rate)
        return {"lr": rate, "value_lr": value_rate}

    def finish_iteration(self, metrics: dict[str, float]) -> list[Alarm]:
        """Move the weight average and the KL coefficient, count the iteration, and return the alarms that begin with it."""
        if self.ema is not None:
            self.ema.update()
        if self.cfg.kl_controller == "adaptive":
            self.beta = adapt_beta(self.beta, metrics["kl"], self.cfg.kl_target, self.cfg.kl_horizon, self.cfg.batch_size)
        self.steps_done += 1
        limits = alarm_limits(self.cfg, compute_dtype(self.policy))
        self.history = [*self.history[:1], *[*self.history[1:], metrics][-limits.window :]] if self.history else [metrics]
        alarms = check(self.history, limits)
        begun = [alarm for alarm in alarms if alarm.kind not in self.ringing]
        self.ringing = [alarm.kind for alarm in alarms]
        return begun

    @contextmanager
    def averaged(self) -> Iterator[PreTrainedModel]:
        """The policy with its averaged weights (spec E7: these are evaluated and published)."""
        with self.ema.swapped() if self.ema is not None else nullcontext():
            yield self.policy

    def save(self, path: Path) -> None:
        """Write the complete state into a directory (a ``SaveState`` for ``RunDir.checkpoint``)."""
        save_state(
            path,
            modules=self._modules(),
            optimizers={"policy": self.policy_optimizer, "value": self.value_optimizer},
            extra={
                "beta": self.beta,
                "unit": [self.unit.shift, self.unit.scale, self.unit.reference_mean, self.unit.reference_std],
                "steps_done": self.steps_done,
                "ended_early": self.ended_early,
                "history": self.history,
                "ringing": self.ringing,
            },
            ranks=joined(),
        )

    def restore(self, path: Path) -> None:
        """Take up the state that ``save`` wrote; the next iteration gives the same numbers as without the stop."""
        extra: dict[str, Any] = load_state(
            path,
            modules=self._modules(),
            optimizers={"policy": self.policy_optimizer, "value": self.value_optimizer},
        )
        self.beta = extra["beta"]
        shift, scale, mean, std = extra["unit"]
        self.unit = RewardUnit(shift=shift, scale=scale, reference_mean=mean, reference_std=std)
        self.steps_done, self.ended_early = extra["steps_done"], extra["ended_early"]
        self.history, self.ringing = extra["history"], extra["ringing"]

    def _modules(self) -> dict[str, Stateful]:
        modules: dict[str, Stateful] = {"policy": self.policy, "value": self.value_model}
        return modules if self.ema is None else modules | {"ema": self.ema}


def ema_decay(cfg: PPOConfig) -> float:
    """Decay per iteration: the paper's number, or the one whose half-life is a given share of this run."""
    if cfg.ema_half_life > 0:
        return float(0.5 ** (1 / (cfg.ema_half_life * cfg.steps)))
    return cfg.ema_decay


def alarm_limits(cfg: PPOConfig, dtype: torch.dtype) -> Limits:
    """Thresholds of the alarms for a configuration; the ratio may deviate more where weights are not fp32."""
    deviation = _EXACT_RATIO if dtype == torch.float32 else _LOW_PRECISION_RATIO
    return Limits(kl=cfg.warn_kl, entropy=cfg.warn_entropy, ratio_deviation=deviation)


def switch_off_dropout(model: nn.Module) -> None:
    """Set p = 0 on every Dropout, adapters' included: rollout and update must compute the same log-probs."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0


@contextmanager
def reference_model(policy: PreTrainedModel, reference: PreTrainedModel | None) -> Iterator[PreTrainedModel]:
    """The model of the KL tether: a frozen copy, or the policy with its adapters off."""
    if reference is not None:
        yield reference
    else:
        assert has_adapters(policy), "full fine-tuning needs a frozen reference"
        with reference_of(policy):
            yield policy


def measured_unit(cfg: PPOConfig, rewards: Tensor) -> RewardUnit:
    """Shift and scale from rewards of the reference's own completions (PPO-10 as an option; the paper shifts only: spec D8).

    Raises:
        RewardError: scaling is asked for, but the reference's rewards are all equal.
    """
    mean, std = float(rewards.mean()), float(rewards.std(correction=0))
    if cfg.reward_scale == "reference_std" and std < _SMALLEST_SCALE:
        raise RewardError(
            f"the reward gives {mean:.4g} to all {len(rewards)} completions of the reference, so it cannot be scaled by their spread",
            hint='set ppo.reward_scale = "none", or use a reward that tells the reference\'s completions apart',
        )
    return RewardUnit(
        shift=mean if cfg.reward_shift == "reference_mean" else 0.0,
        scale=std if cfg.reward_scale == "reference_std" else 1.0,
        reference_mean=mean,
        reference_std=std,
    )


@torch.no_grad()
def express_values_in(unit: RewardUnit, value_model: ScalarModel) -> None:
    """Rescale the value head once, so that a network copied from the reward model predicts in PPO's unit from the first iteration.

    A zero head (fresh: PPO-13) predicts 0, the mean of a shifted reward, in any unit and is left alone.
    """
    head = value_model.head
    if not bool(head.weight.any()):
        return
    head.weight.div_(unit.scale)
    if head.bias is not None:
        head.bias.div_(unit.scale)
    value_model.score_bias.copy_((value_model.score_bias - unit.shift) / unit.scale)
