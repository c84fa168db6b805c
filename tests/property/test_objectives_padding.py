"""Padding never leaks, batch order never matters, splits add up: for every loss over token matrices, on random ragged batches."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from instructloop.objectives.gae import gae
from instructloop.objectives.group import group_policy_loss, reinforce_advantages, sequence_policy_loss
from instructloop.objectives.kl import sequence_kl
from instructloop.objectives.masking import length_mask, masked_mean, masked_whiten
from instructloop.objectives.policy import clipped_policy_loss
from instructloop.objectives.preference import PairLogprobs, dpo_loss, simpo_loss
from instructloop.objectives.ptx import ptx_loss
from instructloop.objectives.reward_shaping import kl_shaped_rewards
from instructloop.objectives.sft import mean_logprob, sequence_logprob, sequence_nll, token_nll
from instructloop.objectives.value import clipped_value_loss, explained_variance

SETTINGS = settings(deadline=None, max_examples=40)
JUNK = (float("nan"), float("inf"), float("-inf"), 1e300)


@dataclass(frozen=True)
class Batch:
    """Four matrices of the same shape, one number per row, and lengths."""

    first: Tensor
    second: Tensor
    third: Tensor
    fourth: Tensor
    rows: Tensor
    lengths: Tensor

    @property
    def mask(self) -> Tensor:
        return length_mask(self.lengths, self.first.shape[1])

    @property
    def matrices(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return self.first, self.second, self.third, self.fourth

    def with_junk(self, junk: list[float]) -> "Batch":
        """The same batch with non-numbers where nothing is real."""
        filler = torch.tensor(junk, dtype=torch.float64)[torch.arange(self.first.numel()) % len(junk)].reshape(self.first.shape)
        return Batch(*(torch.where(self.mask, x, filler) for x in self.matrices), self.rows, self.lengths)

    def wider(self, columns: int) -> "Batch":
        """The same batch padded further."""
        room = torch.full((len(self.rows), columns), float("nan"), dtype=torch.float64)
        return Batch(*(torch.cat([x, room], dim=1) for x in self.matrices), self.rows, self.lengths)

    def take(self, index: Tensor) -> "Batch":
        return Batch(*(x[index] for x in self.matrices), self.rows[index], self.lengths[index])


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    """Ragged batches of 1 to 4 rows and up to 5 slots, empty rows included; at least one real token."""
    lengths = draw(st.lists(st.integers(0, 5), min_size=1, max_size=4).filter(any))
    width = max(lengths) + draw(st.integers(0, 2))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    matrices = [torch.randn(len(lengths), width, generator=generator, dtype=torch.float64) for _ in range(4)]
    return Batch(*matrices, torch.randn(len(lengths), generator=generator, dtype=torch.float64), torch.tensor(lengths))


Loss = Callable[[Batch, Tensor | None], Tensor]


def _dpo(b: Batch, rows: Tensor | None) -> Tensor:
    sums = [sequence_logprob(x, b.mask) for x in b.matrices]
    return dpo_loss(PairLogprobs(*sums), beta=0.3, denominator=rows).loss


def _simpo(b: Batch, rows: Tensor | None) -> Tensor:
    return simpo_loss(mean_logprob(b.first, b.mask), mean_logprob(b.second, b.mask), beta=2.0, gamma=1.0, denominator=rows).loss


def _group(kind: str) -> Loss:
    return lambda b, n: (
        group_policy_loss(
            b.first, b.second, b.rows, b.mask, clip=0.2, aggregation=kind, fixed_length=7, ref_logprob=b.third, kl_coef=0.1, denominator=n
        ).loss
    )


# name: (loss of a batch, whether its denominator counts tokens or rows)
LOSSES: dict[str, tuple[Loss, str]] = {
    "token_nll": (lambda b, n: token_nll(b.first, b.mask, denominator=n), "tokens"),
    "ptx_loss": (lambda b, n: ptx_loss(b.first, b.mask, denominator=n), "tokens"),
    "sequence_nll": (lambda b, n: sequence_nll(b.first, b.mask, denominator=n), "rows"),
    "clipped_policy": (lambda b, n: clipped_policy_loss(b.first, b.second, b.third, b.mask, clip=0.2, denominator=n).loss, "tokens"),
    "dual_clip": (
        lambda b, n: clipped_policy_loss(b.first, b.second, b.third, b.mask, clip=0.2, dual_clip=3.0, denominator=n).loss,
        "tokens",
    ),
    "clipped_value": (lambda b, n: clipped_value_loss(b.first, b.second, b.third, b.mask, clip=0.2, denominator=n).loss, "tokens"),
    "plain_value": (lambda b, n: clipped_value_loss(b.first, b.second, b.third, b.mask, clip=None, denominator=n).loss, "tokens"),
    "grpo": (_group("sequence"), "rows"),
    "dapo": (_group("token"), "tokens"),
    "dr_grpo": (_group("fixed"), "rows"),
    "rloo": (lambda b, n: sequence_policy_loss(b.first, b.second, b.rows, b.mask, clip=0.2, denominator=n).loss, "rows"),
    "gspo": (lambda b, n: sequence_policy_loss(b.first, b.second, b.rows, b.mask, clip=0.2, ratio="mean", denominator=n).loss, "rows"),
    "dpo": (_dpo, "rows"),
    "simpo": (_simpo, "rows"),
}


def _loss_and_gradient(name: str, batch: Batch, denominator: Tensor | None = None) -> tuple[Tensor, Tensor]:
    first = batch.first.clone().requires_grad_(True)
    loss = LOSSES[name][0](Batch(first, *batch.matrices[1:], batch.rows, batch.lengths), denominator)
    return loss.detach(), torch.autograd.grad(loss, first)[0]


@pytest.mark.parametrize("name", LOSSES)
@given(batch=batches(), junk=st.lists(st.sampled_from(JUNK), min_size=1, max_size=4))
@SETTINGS
def test_what_padded_slots_hold_changes_no_loss_and_no_gradient(name: str, batch: Batch, junk: list[float]) -> None:
    loss, gradient = _loss_and_gradient(name, batch)
    dirty_loss, dirty_gradient = _loss_and_gradient(name, batch.with_junk(junk))
    assert torch.isfinite(loss)
    assert torch.equal(loss, dirty_loss)
    assert torch.equal(gradient, dirty_gradient)
    assert gradient[~batch.mask].abs().sum().item() == 0.0


@pytest.mark.parametrize("name", LOSSES)
@given(batch=batches(), columns=st.integers(1, 3))
@SETTINGS
def test_padding_further_changes_no_loss_and_no_gradient(name: str, batch: Batch, columns: int) -> None:
    loss, gradient = _loss_and_gradient(name, batch)
    wide_loss, wide_gradient = _loss_and_gradient(name, batch.wider(columns))
    torch.testing.assert_close(wide_loss, loss)
    torch.testing.assert_close(wide_gradient[:, : gradient.shape[1]], gradient)


@pytest.mark.parametrize("name", LOSSES)
@given(batch=batches(), data=st.data())
@SETTINGS
def test_the_order_of_rows_does_not_matter(name: str, batch: Batch, data: st.DataObject) -> None:
    order = torch.tensor(data.draw(st.permutations(range(len(batch.rows)))))
    loss, gradient = _loss_and_gradient(name, batch)
    other_loss, other_gradient = _loss_and_gradient(name, batch.take(order))
    torch.testing.assert_close(other_loss, loss)
    torch.testing.assert_close(other_gradient, gradient[order])


@pytest.mark.parametrize("name", LOSSES)
@given(batch=batches(), parts=st.sampled_from([1, 2, 4]))
@SETTINGS
def test_ppo_29_micro_batches_with_the_global_count_add_up_to_the_batch(name: str, batch: Batch, parts: int) -> None:
    count = batch.lengths.sum() if LOSSES[name][1] == "tokens" else torch.tensor(len(batch.rows))
    loss, gradient = _loss_and_gradient(name, batch)
    pieces = [_loss_and_gradient(name, batch.take(rows), count) for rows in torch.arange(len(batch.rows)).chunk(parts)]
    torch.testing.assert_close(sum(piece[0] for piece in pieces), loss)
    torch.testing.assert_close(torch.cat([piece[1] for piece in pieces]), gradient)


@given(batch=batches(), junk=st.lists(st.sampled_from(JUNK), min_size=1, max_size=4))
@SETTINGS
def test_targets_and_measures_do_not_see_padding_either(batch: Batch, junk: list[float]) -> None:
    clean, dirty = ([*_measures(b)] for b in (batch, batch.with_junk(junk)))
    for ours, theirs in zip(clean, dirty, strict=True):
        assert torch.isfinite(ours).all()
        assert torch.equal(ours, theirs)


def _measures(b: Batch) -> list[Tensor]:
    rewards = kl_shaped_rewards(b.rows, b.first, b.second, b.mask, beta=0.1)
    targets = gae(rewards, b.third, b.mask, gamma=1.0, lam=0.95)
    statistics = clipped_policy_loss(b.first, b.second, b.third, b.mask, clip=0.2)
    return [
        *targets,
        *statistics,
        *clipped_value_loss(b.first, b.second, b.third, b.mask, clip=0.2),
        masked_mean(rewards, b.mask),
        masked_whiten(b.first, b.mask),
        reinforce_advantages(b.first, b.mask),
        sequence_kl(b.first, b.second, b.mask, estimator="k3"),
        explained_variance(b.third, targets.returns, b.mask),
    ]
