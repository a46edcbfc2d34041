"""How fast this machine multiplies matrices, and what an arm of the profile small takes of it."""

from __future__ import annotations

import time

# An arm of the profile small on a CPU: three epochs of 62,742 tokens forward and backward (with the
# base frozen, twice what forward takes), seven validations of 15,089 tokens and some 590 programs
# of 110 tokens beside their prompts, at two operations a parameter and token.
ARM_OPERATIONS = 6.3e14
_SHARE = 0.55  # of the rate of a large product that an arm reached where it was measured

_SIZE = 1024
_SECONDS = 0.2  # that are measured


def matmul_rate(precision: str) -> float:
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
