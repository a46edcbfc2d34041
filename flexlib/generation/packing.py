"""Linear layers of a CPU with their weights in the layout of the kernel.

torch hands oneDNN a weight as it is stored, and oneDNN brings it into its own blocks for each product
anew. A pass over many tokens does not feel it. A step of decoding, which reads every weight for a few
rows, does: packed once it takes two thirds of the time with 64 rows and less than half with one
(``benchmarks/generation.py``). TorchInductor does the same when it freezes a model.
In float32 torch multiplies by MKL, which has no such layout; with large weights that is slower.
"""

from __future__ import annotations

import contextlib
import functools
import platform
from collections.abc import Iterator

import torch
from torch import nn

_ROWS = 64  # the kernel's hint; the layout is the same for 1 to 1,000
_LARGE = 2**19  # numbers of a float32 weight from which oneDNN is quicker than MKL


def dtypes() -> list[torch.dtype]:
    """The precisions in which oneDNN has such a layout on this processor."""
    if platform.machine() not in ("x86_64", "AMD64") or not torch.backends.mkldnn.is_available():
        return []
    half = [torch.bfloat16] if torch.ops.mkldnn._is_mkldnn_bf16_supported() else []
    return [torch.float32, *half]


@contextlib.contextmanager
def packed(model: nn.Module) -> Iterator[None]:
    """Within it the linear layers of a model on a CPU, those in bf16 and the large ones in float32, multiply
    by packed copies of their weights, which need as much memory again. Results differ by rounding."""
    known = dtypes()
    linear = [
        module
        for module in model.modules()
        if type(module) is nn.Linear
        and module.weight.device.type == "cpu"
        and module.weight.dtype in known
        and (module.weight.dtype != torch.float32 or module.weight.numel() >= _LARGE)
    ]
    try:
        for module in linear:
            weight = torch.ops.mkldnn._reorder_linear_weight(module.weight.detach(), _ROWS)
            vars(module)["forward"] = functools.partial(_multiply, weight, module.bias)
        yield
    finally:
        for module in linear:
            module.__dict__.pop("forward", None)


def _multiply(weight: torch.Tensor, bias: torch.Tensor | None, x: torch.Tensor) -> torch.Tensor:
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
