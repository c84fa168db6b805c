"""Log-probabilities and entropies from logits, always in at least fp32 (PPO-33)."""

import torch
from jaxtyping import Float, Int
from torch import Tensor


def full_precision(logits: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """fp16 and bf16 become fp32; fp32 and fp64 stay."""
    return logits.float() if logits.dtype in {torch.float16, torch.bfloat16} else logits


def selected_logprobs(
    logits: Float[Tensor, "*shape vocabulary"], ids: Int[Tensor, "*shape"], *, temperature: float = 1.0
) -> Float[Tensor, "*shape"]:
    """Token log-probabilities log softmax(logits / temperature)[ids], computed as the chosen logit minus logsumexp (no second [..., V] tensor).

    Args:
        logits: unnormalized scores of each next token.
        ids: the tokens that came.
        temperature: the sampling temperature. Rollout, reference and update must pass the same one, else ratios start off 1 (PPO-12).
    """
    scores = full_precision(logits)
    scores = scores if temperature == 1.0 else scores / temperature
    chosen = scores.gather(-1, ids.unsqueeze(-1)).squeeze(-1)
    return chosen - scores.logsumexp(dim=-1)


def token_entropy(logits: Float[Tensor, "*shape vocabulary"], *, temperature: float = 1.0) -> Float[Tensor, "*shape"]:
    """-sum p log p of softmax(logits / temperature), in nats; a logit of -inf (a token that cannot be sampled) counts as p log p = 0."""
    logprobs = (full_precision(logits) / temperature).log_softmax(dim=-1)
    return -(logprobs.exp() * logprobs.masked_fill(logprobs.isneginf(), 0.0)).sum(dim=-1)
