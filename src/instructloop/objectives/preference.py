"""Losses on offline preferences without a reward model: the DPO family, KTO, ORPO, SimPO (section 8 of the PPO notes; spec I3-I7).

Every function takes log-probabilities per *sequence*: sums over completion tokens (``sft.sequence_logprob``) or, where a loss is defined on
the mean token log-probability, ``sft.mean_logprob``. Notation: h = (log pi_w - log ref_w) - (log pi_l - log ref_l), w the chosen and l the
rejected completion. Log both log pi_w and log pi_l: the chosen one often falls too.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from instructloop.objectives.masking import Count
from instructloop.objectives.reward import pair_accuracy


class PreferenceLoss(NamedTuple):
    """A preference loss and what to log about it (only ``loss`` carries gradient)."""

    loss: Float[Tensor, ""]
    accuracy: Float[Tensor, ""]
    """Share of pairs in which the implicit reward prefers the chosen completion; equal counts one half."""
    chosen_reward: Float[Tensor, ""]
    """Mean implicit reward of the chosen completions."""
    rejected_reward: Float[Tensor, ""]


class PairLogprobs(NamedTuple):
    """Sequence log-probabilities of B pairs under the policy and the frozen reference."""

    chosen: Float[Tensor, "pairs"]
    rejected: Float[Tensor, "pairs"]
    ref_chosen: Float[Tensor, "pairs"]
    ref_rejected: Float[Tensor, "pairs"]

    @property
    def gap(self) -> Float[Tensor, "pairs"]:
        """The log-ratio difference h."""
        return (self.chosen - self.ref_chosen) - (self.rejected - self.ref_rejected)


def _reported(terms: Tensor, chosen: Tensor, rejected: Tensor, denominator: Count | None) -> PreferenceLoss:
    chosen, rejected = chosen.detach(), rejected.detach()
    loss = terms.sum() / (max(1, terms.numel()) if denominator is None else denominator)
    return PreferenceLoss(loss, pair_accuracy(chosen, rejected), chosen.mean(), rejected.mean())


def _against_reference(terms: Tensor, pairs: PairLogprobs, beta: float, denominator: Count | None) -> PreferenceLoss:
    return _reported(terms, beta * (pairs.chosen - pairs.ref_chosen), beta * (pairs.rejected - pairs.ref_rejected), denominator)


def dpo_loss(pairs: PairLogprobs, *, beta: float, label_smoothing: float = 0.0, denominator: Count | None = None) -> PreferenceLoss:
    """-(1 - eps) ln sigma(beta h) - eps ln sigma(-beta h) (Rafailov et al. 2023, eq. 7; eps > 0 is conservative DPO).

    Args:
        pairs: token **sums** of log-probabilities.
        beta: strength of the tether to the reference; implicit rewards are beta * log(pi / ref).
        label_smoothing: eps, the share of flipped labels; the minimum is then at beta h = ln((1 - eps) / eps).
        denominator: pairs of the whole batch, when this is a micro-batch.
    """
    logits = beta * pairs.gap
    terms = -F.logsigmoid(logits)
    if label_smoothing:
        terms = (1 - label_smoothing) * terms - label_smoothing * F.logsigmoid(-logits)
    return _against_reference(terms, pairs, beta, denominator)


def robust_dpo_loss(pairs: PairLogprobs, *, beta: float, flip_rate: float, denominator: Count | None = None) -> PreferenceLoss:
    """[-(1 - eps) ln sigma(beta h) + eps ln sigma(-beta h)] / (1 - 2 eps) (Chowdhury et al. 2024): unbiased under flips with rate eps < 0.5."""
    logits = beta * pairs.gap
    terms = (flip_rate * F.logsigmoid(-logits) - (1 - flip_rate) * F.logsigmoid(logits)) / (1 - 2 * flip_rate)
    return _against_reference(terms, pairs, beta, denominator)


def hinge_loss(pairs: PairLogprobs, *, beta: float, denominator: Count | None = None) -> PreferenceLoss:
    """max(0, 1 - beta h) (SLiC, Zhao et al. 2023, on DPO's log-ratios)."""
    return _against_reference(F.relu(1 - beta * pairs.gap), pairs, beta, denominator)


def ipo_loss(pairs: PairLogprobs, *, tau: float, denominator: Count | None = None) -> PreferenceLoss:
    """(h - 1 / (2 tau))^2 (Azar et al. 2023, eq. 17): the gap has a target instead of growing without bound.

    Args:
        pairs: token **means** of log-probabilities (the default, as confirmed by the authors) or token sums: the caller chooses (spec I4).
        tau: regularization; 0.1 aims at h = 5.
        denominator: pairs of the whole batch, when this is a micro-batch.
    """
    return _against_reference((pairs.gap - 1 / (2 * tau)).square(), pairs, tau, denominator)


def soft_label_loss(
    pairs: PairLogprobs, probability: Float[Tensor, "pairs"], *, beta: float, denominator: Count | None = None
) -> PreferenceLoss:
    """-p ln sigma(beta h) - (1 - p) ln sigma(-beta h), p = a judge's probability that the first completion is better (spec I8)."""
    logits = beta * pairs.gap
    terms = -probability * F.logsigmoid(logits) - (1 - probability) * F.logsigmoid(-logits)
    return _against_reference(terms, pairs, beta, denominator)


def cpo_loss(
    chosen: Float[Tensor, "pairs"], rejected: Float[Tensor, "pairs"], *, beta: float, denominator: Count | None = None
) -> PreferenceLoss:
    """-ln sigma(beta (log pi_w - log pi_l)) on token sums (Xu et al. 2024): DPO with a uniform reference. Its NLL term is ``sft.token_nll``."""
    return _reported(-F.logsigmoid(beta * (chosen - rejected)), beta * chosen, beta * rejected, denominator)


def simpo_loss(
    chosen: Float[Tensor, "pairs"],
    rejected: Float[Tensor, "pairs"],
    *,
    beta: float,
    gamma: float,
    denominator: Count | None = None,
) -> PreferenceLoss:
    """-ln sigma(beta (m_w - m_l) - gamma) (Meng et al. 2024, eq. 6).

    Args:
        chosen: m_w, **mean** token log-probability of the chosen completions.
        rejected: m_l.
        beta: scale of the implicit reward beta * m; 2 to 2.5.
        gamma: target margin of the rewards; 0.5 * beta to start.
        denominator: pairs of the whole batch, when this is a micro-batch.
    """
    return _reported(-F.logsigmoid(beta * (chosen - rejected) - gamma), beta * chosen, beta * rejected, denominator)


def log_odds(mean_logprob: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """M - ln(1 - e^m), finite up to m = 0 (there the probability is held one rounding step below 1)."""
    below = mean_logprob.clamp(max=-torch.finfo(mean_logprob.dtype).eps)
    return below - torch.log(-torch.expm1(below))


def orpo_loss(
    chosen: Float[Tensor, "pairs"],
    rejected: Float[Tensor, "pairs"],
    *,
    weight: float,
    denominator: Count | None = None,
) -> PreferenceLoss:
    """-weight * ln sigma(log-odds_w - log-odds_l), the odds-ratio term of ORPO (Hong et al. 2024, eq. 7). Add ``sft.token_nll`` of the chosen.

    Args:
        chosen: m_w, **mean** token log-probability of the chosen completions.
        rejected: m_l.
        weight: lambda; 0.1 to 1.
        denominator: pairs of the whole batch, when this is a micro-batch.
    """
    terms = -weight * F.logsigmoid(log_odds(chosen) - log_odds(rejected))
    return _reported(terms, weight * chosen, weight * rejected, denominator)


def kto_baseline(mismatched_log_ratios: Float[Tensor, "batch"]) -> Float[Tensor, ""]:
    """Z = max(0, mean of log(pi / ref) over completions paired with *other* prompts), without gradient; average it over all ranks."""
    return mismatched_log_ratios.detach().mean().clamp(min=0)


def kto_loss(
    log_ratios: Float[Tensor, "batch"],
    desirable: Bool[Tensor, "batch"],
    *,
    baseline: Float[Tensor, ""] | float,
    beta: float,
    desirable_weight: float = 1.0,
    undesirable_weight: float = 1.0,
    denominator: Count | None = None,
) -> Float[Tensor, ""]:
    """Mean of lambda_D (1 - sigma(beta (r - z))) or lambda_U (1 - sigma(beta (z - r))) (Ethayarajh et al. 2024, eq. 8): no pairs needed.

    Args:
        log_ratios: r = log pi(y|x) - log ref(y|x), token sums.
        desirable: which completions were judged good.
        baseline: z of ``kto_baseline``.
        beta: steepness.
        desirable_weight: lambda_D; keep lambda_D n_D / (lambda_U n_U) in [1, 4/3].
        undesirable_weight: lambda_U.
        denominator: completions of the whole batch, when this is a micro-batch.
    """
    advantage = beta * (log_ratios - baseline)
    # 1 - sigma(a) is written sigma(-a), which keeps its precision where sigma(a) is nearly 1
    terms = torch.where(desirable, desirable_weight * torch.sigmoid(-advantage), undesirable_weight * torch.sigmoid(advantage))
    return terms.sum() / (max(1, terms.numel()) if denominator is None else denominator)
