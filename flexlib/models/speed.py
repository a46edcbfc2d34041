"""How fast this machine multiplies matrices, in which precision it computes, and what an arm of the profile
small takes of it."""

from __future__ import annotations

import time

from flexlib.config import Precision

# An arm of the profile small on a CPU: three epochs of 62,742 tokens forward and backward (with the
# base frozen, twice what forward takes), seven validations of 15,089 tokens and some 590 programs
# of 110 tokens beside their prompts, at two operations a parameter and token.
ARM_OPERATIONS = 6.3e14
_SHARE = 0.55  # of the rate of a large product that an arm reached where it was measured

_BF16 = ("amx_bf16", "avx512_bf16", "bf16")  # torch's names of them: Intel, Intel and AMD, ARM
_SIZE = 1024
_SECONDS = 0.2  # that are measured


def multiplies_bf16() -> bool:
    """Whether the CPU has instructions for products of bf16 and torch a library that uses them."""
    import torch

    able = torch.cpu.get_capabilities()
    return torch.backends.mkldnn.is_available() and any(able.get(name) for name in _BF16)


def arithmetic(precision: Precision, device: str, *, merged: bool = False) -> Precision:
    """What a run of a precision computes in on a device.

    It is the precision, but for bf16 on a CPU without it, where torch takes several times as long for
    a product as in float32. There the weights are rounded to bf16 and all else is float32; not so where the
    adapter is ``merged`` into the weights, since its sum is to be rounded too.
    """
    slow = precision == "bf16" and device == "cpu" and not merged and not multiplies_bf16()
    return "fp32" if slow else precision


def matmul_rate(precision: Precision) -> float:
    """Operations a second in products of 1024 x 1024 matrices, on the CPU, with torch's threads."""
    import torch

    dtype = {"bf16": torch.bfloat16, "fp32": torch.float32}[precision]
    a = torch.ones(_SIZE, _SIZE, dtype=dtype)
    a @ a  # the first call sets things up
    start, done = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - start) < _SECONDS:
        a @ a
        done += 1
    return done * 2 * _SIZE**3 / elapsed


def arm_minutes(rate: float) -> float:
    """Minutes that an arm of the profile small takes, roughly."""
    return ARM_OPERATIONS / (_SHARE * rate) / 60
