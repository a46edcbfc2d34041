"""Which optimiser class a run's settings name, with its arguments."""

from __future__ import annotations

from typing import Any

import torch

from flexlib.config import RunConfig
from flexlib.errors import FlexError


def optimizer_class(config: RunConfig) -> tuple[type[torch.optim.Optimizer], dict[str, Any]] | None:
    """The class and its keyword arguments, as the Trainer takes them; None for AdamW, which the
    Trainer makes itself. Weight decay comes with the Trainer's parameter groups.

    Raises:
        FlexError: Lion is asked for and the package pytorch-optimizer is missing.
    """
    settings, _ = config.method()
    common = {"lr": settings.learning_rate, "betas": settings.betas}
    sophia = config.sophia
    if sophia:
        from flexlib.training.optimizers.sophia import SophiaG

        return SophiaG, common | {
            "rho": sophia.rho,
            "eps": sophia.eps,
            "curvature": sophia.curvature,
            "every": sophia.every,
            "bias_correction": sophia.bias_correction,
        }
    if settings.optimizer == "lion":
        try:
            from pytorch_optimizer import Lion
        except ImportError:
            raise FlexError("Lion comes from pytorch-optimizer: pip install it") from None
        return Lion, common
    return None
