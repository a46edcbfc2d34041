"""Linear layers of a CPU in half precision with their weights in the layout of the kernel.

torch hands oneDNN a weight as it is stored, and oneDNN brings it into its own blocks for each product
anew. A pass over many tokens does not feel it. A step of decoding, which reads every weight for a few
rows, does: packed once it takes two thirds of the time with 64 rows and less than half with one
(``benchmarks/generation.py``). TorchInductor does the same when it freezes a model.
"""

from __future__ import annotations

import contextlib
import functools
import platform
from collections.abc import Iterator

import torch
from torch import nn

_ROWS = 64  # the kernel's hint; the layout is the same for 1 to 1,000


def supported() -> bool:
    """Whether oneDNN multiplies bf16 on this processor."""
    return (
        platform.machine() in ("x86_64", "AMD64")
        and torch.backends.mkldnn.is_available()
        and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    )


@contextlib.contextmanager
def packed(model: nn.Module) -> Iterator[None]:
    """Within it the bf16 linear layers of a model on a CPU multiply by packed copies of their weights,
    which need as much memory again. Results differ by rounding. Other models are left alone."""
    linear = [
        module
        for module in (model.modules() if supported() else ())
        if type(module) is nn.Linear
        and module.weight.device.type == "cpu"
        and module.weight.dtype == torch.bfloat16
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
