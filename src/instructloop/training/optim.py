"""AdamW in PyTorch's and in TensorFlow 1's form, the learning-rate schedule, and the one guarded optimizer step of all trainers."""

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from instructloop.config.shared import OptimizerConfig
from instructloop.core.errors import ConfigError, TrainingDiverged
from instructloop.models.ranks import ALONE, Ranks, joined

Trainable = nn.Module | Iterable[nn.Parameter] | Iterable[tuple[str, nn.Parameter]]
"""A module, parameters, or named parameters; names make the message of a divergence readable."""


def trainable_parameters(source: Trainable) -> Iterator[tuple[str, nn.Parameter]]:
    """Name and parameter of everything that takes a gradient; tied weights come once."""
    items: Iterable[Any] = source.named_parameters() if isinstance(source, nn.Module) else source
    for index, item in enumerate(items):
        name, parameter = item if isinstance(item, tuple) else (f"parameter {index}", item)
        if parameter.requires_grad:
            yield name, parameter


def make_optimizer(source: Trainable, cfg: OptimizerConfig) -> torch.optim.Optimizer:
    """AdamW whose decay leaves biases, norms and other vectors alone.

    Args:
        source: what to train; frozen parameters are left out.
        cfg: rate, moments, decay, and which form of Adam (ppo-details section 4).

    Raises:
        ConfigError: nothing in ``source`` takes a gradient.
    """
    parameters = [parameter for _, parameter in trainable_parameters(source)]
    if not parameters:
        raise ConfigError("there is nothing to train: all parameters are frozen", hint="check the lora settings")
    groups = [
        {"params": [parameter for parameter in parameters if parameter.ndim >= 2], "weight_decay": cfg.weight_decay},
        {"params": [parameter for parameter in parameters if parameter.ndim < 2], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if cfg.adam_style == "tf":
        return TFAdamW(groups, lr=cfg.lr, betas=cfg.betas, eps=cfg.eps)
    if any(isinstance(parameter, DTensor) for parameter in parameters):
        # the fused kernels take whole weights or split ones, but not both at once
        return torch.optim.AdamW(groups, lr=cfg.lr, betas=cfg.betas, eps=cfg.eps, foreach=False)
    fused = all(parameter.device.type in {"cpu", "cuda"} and parameter.is_floating_point() for parameter in parameters)
    return torch.optim.AdamW(groups, lr=cfg.lr, betas=cfg.betas, eps=cfg.eps, fused=fused)


class TFAdamW(torch.optim.Optimizer):
    """AdamW with epsilon where TensorFlow 1 puts it: before the bias correction.

    theta <- theta - lr * sqrt(1 - b2^t) / (1 - b1^t) * m / (sqrt(v) + eps). With the same epsilon the first steps are far smaller
    than PyTorch's: at gradient 1e-6, eps 1e-5, b2 .999 the first one is .00315 lr instead of .0909 lr (ppo-details section 4).
    """

    def __init__(
        self, params: Any, *, lr: float, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8, weight_decay: float = 0.0
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]  # torch overloads it by closure
        """One update of every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, group)
        return loss

    def _update(self, parameter: nn.Parameter, group: dict[str, Any]) -> None:
        gradient = cast("Tensor", parameter.grad)
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros((), dtype=torch.float32)
            state["exp_avg"] = torch.zeros_like(parameter)
            state["exp_avg_sq"] = torch.zeros_like(parameter)
        state["step"] += 1
        count, (first, second) = int(state["step"]), group["betas"]
        state["exp_avg"].lerp_(gradient, 1 - first)
        state["exp_avg_sq"].mul_(second).addcmul_(gradient, gradient, value=1 - second)
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        size = group["lr"] * math.sqrt(1 - second**count) / (1 - first**count)
        parameter.addcdiv_(state["exp_avg"], state["exp_avg_sq"].sqrt().add_(group["eps"]), value=-size)


def lr_at(step: int, total_steps: int, cfg: OptimizerConfig) -> float:
    """Learning rate of optimizer step ``step`` (from 0).

    Linear warm-up from ``warmup_start`` of the peak, which step ``warmup_steps`` reaches (PPO-36: peak * (.1 + .09 i) for 10 steps);
    then the fall, which ends at ``final_fraction`` of the peak in the very last step (spec C1, D6: cosine to 10 %).
    """
    if step < cfg.warmup_steps:
        return cfg.lr * (cfg.warmup_start + (1 - cfg.warmup_start) * step / cfg.warmup_steps)
    if cfg.schedule == "constant":
        return cfg.lr
    done = min(1.0, (step - cfg.warmup_steps) / max(1, total_steps - 1 - cfg.warmup_steps))
    left = 1 - done if cfg.schedule == "linear" else 0.5 * (1 + math.cos(math.pi * done))
    return cfg.lr * (cfg.final_fraction + (1 - cfg.final_fraction) * left)


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Give every parameter group this learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = lr


def check_loss(loss: Tensor, name: str, step: int) -> Tensor:
    """The loss itself if it is finite.

    NOTE: of several processes none may stop alone in the middle of a step: the others would wait for it. There the optimizer step, which
    knows the gradients of all, raises on all.

    Raises:
        TrainingDiverged: it is NaN or infinite; nothing has been stepped yet.
    """
    if joined().size > 1:
        return loss
    if not bool(torch.isfinite(loss.detach()).all()):
        raise TrainingDiverged(f"{name} is {loss.detach().float().mean().item()} at step {step}, before the optimizer step", hint=_REMEDY)
    return loss


def step_checked(optimizer: torch.optim.Optimizer, params: Trainable, max_grad_norm: float, *, ranks: Ranks = ALONE) -> float:
    """Sum the gradient over the processes, clip its global norm, step, clear the gradients, and return the norm before clipping.

    Args:
        optimizer: steps the parameters.
        params: whose norm is clipped; a module or named parameters give a message with names.
        max_grad_norm: 0 only measures.
        ranks: the processes that each accumulated the gradient of their share of the batch.

    Raises:
        TrainingDiverged: a gradient is not finite; weights and moments are as before.
    """
    named = list(trainable_parameters(params))
    ranks.sum_gradients(parameter for _, parameter in named)
    gradients = [parameter.grad for _, parameter in named if parameter.grad is not None]
    norm = gradient_norm(gradients)
    if not math.isfinite(norm):
        raise TrainingDiverged(f"{_first_unusable(named, norm)}, before the optimizer step", hint=_REMEDY)
    if max_grad_norm > 0 and norm > max_grad_norm:
        for gradient in gradients:
            gradient.mul_(max_grad_norm / (norm + 1e-6))
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return norm


def gradient_norm(gradients: Iterable[Tensor | None]) -> float:
    """Global Euclidean norm of gradients; parts that are split over the processes count whole, so all of them must ask."""
    found = [gradient for gradient in gradients if gradient is not None]
    split = [gradient.to_local() for gradient in found if isinstance(gradient, DTensor)]
    whole = [gradient for gradient in found if not isinstance(gradient, DTensor)]
    norm = float(nn.utils.get_total_norm(whole)) if whole else 0.0
    if not any(isinstance(gradient, DTensor) for gradient in found):
        return norm
    local = float(nn.utils.get_total_norm(split))
    return math.sqrt(norm**2 + joined().sum(local**2)[0])


_REMEDY = "lower the learning rate, lengthen the warm-up, or look at the rows of this step; --resume starts from the last checkpoint"


def _first_unusable(named: list[tuple[str, nn.Parameter]], norm: float) -> str:
    for name, parameter in named:
        if parameter.grad is not None and not bool(torch.isfinite(parameter.grad).all()):
            return f"the gradient of {name} is not finite"
    return f"the global gradient norm is {norm} although every gradient is finite"
