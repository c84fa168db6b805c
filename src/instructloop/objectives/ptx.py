"""The pretraining term of PPO-ptx (spec E3, E12)."""

from jaxtyping import Bool, Float
from torch import Tensor

from instructloop.objectives.masking import Count
from instructloop.objectives.sft import token_nll


def ptx_loss(
    logprobs: Float[Tensor, "batch time"], mask: Bool[Tensor, "batch time"], *, denominator: Count | None = None
) -> Float[Tensor, ""]:
    """-E log pi(x) on pretraining text, as a mean over tokens like the PPO loss (ruling J-P13).

    The trainer multiplies it by gamma and accumulates both gradients, g = g_ppo + gamma * g_ptx, into **one** optimizer step (X1); a
    step of its own would cancel gamma, because Adam does not see the scale of a loss (X3).

    Args:
        logprobs: log-probability of each pretraining token.
        mask: which slots are real tokens.
        denominator: token count of the whole batch, when this is a micro-batch.
    """
    return token_nll(logprobs, mask, denominator=denominator)
