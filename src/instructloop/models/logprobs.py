"""Log-probabilities of completion tokens under any Hugging Face causal LM, without a [B, T, V] tensor.

The trunk runs once over the batch, without its padding where that pays (``packing``), else right-padded. Causal attention
never looks right, so padding needs neither an attention mask nor special positions, and rows are independent of each other.
Only the hidden states that predict a completion token go through the head, in chunks; softmax and sums are float32 whatever
the weights are (ppo-details PPO-33).
"""

import inspect
from typing import NamedTuple
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from instructloop.core.errors import ConfigError
from instructloop.data import TokenBatch
from instructloop.models.device import device_of, evaluating, precision
from instructloop.models.fused_head import fusible, head_logprobs
from instructloop.models.packing import hidden_at

CHUNK_ELEMENTS = 1 << 24
"""Logits held at once (64 MiB in float32)."""


class CompletionLogprobs(NamedTuple):
    """Completion-aligned results; slots outside the mask are 0."""

    logprobs: Float[Tensor, "B R"]
    entropies: Float[Tensor, "B R"] | None
    mask: Bool[Tensor, "B R"]


class TargetLogprobs(NamedTuple):
    """One number for each of N places."""

    logprobs: Float[Tensor, "N"]
    greedy: Bool[Tensor, "N"]


class TrunkAndHead(NamedTuple):
    """A causal LM taken apart: logits = head(trunk(ids).last_hidden_state)."""

    trunk: nn.Module
    head: nn.Module


_taken_apart: WeakKeyDictionary[nn.Module, TrunkAndHead | None] = WeakKeyDictionary()


def trunk_and_head(model: PreTrainedModel) -> TrunkAndHead | None:
    """Take a model apart, or None if its forward does more than trunk and head (logit scaling, soft-capping, a norm between).

    Found by experiment once per model and head, not by a list of names: what reaches the head must be the trunk's output, and
    what leaves the head must be the logits, tried with values of -1000..1000 that no scaling or capping leaves alone.
    """
    known = _taken_apart.get(model)
    if model not in _taken_apart or (known is not None and known.head is not model.get_output_embeddings()):
        _taken_apart[model] = _take_apart(model)
    return _taken_apart[model]


def completion_logprobs(
    model: PreTrainedModel, batch: TokenBatch, *, temperature: float = 1.0, entropy: bool = False
) -> CompletionLogprobs:
    """Ln pi(y_t | x, y_<t) of every completion token, and the entropy of the distribution it was drawn from.

    NOTE: logits are divided by the sampling temperature here exactly as in the rollout; otherwise PPO's first ratio is not
    1 (ppo-details PPO-12).

    Args:
        model: a causal LM; its mode and gradients are the caller's affair.
        batch: B rows; moved to the model's device if needed.
        temperature: what rollouts were sampled with, > 0.
        entropy: also compute entropies (nats).

    Returns:
        Float32 matrices [B, R]. A row without a prompt has nothing that predicts its first token: that slot is masked.
    """
    if temperature <= 0:
        raise ConfigError(f"log-probabilities need a temperature > 0, got {temperature}", hint="greedy rollouts are scored at 1")
    batch = batch.to(device_of(model))
    mask = batch.completion_mask & (batch.completion_positions > 0)
    columns = batch.completion_positions[mask] - 1
    rows = mask.nonzero()[:, 0]
    logprobs, entropies = _select(model, batch, rows, columns, batch.completion_tokens[mask], temperature, entropy)
    blank = torch.zeros(mask.shape, dtype=torch.float32, device=mask.device)
    return CompletionLogprobs(
        blank.masked_scatter(mask, logprobs), None if entropies is None else blank.masked_scatter(mask, entropies), mask
    )


def text_nll(model: PreTrainedModel, blocks: Int[Tensor, "N L"]) -> Float[Tensor, ""]:
    """Mean negative log-likelihood of a token (nats) over blocks of text, each token given those before it in its block."""
    blocks = blocks.to(device_of(model))
    count, length = blocks.shape
    if length < 2:
        raise ConfigError(f"blocks of {length} token predict nothing", hint="use blocks of at least 2 tokens")
    rows = torch.arange(count, device=blocks.device).repeat_interleave(length - 1)
    columns = torch.arange(length - 1, device=blocks.device).repeat(count)
    lengths = torch.full((count,), length, device=blocks.device)
    whole = TokenBatch(blocks, lengths, torch.zeros_like(lengths))
    logprobs, _ = _select(model, whole, rows, columns, blocks[:, 1:].reshape(-1), 1.0, False)
    return -logprobs.mean()


@torch.no_grad()
def target_logprobs(
    model: PreTrainedModel, batch: TokenBatch, rows: Int[Tensor, "N"], columns: Int[Tensor, "N"], targets: Int[Tensor, "N"]
) -> TargetLogprobs:
    """Log-probability of ``targets[i]`` after ``batch.tokens[rows[i], :columns[i] + 1]``, and whether it is the likeliest token there.

    The targets need not be in the batch, so that a text may be one token longer than the context.

    Args:
        model: a causal LM in evaluation mode.
        batch: B rows; rows whose prompts agree are computed once.
        rows: row of each place.
        columns: its column.
        targets: the token that follows.
    """
    device = device_of(model)
    batch, rows, columns, targets = batch.to(device), rows.to(device), columns.to(device), targets.to(device)
    parts = trunk_and_head(model)
    with precision(model):
        if parts is None:
            return _best_and_chosen(None, _own_logits(model, batch.tokens, rows, columns), targets)
        hidden = hidden_at(model, parts.trunk, batch, rows, columns)
        width = max(1, CHUNK_ELEMENTS // _vocabulary(model, parts.head))
        pieces = [_best_and_chosen(parts.head, one, ids) for one, ids in zip(hidden.split(width), targets.split(width), strict=True)]
    return TargetLogprobs(torch.cat([piece.logprobs for piece in pieces]), torch.cat([piece.greedy for piece in pieces]))


def _best_and_chosen(head: nn.Module | None, inputs: Tensor, targets: Int[Tensor, "N"]) -> TargetLogprobs:
    logits = (inputs if head is None else head(inputs)).float()
    chosen = logits.gather(-1, targets[:, None]).squeeze(-1)
    return TargetLogprobs(chosen - logits.logsumexp(-1), logits.argmax(-1) == targets)


def _select(
    model: PreTrainedModel,
    batch: TokenBatch,
    rows: Int[Tensor, "N"],
    columns: Int[Tensor, "N"],
    targets: Int[Tensor, "N"],
    temperature: float,
    entropy: bool,
) -> tuple[Float[Tensor, "N"], Float[Tensor, "N"] | None]:
    """Log-probability of ``targets[i]`` after ``batch.tokens[rows[i], :columns[i] + 1]``."""
    parts = trunk_and_head(model)
    with precision(model):
        if parts is None:
            logits = _own_logits(model, batch.tokens, rows, columns)
            return _score(None, logits, targets, temperature, entropy)
        hidden = hidden_at(model, parts.trunk, batch, rows, columns)
        width = max(1, CHUNK_ELEMENTS // _vocabulary(model, parts.head))
        if not entropy and fusible(parts.head):
            assert isinstance(parts.head, nn.Linear)
            return head_logprobs(parts.head, hidden, targets, temperature, width), None
        if len(targets) <= width:
            return _score(parts.head, hidden, targets, temperature, entropy)
        scored = [
            # one chunk's logits at a time, in the backward pass too: they are computed again there
            checkpoint(_score, parts.head, piece, ids, temperature, entropy, use_reentrant=False, preserve_rng_state=False)
            for piece, ids in zip(hidden.split(width), targets.split(width), strict=True)
        ]
    logprobs = torch.cat([one for one, _ in scored])
    return logprobs, torch.cat([two for _, two in scored]) if entropy else None


def _score(
    head: nn.Module | None, inputs: Tensor, targets: Int[Tensor, "N"], temperature: float, entropy: bool
) -> tuple[Float[Tensor, "N"], Float[Tensor, "N"] | None]:
    logits = (inputs if head is None else head(inputs)).float()
    if temperature != 1:
        logits = logits / temperature
    logprobs = F.log_softmax(logits, dim=-1)
    chosen = logprobs.gather(-1, targets[:, None]).squeeze(-1)
    return chosen, -(logprobs.exp() * logprobs).sum(-1) if entropy else None


def _own_logits(model: PreTrainedModel, tokens: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """The model's own forward, asked for the columns that are needed where it can be asked."""
    if "logits_to_keep" not in inspect.signature(model.forward).parameters:
        return model(input_ids=tokens, use_cache=False).logits[rows, columns]
    kept, places = columns.unique(return_inverse=True)
    return model(input_ids=tokens, use_cache=False, logits_to_keep=kept).logits[rows, places]


def _vocabulary(model: PreTrainedModel, head: nn.Module) -> int:
    weight = getattr(head, "weight", None)
    return int(weight.shape[0]) if isinstance(weight, Tensor) else int(model.config.get_text_config().vocab_size)


def _take_apart(model: PreTrainedModel) -> TrunkAndHead | None:
    head = model.get_output_embeddings()
    if not isinstance(head, nn.Module):
        return None
    ids = torch.arange(3, device=device_of(model))[None, :]
    seen: list[Tensor] = []

    def ramp_out(_module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        seen.append(inputs[0])
        return torch.linspace(-1000, 1000, output.shape[-1], device=output.device, dtype=output.dtype).expand_as(output)

    with evaluating(model), precision(model):
        hook = head.register_forward_hook(ramp_out)
        try:
            logits = model(input_ids=ids, use_cache=False).logits
        finally:
            hook.remove()
        expected = torch.linspace(-1000, 1000, logits.shape[-1], device=logits.device, dtype=logits.dtype).expand_as(logits)
        if len(seen) != 1 or not torch.equal(logits, expected):
            return None
        for trunk in (model.base_model, model.get_decoder()):
            if trunk is model:
                continue
            hidden = trunk(input_ids=ids, use_cache=False).last_hidden_state
            if hidden.shape == seen[0].shape and torch.allclose(hidden, seen[0], rtol=1e-5, atol=1e-6):
                return TrunkAndHead(trunk, head)
    return None
