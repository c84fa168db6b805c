"""The reward model's loss over a batch of prompts: K forward passes a prompt, one gradient for all of its pairs (spec D3-D5)."""

from collections.abc import Sequence
from typing import NamedTuple

import torch

from instructloop.data import RankedGroup, TokenSequence, collate, grouped_micro_batches, micro_batches
from instructloop.models.device import evaluating
from instructloop.models.ranks import ALONE, Ranks
from instructloop.models.scalar import ScalarModel
from instructloop.models.sharding import gathered, is_sharded
from instructloop.objectives.reward import pairwise_ranking_loss
from instructloop.training.optim import check_loss


class BatchStats(NamedTuple):
    """What one batch showed, over all of its prompts."""

    loss: float
    """Mean over prompts of the mean over their strict pairs of -ln sigma(r_w - r_l)."""
    accuracy: float
    """Share of strict pairs in which the winner scored higher; equal scores count one half."""
    pairs: int
    tokens: int
    """Real tokens that went through the trunk."""


def accumulate_ranking_gradient(
    model: ScalarModel,
    groups: Sequence[RankedGroup],
    pad_id: int,
    micro_batch_tokens: int,
    *,
    step: int,
    per_pair: bool = False,
    ranks: Ranks = ALONE,
) -> BatchStats:
    """Add the gradient of the batch's ranking loss to ``.grad``; the split into micro-batches does not change it (PPO-29).

    A prompt's K completions always share a micro-batch: each is scored once and enters all of its pairs (D4).

    Args:
        model: the scalar model.
        groups: the prompts of the whole batch; those without a strict pair are passed over, the others count by their weight (spec L1).
        pad_id: filler.
        micro_batch_tokens: tokens, padding included, of one forward-backward pass (a single prompt may exceed it).
        step: the step's number in an error.
        per_pair: every pair weighs the same, instead of every prompt.
        ranks: the processes that share the batch.

    Raises:
        TrainingDiverged: the loss is not finite.
    """
    pairs = [list(group.strict_pairs()) for group in groups]
    used = [index for index, found in enumerate(pairs) if found]
    total_pairs = sum(map(len, pairs))
    # D3, D5: a prompt's mean over its own strict pairs, then the mean over prompts that have any
    denominator = total_pairs if per_pair else len(used)
    loss = right = 0.0
    mine = [used[place] for place in ranks.share([sum(map(len, groups[index].sequences)) for index in used])]
    parts = (
        [mine[place] for place in part]
        for part in grouped_micro_batches([[len(row) for row in groups[index].sequences] for index in mine], micro_batch_tokens)
    )
    for part, counts in ranks.in_step(parts, idle=lambda: used[:1], sharded=is_sharded(model)):
        rows: list[TokenSequence] = []
        winners: list[int] = []
        losers: list[int] = []
        weights: list[float] = []
        for index in part:
            winners += [len(rows) + winner for winner, _ in pairs[index]]
            losers += [len(rows) + loser for _, loser in pairs[index]]
            weights += [groups[index].weight * (1.0 if per_pair else 1.0 / len(pairs[index]))] * len(pairs[index])
            rows += groups[index].sequences
        scores = model.scores(collate(rows, pad_id))
        device = scores.device
        result = pairwise_ranking_loss(
            scores,
            torch.tensor(winners, device=device),
            torch.tensor(losers, device=device),
            torch.tensor(weights, device=device),
            prompts=float(denominator),
        )
        (check_loss(result.loss, "rm/loss", step) * counts).backward()
        loss += counts * float(result.loss.detach())
        right += counts * float(result.accuracy) * len(winners)
    tokens = sum(len(row) for index in used for row in groups[index].sequences)
    loss, right = ranks.sum(loss, right)
    return BatchStats(loss, right / max(1, total_pairs), total_pairs, tokens)


def score_sequences(
    model: ScalarModel, sequences: Sequence[TokenSequence], pad_id: int, micro_batch_tokens: int, *, ranks: Ranks = ALONE
) -> list[float]:
    """Scores of any sequences in evaluation mode, stored bias included; independent of how they are batched up to rounding."""
    lengths = [len(sequence) for sequence in sequences]
    mine, scored = ranks.share(lengths), dict[int, float]()
    with gathered(model), evaluating(model):
        for part in micro_batches([lengths[row] for row in mine], micro_batch_tokens):
            rows = [mine[place] for place in part]
            values = model.scores(collate([sequences[row] for row in rows], pad_id)).tolist()
            scored.update(zip(rows, values, strict=True))
    everything = {row: value for found in ranks.gather(scored) for row, value in found.items()}
    return [everything[row] for row in range(len(sequences))]


def score_groups(
    model: ScalarModel, groups: Sequence[RankedGroup], pad_id: int, micro_batch_tokens: int, *, ranks: Ranks = ALONE
) -> list[list[float]]:
    """Scores of every completion of every group."""
    flat = score_sequences(model, [row for group in groups for row in group.sequences], pad_id, micro_batch_tokens, ranks=ranks)
    result, start = [], 0
    for group in groups:
        result.append(flat[start : start + group.k])
        start += group.k
    return result
