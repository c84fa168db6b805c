"""Supervised fine-tuning losses over completion tokens, EOS included (spec C1)."""

from jaxtyping import Bool, Float
from torch import Tensor

from instructloop.objectives.masking import Count, hide, masked_mean, masked_row_mean


def token_nll(
    logprobs: Float[Tensor, "batch time"], mask: Bool[Tensor, "batch time"], *, denominator: Count | None = None
) -> Float[Tensor, ""]:
    """-(1/N) sum over completion tokens of log p(token): cross entropy in nats per token.

    Args:
        logprobs: log-probability of each completion token, EOS included.
        mask: which slots are completion tokens.
        denominator: token count of the whole batch, when this is a micro-batch (PPO-29).
    """
    return -masked_mean(logprobs, mask, denominator=denominator)


def sequence_logprob(logprobs: Float[Tensor, "batch time"], mask: Bool[Tensor, "batch time"]) -> Float[Tensor, "batch"]:
    """Log-probability log p(completion | prompt): the sum over completion tokens, per row."""
    return hide(logprobs, mask).sum(dim=-1)


def mean_logprob(logprobs: Float[Tensor, "batch time"], mask: Bool[Tensor, "batch time"]) -> Float[Tensor, "batch"]:
    """m(y): the mean over completion tokens, per row (length-normalized log-probability)."""
    return masked_row_mean(logprobs, mask)


def sequence_nll(
    logprobs: Float[Tensor, "batch time"], mask: Bool[Tensor, "batch time"], *, denominator: Count | None = None
) -> Float[Tensor, ""]:
    """-(1/B) sum over rows of log p(completion | prompt): the loss of the textbook, nats per *sequence*.

    Long completions weigh more than in ``token_nll`` only through the divisor: the direction of both gradients is the same for one batch.

    Args:
        logprobs: log-probability of each completion token, EOS included.
        mask: which slots are completion tokens.
        denominator: row count of the whole batch, when this is a micro-batch.
    """
    return -sequence_logprob(logprobs, mask).sum() / (max(1, logprobs.shape[0]) if denominator is None else denominator)
