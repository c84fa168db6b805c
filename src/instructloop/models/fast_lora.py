"""Low-rank adapters over linear layers that run through oneDNN: peft's result in a third of its time on such CPUs.

``y + B (s A x)`` with the sum inside the last product, instead of three passes over arrays of y's size; and all products of the
backward pass in the order that oneDNN is quick at (one that ends in R columns is computed as its transpose).
"""

from functools import cache
from typing import Any

import torch
from jaxtyping import Float
from peft.tuners.lora import Linear as PeftLinear
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from instructloop.models.fast_linear import FastConv1D, FastLinear, onednn_works, product, served


class FastLora(PeftLinear):  # type: ignore[misc]  # peft says nothing of its types
    """peft's layer with a shorter way for the plain case; ``state_dict``, merging and switching are peft's."""

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """The base layer's result plus those of the active adapters."""
        names = [name for name in self.active_adapters if name in self.lora_A]
        special = args or kwargs or self.disable_adapters or self.merged or torch.compiler.is_compiling()
        if special or not all(self._plain(name, x) for name in names):
            return super().forward(x, *args, **kwargs)
        result: Tensor = self.base_layer(x)
        for name in names:
            result = add_low_rank(result, x, self.lora_A[name].weight, self.lora_B[name].weight, self.scaling[name])
        return result

    def _plain(self, name: str, x: Tensor) -> bool:
        """Whether an adapter is A, B and a factor, without dropout, and oneDNN takes the input."""
        dropout = self.lora_dropout[name]
        still = isinstance(dropout, nn.Identity) or dropout.p == 0 or not dropout.training
        return still and name not in self.lora_variant and not self.lora_bias[name] and served(x, self.lora_B[name].weight, None)


def speed_up_adapters(model: nn.Module) -> int:
    """Turn peft's layers over ``FastLinear`` and ``FastConv1D`` into ``FastLora``, in place; returns how many."""
    found = [m for m in model.modules() if type(m) is PeftLinear and isinstance(m.base_layer, FastLinear | FastConv1D)]
    if not found or not fused_sum_works():
        return 0
    for module in found:
        module.__class__ = FastLora
    return len(found)


def add_low_rank(
    result: Float[Tensor, "... n"], x: Float[Tensor, "... k"], a: Float[Tensor, "r k"], b: Float[Tensor, "n r"], scale: float
) -> Float[Tensor, "... n"]:
    """``result + scale * x @ a.T @ b.T``, with gradients.

    Args:
        result: what the base layer gave; float32 on the CPU.
        x: the layer's input.
        a: down to rank r.
        b: up again.
        scale: alpha / r.
    """
    added: Tensor = _LowRank.apply(result, x, a, b, scale)
    return added


def product_plus(x: Float[Tensor, "... k"], weight: Float[Tensor, "n k"], other: Float[Tensor, "... n"]) -> Float[Tensor, "... n"]:
    """``x @ weight.T + other`` as one operation, no gradients."""
    result: Tensor = torch.ops.mkldnn._linear_pointwise.binary(x, other, weight, None, "add")
    return result


@cache
def fused_sum_works() -> bool:
    """Whether this torch has the product with a sum inside, and it leaves its arguments alone."""
    if not onednn_works() or "binary" not in torch.ops.mkldnn._linear_pointwise.overloads():
        return False
    with torch.device("cpu"):  # see onednn_works
        x, weight, other = torch.arange(32.0).reshape(2, 4, 4), torch.arange(24.0).reshape(6, 4) / 8, torch.arange(48.0).reshape(2, 4, 6)
        expected, kept = x @ weight.t() + other, other.clone()
        try:
            found = product_plus(x, weight, other)
        except RuntimeError:
            return False
        return torch.allclose(found, expected) and torch.equal(other, kept)


class _LowRank(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, result: Tensor, x: Tensor, a: Tensor, b: Tensor, scale: float) -> Tensor:
        inner = product(x, a).mul_(scale)
        ctx.save_for_backward(x, inner, a, b)
        ctx.scale = scale
        return product_plus(inner, b, result)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None, Tensor | None, None]:
        x, inner, a, b = ctx.saved_tensors
        _, for_x, for_a, for_b, _ = ctx.needs_input_grad
        flat = upstream.reshape(-1, upstream.shape[-1])
        grad_inner = product(flat, b.t()).mul_(ctx.scale)
        grad_x = product(grad_inner, a.t()).view(x.shape) if for_x else None
        grad_a = product(grad_inner.t(), x.reshape(-1, x.shape[-1]).t()) if for_a else None
        grad_b = product(inner.reshape(-1, inner.shape[-1]).t(), flat.t()).t().contiguous() if for_b else None
        return upstream, grad_x, grad_a, grad_b, None
