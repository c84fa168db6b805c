"""Reward-model losses: K-way rankings as grouped Bradley-Terry pairs (spec D3-D5), and their relatives.

Pairs of one prompt are one batch element: each of its K completions is scored once, and every strict pair compares two of those scores.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from instructloop.objectives.masking import Count


class RankingLoss(NamedTuple):
    """A ranking loss and what to log about it (accuracy and pairs carry no gradient)."""

    loss: Float[Tensor, ""]
    accuracy: Float[Tensor, ""]
    """Share of pairs in which the winner scores higher; equal scores count one half."""
    pairs: Int[Tensor, ""]
    """Number of pairs compared."""


class StrictPairs(NamedTuple):
    """The pairs of one ranking in which one completion is strictly better, as indices into its K completions."""

    winners: Int[Tensor, "pairs"]
    losers: Int[Tensor, "pairs"]


def strict_pairs(ranks: Int[Tensor, "k"]) -> StrictPairs:
    """All (winner, loser) with rank[winner] < rank[loser] (a lower rank is better); ties give no pair (spec D5)."""
    better = ranks[:, None] < ranks[None, :]
    winners, losers = better.nonzero(as_tuple=True)
    return StrictPairs(winners, losers)


def preference_probability(winner: Float[Tensor, "*shape"], loser: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """P(w > l) = sigma(r_w - r_l) (Bradley-Terry; spec I1)."""
    return torch.sigmoid(winner - loser)


def pair_accuracy(winner: Float[Tensor, "pairs"], loser: Float[Tensor, "pairs"]) -> Float[Tensor, ""]:
    """Share of pairs with winner > loser, equal scores as one half; 0 without pairs. No gradient."""
    right = (winner > loser).float() + 0.5 * (winner == loser).float()
    return right.detach().sum() / max(1, right.numel())


def bradley_terry_loss(
    chosen: Float[Tensor, "pairs"],
    rejected: Float[Tensor, "pairs"],
    *,
    margin: Float[Tensor, "pairs"] | float = 0.0,
    center: float = 0.0,
) -> Float[Tensor, ""]:
    """-mean ln sigma(r_w - r_l - margin) + center * mean((r_w + r_l)^2) over plain pairs (section 8.1).

    Args:
        chosen: scores of the preferred completions.
        rejected: scores of the others.
        margin: how far apart the scores should be (Llama 2, eq. 2).
        center: weight of the penalty that holds scores near 0 (Eisenstein et al. 2023); 0.01 is typical.
    """
    loss = -F.logsigmoid(chosen - rejected - margin).mean()
    return loss + center * (chosen + rejected).square().mean() if center else loss


def pairwise_ranking_loss(
    scores: Float[Tensor, "completions"],
    winners: Int[Tensor, "pairs"],
    losers: Int[Tensor, "pairs"],
    weights: Float[Tensor, "pairs"],
    *,
    prompts: Count,
    margins: Float[Tensor, "pairs"] | float = 0.0,
    center: float = 0.0,
) -> RankingLoss:
    """Sum over pairs of w * -ln sigma(s_w - s_l - margin), divided by the number of prompts (spec D3, eq. 1).

    With w = 1 / (strict pairs of the prompt) every prompt weighs the same, which is the paper's loss.

    Args:
        scores: one score per completion, all prompts of the (micro-)batch in a row.
        winners: index of the better completion of each strict pair.
        losers: index of the worse one.
        weights: pair weights, no gradient.
        prompts: number of prompts with at least one strict pair in the whole batch (a micro-batch passes the global number, so that
            the gradients of a split batch add up). 0 prompts give a loss of 0.
        margins: see ``bradley_terry_loss``.
        center: see ``bradley_terry_loss``; weighted like the pairs.
    """
    better, worse = scores[winners], scores[losers]
    terms = -F.logsigmoid(better - worse - margins)
    if center:
        terms = terms + center * (better + worse).square()
    count = torch.as_tensor(prompts, dtype=scores.dtype, device=scores.device)
    loss = (weights * terms).sum() / torch.where(count > 0, count, torch.ones_like(count))
    return RankingLoss(loss, pair_accuracy(better, worse), torch.tensor(winners.numel(), device=scores.device))


def ranking_loss(scores: Float[Tensor, "k"], ranks: Int[Tensor, "k"]) -> RankingLoss:
    """-(1/P) sum over the P strict pairs of one prompt of ln sigma(r_w - r_l) (spec D3-D5); 0 when all are tied.

    Args:
        scores: reward of each of the K completions.
        ranks: lower is better; equal ranks are ties.
    """
    winners, losers = strict_pairs(ranks)
    pairs = winners.numel()
    weights = torch.full((pairs,), 1.0 / max(1, pairs), dtype=scores.dtype, device=scores.device)
    return pairwise_ranking_loss(scores, winners, losers, weights, prompts=1)


def best_of_k_softmax(scores: Float[Tensor, "batch k"], picked: Int[Tensor, "batch"]) -> Float[Tensor, ""]:
    """Cross entropy of the K scores against the index a labeler picked (Ziegler et al. 2019, best of 4)."""
    return F.cross_entropy(scores, picked)


def plackett_luce_loss(scores: Float[Tensor, "k"], order: Int[Tensor, "k"]) -> Float[Tensor, ""]:
    """-sum_i (r_i - logsumexp(r_i .. r_K)) with completions taken from best to worst (Plackett-Luce; section 8.1).

    Args:
        scores: reward of each completion.
        order: indices of the completions, best first (a full ranking without ties).
    """
    ranked = scores[order]
    remaining = ranked.flip(0).logcumsumexp(dim=0).flip(0)
    return -(ranked - remaining).sum()


class TieProbabilities(NamedTuple):
    """Probabilities of the three outcomes of a comparison; they sum to 1."""

    win: Float[Tensor, "*shape"]
    tie: Float[Tensor, "*shape"]
    loss: Float[Tensor, "*shape"]


def davidson_probabilities(
    first: Float[Tensor, "*shape"], second: Float[Tensor, "*shape"], *, log_nu: Float[Tensor, ""] | float
) -> TieProbabilities:
    """Davidson (1970): P(tie) proportional to nu * sqrt(e^a e^b), P(win) to e^a, P(loss) to e^b."""
    middle = 0.5 * (first + second) + log_nu
    return TieProbabilities(*torch.stack([first, middle, second]).softmax(dim=0).unbind(0))


def davidson_loss(
    first: Float[Tensor, "pairs"], second: Float[Tensor, "pairs"], outcomes: Int[Tensor, "pairs"], *, log_nu: Float[Tensor, ""] | float
) -> Float[Tensor, ""]:
    """-mean log P(outcome) under Davidson's model of ties.

    Args:
        first: reward of the first completion of each pair.
        second: reward of the second.
        outcomes: 0 the first won, 1 tie, 2 the second won.
        log_nu: ln of the tie parameter (learnable); -inf forbids ties.
    """
    middle = 0.5 * (first + second) + log_nu
    return F.cross_entropy(torch.stack([first, middle, second], dim=-1), outcomes)
