"""Analytic gradients against finite differences in double precision, away from the kinks of clips."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from instructloop.objectives.group import group_policy_loss, sequence_policy_loss
from instructloop.objectives.kl import categorical_kl, k3
from instructloop.objectives.logprobs import selected_logprobs, token_entropy
from instructloop.objectives.masking import length_mask, masked_whiten
from instructloop.objectives.policy import clipped_policy_loss
from instructloop.objectives.preference import PairLogprobs, dpo_loss, ipo_loss, kto_loss, orpo_loss, robust_dpo_loss, simpo_loss
from instructloop.objectives.reward import best_of_k_softmax, bradley_terry_loss, davidson_loss, plackett_luce_loss, ranking_loss
from instructloop.objectives.sft import sequence_nll, token_nll
from instructloop.objectives.value import clipped_value_loss

MASK = length_mask(torch.tensor([3, 1]), 3)


def _random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


IDS = torch.tensor([[0, 1, 3], [2, 2, 0]])
OLD, ADVANTAGE, REF = _random(2, 3, seed=1), _random(2, 3, seed=2), _random(2, 3, seed=3)
ROWS = torch.tensor([1.5, -0.5], dtype=torch.float64)
RANKS = torch.tensor([1, 0, 2, 0, 1])


def _pairs(x: Tensor) -> PairLogprobs:
    return PairLogprobs(x[0], x[1], OLD[0], OLD[1])


CASES: dict[str, tuple[Callable[[Tensor], Tensor], tuple[int, ...]]] = {
    "selected_logprobs": (lambda x: selected_logprobs(x, IDS, temperature=0.7), (2, 3, 4)),
    "token_entropy": (token_entropy, (2, 3, 4)),
    "categorical_kl": (lambda x: categorical_kl(x, OLD), (2, 3)),
    "k3": (lambda x: k3(x, REF), (2, 3)),
    "masked_whiten": (lambda x: masked_whiten(x, MASK), (2, 3)),
    "token_nll": (lambda x: token_nll(x, MASK), (2, 3)),
    "sequence_nll": (lambda x: sequence_nll(x, MASK), (2, 3)),
    "policy": (lambda x: clipped_policy_loss(x, OLD, ADVANTAGE, MASK, clip=0.2, dual_clip=3.0).loss, (2, 3)),
    "value": (lambda x: clipped_value_loss(x, OLD, ADVANTAGE, MASK, clip=0.2).loss, (2, 3)),
    "grpo_kl": (lambda x: group_policy_loss(x, OLD, ROWS, MASK, clip=0.2, ref_logprob=REF, kl_coef=0.1).loss, (2, 3)),
    "rloo": (lambda x: sequence_policy_loss(x, OLD, ROWS, MASK, clip=0.2).loss, (2, 3)),
    "gspo": (lambda x: sequence_policy_loss(x, OLD, ROWS, MASK, clip=0.2, ratio="mean").loss, (2, 3)),
    "ranking": (lambda x: ranking_loss(x, RANKS).loss, (5,)),
    "bradley_terry": (lambda x: bradley_terry_loss(x[0], x[1], margin=0.5, center=0.01), (2, 4)),
    "plackett_luce": (lambda x: plackett_luce_loss(x, torch.tensor([2, 0, 1])), (3,)),
    "best_of_k": (lambda x: best_of_k_softmax(x, torch.tensor([1, 0])), (2, 4)),
    "davidson": (lambda x: davidson_loss(x[0], x[1], torch.tensor([0, 1, 2]), log_nu=-0.5), (2, 3)),
    "dpo": (lambda x: dpo_loss(_pairs(x), beta=0.5, label_smoothing=0.1).loss, (2, 3)),
    "robust_dpo": (lambda x: robust_dpo_loss(_pairs(x), beta=0.5, flip_rate=0.2).loss, (2, 3)),
    "ipo": (lambda x: ipo_loss(_pairs(x), tau=0.1).loss, (2, 3)),
    "simpo": (lambda x: simpo_loss(x[0], x[1], beta=2.0, gamma=1.0).loss, (2, 3)),
    "orpo": (lambda x: orpo_loss(-x[0].abs() - 0.1, -x[1].abs() - 0.1, weight=0.5).loss, (2, 3)),
    "kto": (lambda x: kto_loss(x, torch.tensor([True, False, True]), baseline=0.2, beta=0.3, undesirable_weight=1.33), (3,)),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("seed", [11, 12, 13])
def test_gradients_equal_finite_differences(name: str, seed: int) -> None:
    function, shape = CASES[name]
    assert torch.autograd.gradcheck(function, _random(*shape, seed=seed).requires_grad_(True), eps=1e-7, atol=1e-5)
