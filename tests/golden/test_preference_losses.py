"""Losses and gradient norms of another implementation (TRL) on fixed tensors, read from the shared folder."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from instructloop.objectives.group import group_policy_loss, sequence_policy_loss
from instructloop.objectives.preference import (
    PairLogprobs,
    cpo_loss,
    dpo_loss,
    hinge_loss,
    ipo_loss,
    kto_baseline,
    kto_loss,
    orpo_loss,
    robust_dpo_loss,
    simpo_loss,
)
from instructloop.objectives.reward import bradley_terry_loss

FILE = Path(os.environ.get("INSTRUCTLOOP_SHARED", "/nonexistent")) / "goldens" / "preference_losses.json"
pytestmark = pytest.mark.skipif(not FILE.is_file(), reason="INSTRUCTLOOP_SHARED does not name a folder with goldens/preference_losses.json")

Leaf = Callable[["Inputs"], Tensor]
Loss = Callable[["Inputs", Tensor], Tensor]


class Inputs:
    """The file's tensors in double precision; log-probs are next-token aligned, rows 0..3 chosen, 4..7 rejected."""

    def __init__(self, raw: dict[str, Any]) -> None:
        def tensor(value: Any) -> Tensor:
            return torch.tensor(value, dtype=torch.float64)

        self.mask = torch.tensor(raw["completion_mask"], dtype=torch.bool)[:, 1:]
        self.policy, self.ref = tensor(raw["policy_logps"]), tensor(raw["ref_logps"])
        self.scores, self.margin = tensor(raw["rm_scores_chosen_then_rejected"]), tensor(raw["rm_margin"])
        self.old, self.advantages = tensor(raw["rl"]["old_logps"]), tensor(raw["rl"]["advantages"])

    def sums(self, logps: Tensor) -> Tensor:
        # NOTE: over all columns, as the file's gradient norms were taken; the padded ones hold zeros, so the value is the masked sum.
        return logps.sum(dim=-1)

    def means(self, logps: Tensor) -> Tensor:
        return logps.sum(dim=-1) / self.mask.sum(dim=-1)

    def pairs(self, logps: Tensor, *, mean: bool = False) -> PairLogprobs:
        reduce = self.means if mean else self.sums
        policy, ref = reduce(logps), reduce(self.ref)
        return PairLogprobs(policy[:4], policy[4:], ref[:4], ref[4:])


def _tokens(inputs: Inputs) -> Tensor:
    return inputs.policy


def _sums(inputs: Inputs) -> Tensor:
    return inputs.sums(inputs.policy)


def _means(inputs: Inputs) -> Tensor:
    return inputs.means(inputs.policy)


def _scores(inputs: Inputs) -> Tensor:
    return inputs.scores


def _kto(inputs: Inputs, logps: Tensor) -> Tensor:
    ratios = inputs.sums(logps) - inputs.sums(inputs.ref)
    good = torch.arange(8) < 4
    return kto_loss(ratios, good, baseline=kto_baseline(ratios), beta=0.1, undesirable_weight=1.33)


def _group(inputs: Inputs, logps: Tensor, **options: Any) -> Tensor:
    # the completions are the last six columns
    policy, old, ref, mask = (x[:, 2:] for x in (logps, inputs.old, inputs.ref, inputs.mask))
    return group_policy_loss(policy, old, inputs.advantages, mask, clip=0.2, ref_logprob=ref, **options).loss


# case: (what the gradient norm is taken with respect to, the loss)
CASES: dict[str, tuple[Leaf, Loss]] = {
    "dpo/sigmoid": (_tokens, lambda i, x: dpo_loss(i.pairs(x), beta=0.1).loss),
    "dpo/hinge": (_tokens, lambda i, x: hinge_loss(i.pairs(x), beta=0.1).loss),
    "dpo/ipo": (_tokens, lambda i, x: ipo_loss(i.pairs(x, mean=True), tau=0.1).loss),
    "dpo/robust_ls0.1": (_tokens, lambda i, x: robust_dpo_loss(i.pairs(x), beta=0.1, flip_rate=0.1).loss),
    "dpo/sigmoid_beta0.5": (_tokens, lambda i, x: dpo_loss(i.pairs(x), beta=0.5).loss),
    "kto/kto_uw1.33": (_tokens, _kto),
    "rm/bt": (_scores, lambda i, x: bradley_terry_loss(x[:4], x[4:])),
    "rm/bt_margin": (_scores, lambda i, x: bradley_terry_loss(x[:4], x[4:], margin=i.margin)),
    "cpo/sigmoid": (_sums, lambda i, x: cpo_loss(x[:4], x[4:], beta=0.1).loss),
    # the file fed this case with token sums, where the loss itself is defined on means
    "cpo/simpo_g0.5": (_sums, lambda i, x: simpo_loss(x[:4], x[4:], beta=0.1, gamma=0.5).loss),
    "orpo/odds_ratio_term": (_means, lambda i, x: orpo_loss(x[:4], x[4:], weight=0.1).loss),
    "grpo/grpo": (_tokens, lambda i, x: _group(i, x, aggregation="sequence")),
    "grpo/dr_grpo": (_tokens, lambda i, x: _group(i, x, aggregation="fixed", fixed_length=6)),
    "grpo/dapo": (_tokens, lambda i, x: _group(i, x, aggregation="token")),
    "grpo/dapo_kl0.04": (_tokens, lambda i, x: _group(i, x, aggregation="token", kl_coef=0.04)),
    "rloo/surrogate": (_tokens, lambda i, x: sequence_policy_loss(x, i.old, i.advantages, i.mask, clip=0.2).loss),
}


def test_every_case_of_the_file_is_compared() -> None:
    assert set(json.loads(FILE.read_text())["cases"]) == set(CASES)


@pytest.mark.parametrize("name", CASES)
def test_loss_and_gradient_norm_equal_the_stored_ones(name: str) -> None:
    stored = json.loads(FILE.read_text())
    inputs, (leaf, loss_of) = Inputs(stored["inputs"]), CASES[name]
    x = leaf(inputs).clone().requires_grad_(True)
    loss = loss_of(inputs, x)
    (gradient,) = torch.autograd.grad(loss, x)
    # the file was computed in fp32 and rounded to 1e-6
    assert loss.item() == pytest.approx(stored["cases"][name]["loss"], abs=2e-6, rel=1e-7)
    assert gradient.norm().item() == pytest.approx(stored["cases"][name]["grad_norm"], abs=2e-6, rel=1e-6)
