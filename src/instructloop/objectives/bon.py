"""Best-of-n sampling in closed form (spec I12, section 8.6 of the PPO notes)."""

from math import lgamma, log

import torch
from jaxtyping import Float
from torch import Tensor

from instructloop.core.errors import ConfigError


def best_of_n_kl(n: int) -> float:
    """Ln n - (n - 1) / n: KL(best of n || base) in nats for scores without ties, else an upper bound (Beirami et al. 2024)."""
    _check(n)
    return log(n) - (n - 1) / n


def best_of_n_probabilities(
    probabilities: Float[Tensor, "candidates"], scores: Float[Tensor, "candidates"], n: int
) -> Float[Tensor, "candidates"]:
    """P(y is the best of n draws) = F(y)^n - F(y-)^n on finite candidates; equal scores share their mass as the base does.

    Args:
        probabilities: base policy over the candidates, sums to 1.
        scores: what the best is chosen by.
        n: draws; 1 gives the base policy back.
    """
    _check(n)
    levels, level = scores.unique(return_inverse=True)
    mass = torch.zeros_like(levels, dtype=probabilities.dtype).scatter_add(0, level, probabilities)
    upto = mass.cumsum(dim=0).clamp(max=1.0)
    won = upto.pow(n) - (upto - mass).clamp(min=0.0).pow(n)
    share = probabilities / torch.where(mass[level] > 0, mass[level], torch.ones_like(mass[level]))
    return won[level] * share


def expected_best_of_n(scores: Float[Tensor, "samples"], n: int) -> Float[Tensor, ""]:
    """Unbiased E[max of n] from N >= n scored samples: sum_i C(i-1, n-1) r_(i) / C(N, n), r_(1) <= ... <= r_(N).

    Args:
        scores: reward of each sample of one prompt.
        n: draws without replacement.

    Raises:
        ConfigError: fewer samples than n.
    """
    _check(n)
    total = scores.numel()
    if total < n:
        raise ConfigError(f"best of {n} needs at least {n} scored samples, got {total}", hint="sample more, or lower n")
    ranked = scores.sort().values.double()[n - 1 :]
    below = torch.arange(n - 1, total, dtype=torch.float64, device=scores.device)
    everything = torch.tensor(float(total), dtype=torch.float64, device=scores.device)
    weights = (_log_choose(below, n - 1) - _log_choose(everything, n)).exp()
    return (weights * ranked).sum().to(scores.dtype)


def _log_choose(total: Tensor, part: int) -> Tensor:
    return torch.lgamma(total + 1) - lgamma(part + 1) - torch.lgamma(total - part + 1)


def _check(n: int) -> None:
    if n < 1:
        raise ConfigError(f"best of n needs n >= 1, got {n}")
