"""What measurements of training steps share: a clock, and each way's ratio to a control of the same round."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence

import torch

FIELDS = ("device", "rounds", "steps", "ms_per_step", "ratio", "ratio_low", "ratio_high")


def now(device: torch.device) -> float:
    """Seconds of a clock, once the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def summary(
    seconds: Sequence[float], control: Sequence[float], *, device: str, steps: int
) -> dict[str, str | int | float]:
    """A way's ``FIELDS``: medians over the rounds, and the range of the ratio.

    Args:
        seconds: a step, of each round.
        control: the same of what it is compared with.
        steps: how many a round has.
    """
    ratios = [a / b for a, b in zip(seconds, control, strict=True)]
    return {
        "device": device,
        "rounds": len(seconds),
        "steps": steps,
        "ms_per_step": round(1000 * statistics.median(seconds), 2),
        "ratio": round(statistics.median(ratios), 4),
        "ratio_low": round(min(ratios), 4),
        "ratio_high": round(max(ratios), 4),
    }
