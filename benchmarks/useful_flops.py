"""FLOPs that a workload cannot do without: no padding, the LM head only where its output counts, attention only to the past.

A multiply-add counts as 2; backward is twice forward, so training a token costs 3 forward passes. Softmax, norms, rotations, the loss
and the optimizer count nothing, nor does reading a row of the embedding.
"""

from collections.abc import Sequence

from workloads import PRETRAIN_TOKENS, Shape

TRAIN = 3
"""Forward passes that forward and backward are worth."""


def trunk(shape: Shape, tokens: float) -> float:
    """All projections and MLPs for so many tokens."""
    return 2.0 * shape.trunk_weights * tokens


def attention(shape: Shape, length: int) -> float:
    """Scores and weighted sums of one causal row: token t looks at t + 1 places, in every layer, 2 products of 2 d FLOPs."""
    return 4.0 * shape.hidden * shape.layers * length * (length + 1) / 2


def head(shape: Shape, positions: float) -> float:
    """Logits over the vocabulary at so many positions."""
    return 2.0 * shape.hidden * shape.vocab * positions


def forward(shape: Shape, length: int, scored: int) -> float:
    """One row of ``length`` tokens, logits at ``scored`` of them."""
    return trunk(shape, length) + attention(shape, length) + head(shape, scored)


def sampled(shape: Shape, prompt: int, new: int) -> float:
    """Prefill and decoding of one row; the last token is drawn, not read."""
    return forward(shape, prompt + new - 1, new)


def per_sft_token(shape: Shape, rows: Sequence[tuple[int, int]]) -> float:
    """Training FLOPs a real token costs, from (prompt, completion) lengths."""
    total = sum(forward(shape, prompt + completion, completion) for prompt, completion in rows)
    return TRAIN * total / sum(prompt + completion for prompt, completion in rows)


def per_ranking(shape: Shape, prompt: int, completions: Sequence[int]) -> float:
    """Training FLOPs of K completions of one prompt, whose tokens are counted once: K - 1 of K passes over it could be spared."""
    tokens = prompt + sum(completions)
    looks = attention(shape, prompt) + sum(attention(shape, prompt + length) - attention(shape, prompt) for length in completions)
    return TRAIN * (trunk(shape, tokens) + looks)


def per_sampled_token(shape: Shape, prompt: int, lengths: Sequence[int]) -> float:
    """FLOPs a sampled token costs, its share of the prefill included."""
    return sum(sampled(shape, prompt, length) for length in lengths) / sum(lengths)


def per_episode(shape: Shape, prompts: Sequence[int], new: int, *, ptx: bool) -> float:
    """One PPO episode: rollout, three passes without gradient (reference, reward, value), one epoch of both networks, the mix."""
    total = 0.0
    for prompt in prompts:
        policy, scalar = forward(shape, prompt + new, new), forward(shape, prompt + new, 0)
        total += sampled(shape, prompt, new) + policy + 2 * scalar + TRAIN * (policy + scalar)
    mix = TRAIN * forward(shape, PRETRAIN_TOKENS, PRETRAIN_TOKENS - 1) if ptx else 0.0
    return total / len(prompts) + mix
