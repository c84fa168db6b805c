"""The policy that KL-regularized reward maximization is heading for, in closed form on finite candidates (spec I2)."""

from jaxtyping import Float
from torch import Tensor

from instructloop.objectives.masking import hide


def gibbs_logprobs(
    ref_logprobs: Float[Tensor, "*shape candidates"], rewards: Float[Tensor, "*shape candidates"], *, beta: float
) -> Float[Tensor, "*shape candidates"]:
    """Log of pi*(y) = ref(y) exp(r(y) / beta) / Z, the maximizer of E[r] - beta KL(pi || ref).

    Args:
        ref_logprobs: log ref of each candidate (normalized or not).
        rewards: reward of each candidate.
        beta: KL coefficient, > 0. Small beta piles all mass on the best candidate, large beta returns the reference.
    """
    return (ref_logprobs + rewards / beta).log_softmax(dim=-1)


def gibbs_value(
    ref_logprobs: Float[Tensor, "*shape candidates"], rewards: Float[Tensor, "*shape candidates"], *, beta: float
) -> Float[Tensor, "*shape"]:
    """The maximum itself: beta log Z = beta logsumexp(log ref + r / beta), with ref normalized first."""
    return beta * (ref_logprobs.log_softmax(dim=-1) + rewards / beta).logsumexp(dim=-1)


def regularized_value(
    logprobs: Float[Tensor, "*shape candidates"],
    ref_logprobs: Float[Tensor, "*shape candidates"],
    rewards: Float[Tensor, "*shape candidates"],
    *,
    beta: float,
) -> Float[Tensor, "*shape"]:
    """E_pi[r] - beta KL(pi || ref), exactly, for any policy on the candidates; candidates pi never takes add nothing."""
    possible = ~logprobs.isneginf()
    gain = rewards - beta * (hide(logprobs, possible) - hide(ref_logprobs, possible))
    return hide(logprobs.exp() * gain, possible).sum(dim=-1)
