"""Linear layers of a float32 CPU model through oneDNN's kernels, where torch's own are slow.

torch multiplies float32 matrices on a CPU with MKL, and MKL gives AMD processors its AVX2 kernels. oneDNN, which torch carries too,
takes AVX-512 on the same plain weights: 210-255 instead of 107 GFLOP/s a core on a Zen 5. The swap changes a module's class and nothing
else, so state dicts, ``save_pretrained``, peft and ``deepcopy`` see the ``nn.Linear`` they know.
"""

import platform
from functools import cache
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from transformers.pytorch_utils import Conv1D

from instructloop.core.errors import ConfigError

Matmul = Literal["auto", "torch", "onednn"]

SMALLEST_PRODUCT = 1 << 20
"""Multiplications below which the two are even or calling oneDNN costs more than it saves (measured at 1-64 rows)."""


class FastLinear(nn.Linear):
    """An ``nn.Linear`` whose products run through oneDNN; whatever that does not serve goes the usual way."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  # torch's name, and callers may use it
        """``input @ weight.T + bias`` for any leading shape."""
        if not served(input, self.weight, self.bias):
            return F.linear(input, self.weight, self.bias)
        return fast_linear(input, self.weight, self.bias)


class FastConv1D(Conv1D):
    """The same for GPT-2's layer, whose weight is stored as [in, out]."""

    def forward(self, x: Tensor) -> Tensor:
        """``x @ weight + bias`` for any leading shape."""
        weight: Tensor = self.weight.t()
        if not served(x, weight, self.bias):
            return F.linear(x, weight, self.bias)
        return fast_linear(x, weight, self.bias)


def speed_up(model: nn.Module, matmul: Matmul = "auto") -> int:
    """Let the plain linear layers of a model compute through oneDNN, in place, if that pays on this machine.

    NOTE: decided by what the processor is, never by a clock: a resumed run must take the same kernels and give the same bits.

    Args:
        model: any module; layers that are not float32 CPU layers at the time of a call are served by torch.
        matmul: ``auto`` swaps on AMD processors with AVX-512 when torch computes with MKL; ``torch`` changes nothing; ``onednn``
            swaps on any CPU.

    Returns:
        How many layers were changed.

    Raises:
        ConfigError: ``onednn`` is asked for and this torch has no oneDNN.
    """
    if matmul == "torch" or (matmul == "auto" and not onednn_pays()):
        return 0
    if not onednn_works():
        if matmul == "auto":
            return 0
        raise ConfigError("compute.matmul is 'onednn', but this build of torch cannot", hint="use 'auto'")
    changed = 0
    for module in model.modules():
        if type(module) is nn.Linear:
            module.__class__ = FastLinear
        elif type(module) is Conv1D:
            module.__class__ = FastConv1D
        else:
            continue
        changed += 1
    return changed


def fast_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``x @ weight.T + bias`` through oneDNN, with gradients.

    Args:
        x: [..., k] float32 on the CPU, at least one row.
        weight: [n, k]; a transposed view is as good.
        bias: [n] or None.
    """
    if torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad or (bias is not None and bias.requires_grad)):
        result: Tensor = _Linear.apply(x, weight, bias)
        return result
    return product(x, weight, bias)


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """The bare operator: [..., k] x [n, k] -> [..., n], no gradients."""
    if torch.compiler.is_compiling():
        return _opaque_product(x, weight, bias)
    result: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return result


def served(x: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    """Whether oneDNN takes this product and gains by it: plain float32 CPU tensors, large enough, no autocast."""
    return (
        x.dtype == weight.dtype == torch.float32
        and x.device.type == weight.device.type == "cpu"
        and x.numel() * weight.shape[0] >= SMALLEST_PRODUCT
        and not torch.is_autocast_enabled("cpu")
        and all(type(value) in _PLAIN for value in (x, weight, bias))
    )


_PLAIN = (Tensor, nn.Parameter, type(None))
"""Subclasses (DTensor, fake and functional tensors) bring their own rules for F.linear."""


@cache
def onednn_pays() -> bool:
    """Whether torch's own float32 products are the slower ones here: MKL on an AMD processor that has AVX-512."""
    return (
        torch.backends.mkl.is_available()
        and torch.backends.cpu.get_cpu_capability() == "AVX512"
        and _vendor() == "AuthenticAMD"
        and onednn_works()
    )


@cache
def onednn_works() -> bool:
    """Whether this torch has the operator and it multiplies correctly."""
    if not torch.backends.mkldnn.is_available() or not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return False
    # models are also laid out under the device "meta", where nothing can be tried
    with torch.device("cpu"):
        x = torch.arange(-32.0, 32.0).reshape(4, 16)
        weight, bias = torch.arange(128.0).reshape(8, 16) / 64, torch.arange(8.0)
        expected = (x.double() @ weight.double().t() + bias.double()).float()
        try:
            found = product(x, weight, bias), product(x, weight.t().contiguous().t(), bias)
        except RuntimeError:
            return False
        return all(torch.allclose(one, expected, rtol=1e-6, atol=1e-5) for one in found)


@torch.library.custom_op("instructloop::product", mutates_args=())
def _opaque_product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The operator for ``torch.compile``, which knows oneDNN's for frozen weights only and must leave this one alone."""
    return product(x, weight, bias)


@_opaque_product.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:  # noqa: ARG001  # the operator's signature
    return x.new_empty((*x.shape[:-1], weight.shape[0]))


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return product(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        outputs, inputs = weight.shape
        for_x, for_weight, for_bias = ctx.needs_input_grad
        flat = upstream.reshape(-1, outputs)
        grad_x = product(flat, weight.t()).view(x.shape) if for_x else None
        grad_weight = None
        if for_weight:
            rows = x.reshape(-1, inputs)
            # the result is laid out as the weight is, so that it becomes .grad without a copy
            grad_weight = product(flat.t(), rows.t()) if weight.is_contiguous() else product(rows.t(), flat.t()).t()
        return grad_x, grad_weight, flat.sum(0) if for_bias else None


def _vendor() -> str:
    """``AuthenticAMD``, ``GenuineIntel`` or the like; an empty text where the system does not say."""
    listing = Path("/proc/cpuinfo")
    if listing.is_file():
        for line in listing.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("vendor_id"):
                return line.partition(":")[2].strip()
    return next((name for name in ("AuthenticAMD", "GenuineIntel") if name in platform.processor()), "")
