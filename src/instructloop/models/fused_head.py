"""Language-model head, softmax and choice of the target's log-probability as one step of the graph.

Taken apart, autograd keeps logits, their log-softmax and two gradients of the same size. Here one chunk of logits is held, turned in
place into probabilities, and in the backward pass into ``softmax - onehot``; the gradient of each row's log-probability scales the
hidden state (h numbers) instead of the logits (V numbers).
"""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.distributed.tensor import DTensor

from instructloop.models.fast_linear import FastLinear, fast_linear, served


def fusible(head: nn.Module) -> bool:
    """Whether a head is a bare linear map: no adapter, no hook (sharding, quantization) that must see its call."""
    return (
        type(head) in (nn.Linear, FastLinear)
        and not isinstance(head.weight, DTensor)
        and not (head._forward_hooks or head._forward_pre_hooks or head._backward_hooks or head._backward_pre_hooks)
    )


def head_logprobs(
    head: nn.Linear, hidden: Float[Tensor, "N h"], targets: Int[Tensor, "N"], temperature: float, width: int
) -> Float[Tensor, "N"]:
    """Ln softmax(head(hidden) / temperature) at the targets, float32, with gradients to hidden states, weight and bias.

    Args:
        head: a head that is ``fusible``.
        hidden: hidden states that predict the targets.
        targets: token ids.
        temperature: divides the logits, > 0.
        width: rows of logits held at once; with more rows than that the backward pass computes them again.
    """
    device = hidden.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype
    with torch.autocast(device, enabled=False):
        result: Tensor = _HeadLogprobs.apply(hidden, head.weight, head.bias, targets, temperature, width, dtype, type(head) is FastLinear)
    return result


class _HeadLogprobs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        temperature: float,
        width: int,
        dtype: torch.dtype,
        fast: bool,
    ) -> Tensor:
        ctx.save_for_backward(hidden, weight, bias, targets)
        ctx.settings = temperature, width, dtype, fast
        ctx.probabilities = None
        cast = weight.to(dtype), None if bias is None else bias.to(dtype)
        if len(targets) <= width:
            result, probabilities = _score(hidden.to(dtype), *cast, targets, temperature, fast)
            if any(ctx.needs_input_grad):
                ctx.probabilities = probabilities
            return result
        pieces = zip(hidden.to(dtype).split(width), targets.split(width), strict=True)
        return torch.cat([_score(rows, *cast, ids, temperature, fast)[0] for rows, ids in pieces])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, bias, targets = ctx.saved_tensors
        temperature, width, dtype, fast = ctx.settings
        for_hidden, for_weight, for_bias = ctx.needs_input_grad[:3]
        cast = weight.to(dtype), None if bias is None else bias.to(dtype)
        scale = upstream.float() / -temperature
        # turned into the gradient below, so that a second backward pass must compute them again
        kept, ctx.probabilities = ctx.probabilities, None
        grads_hidden, grad_weight, grad_bias = [], None, None
        for rows, ids, factor in zip(hidden.split(width), targets.split(width), scale.split(width), strict=True):
            probabilities = kept if kept is not None else _score(rows.to(dtype), *cast, ids, temperature, fast)[1]
            slope = probabilities.scatter_add_(1, ids[:, None], probabilities.new_full((len(ids), 1), -1.0)).to(dtype)
            if for_hidden:
                grads_hidden.append((_multiply(slope, cast[0].t(), fast).float() * factor[:, None]).to(hidden.dtype))
            if for_weight:
                part = _multiply(slope.t(), (rows.float() * factor[:, None]).to(dtype).t(), fast)
                grad_weight = part if grad_weight is None else grad_weight.add_(part)
            if for_bias:
                part = slope.float().t() @ factor
                grad_bias = part if grad_bias is None else grad_bias.add_(part)
        return (
            torch.cat(grads_hidden) if len(grads_hidden) > 1 else grads_hidden[0] if grads_hidden else None,
            None if grad_weight is None else grad_weight.to(weight.dtype),
            None if grad_bias is None or bias is None else grad_bias.to(bias.dtype),
            *[None] * 5,
        )


def _score(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, temperature: float, fast: bool
) -> tuple[Float[Tensor, "N"], Float[Tensor, "N V"]]:
    """Log-probabilities of the targets, and the probabilities of all tokens where the logits were."""
    logits = _multiply(hidden, weight, fast, bias).float()
    if temperature != 1:
        logits.div_(temperature)
    chosen = logits.gather(1, targets[:, None]).squeeze(1)
    normalize = _normalize_by_softmax if logits.device.type == "cpu" else _normalize_by_logsumexp
    normalizer, probabilities = normalize(logits)
    return chosen - normalizer, probabilities


def _normalize_by_softmax(logits: Float[Tensor, "N V"]) -> tuple[Float[Tensor, "N"], Float[Tensor, "N V"]]:
    """Ln of the sum of exp(logits), and probabilities in place; torch's softmax on a CPU is faster than its exp or logsumexp."""
    top = logits.amax(-1)
    probabilities = torch.softmax(logits, -1, out=logits)
    # the likeliest token's probability is at least 1/V: its logarithm is exact enough
    return top - probabilities.amax(-1).log_(), probabilities


def _normalize_by_logsumexp(logits: Float[Tensor, "N V"]) -> tuple[Float[Tensor, "N"], Float[Tensor, "N V"]]:
    """The same for devices whose softmax may not write over its input."""
    normalizer = logits.logsumexp(-1)
    return normalizer, logits.sub_(normalizer[:, None]).exp_()


def _multiply(x: Tensor, weight: Tensor, fast: bool, bias: Tensor | None = None) -> Tensor:
    """``x @ weight.T + bias``, through oneDNN if the head's layer is of that kind."""
    return fast_linear(x, weight, bias) if fast and served(x, weight, bias) else F.linear(x, weight, bias)
