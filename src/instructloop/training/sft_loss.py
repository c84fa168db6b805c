"""The SFT loss over a batch: its gradient in micro-batches, and its value on held-out rows."""

from collections.abc import Sequence

from transformers import PreTrainedModel

from instructloop.data import TokenSequence, collate
from instructloop.models.device import evaluating
from instructloop.models.logprobs import completion_logprobs
from instructloop.models.ranks import ALONE, Ranks
from instructloop.models.sharding import gathered, is_sharded
from instructloop.objectives.sft import token_nll
from instructloop.training.loop import token_batches
from instructloop.training.optim import check_loss
from instructloop.training.pretrain import mean_text_nll
from instructloop.training.sft_data import SFTData


def accumulate_sft_gradient(
    model: PreTrainedModel,
    batch: Sequence[TokenSequence],
    pad_id: int,
    micro_batch_tokens: int,
    *,
    step: int,
    weight: float = 1.0,
    ranks: Ranks = ALONE,
) -> float:
    """Add ``weight`` times the gradient of the batch's mean completion-token loss to ``.grad`` (PPO-29: any split gives the same).

    Args:
        model: a causal LM in the mode the caller wants.
        batch: all rows of one optimizer step; this process computes its share of them.
        pad_id: filler.
        micro_batch_tokens: tokens, padding included, of one forward-backward pass.
        step: the step's number in an error.
        weight: factor of the gradient (not of the value returned).
        ranks: the processes that share the batch.

    Returns:
        Mean loss in nats a completion token, over the whole batch.

    Raises:
        TrainingDiverged: the loss is not finite.
    """
    tokens = sum(sequence.completion_length for sequence in batch)
    mine = [batch[row] for row in ranks.share([len(sequence) for sequence in batch])]
    total = 0.0
    parts = (part for _, part in token_batches(mine, pad_id, micro_batch_tokens))
    for micro_batch, counts in ranks.in_step(parts, idle=lambda: collate([min(batch, key=len)], pad_id), sharded=is_sharded(model)):
        scored = completion_logprobs(model, micro_batch)
        loss = check_loss(token_nll(scored.logprobs, scored.mask, denominator=tokens), "sft/loss", step) * counts
        (loss * weight).backward()
        total += float(loss.detach())
    return ranks.sum(total)[0]


def mean_completion_nll(
    model: PreTrainedModel, sequences: Sequence[TokenSequence], pad_id: int, micro_batch_tokens: int, *, ranks: Ranks = ALONE
) -> float:
    """Mean loss over all completion tokens in evaluation mode, nats a token."""
    tokens = sum(sequence.completion_length for sequence in sequences)
    mine = [sequences[row] for row in ranks.share([len(sequence) for sequence in sequences])]
    total = 0.0
    with gathered(model), evaluating(model):
        for _, batch in token_batches(mine, pad_id, micro_batch_tokens):
            scored = completion_logprobs(model, batch)
            total += float(token_nll(scored.logprobs, scored.mask, denominator=tokens))
    return ranks.sum(total)[0]


def evaluate_sft(model: PreTrainedModel, data: SFTData, pad_id: int, micro_batch_tokens: int, *, ranks: Ranks = ALONE) -> dict[str, float]:
    """``val_loss`` and ``pretrain_val_loss``, as far as there is something held out."""
    metrics = {}
    if data.validation is not None:
        metrics["val_loss"] = mean_completion_nll(model, data.validation.sequences, pad_id, micro_batch_tokens, ranks=ranks)
    if data.held_out_blocks is not None:
        metrics["pretrain_val_loss"] = mean_text_nll(model, data.held_out_blocks, micro_batch_tokens, ranks=ranks)
    return metrics
