"""Which optimiser class a run's settings name, with its arguments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from flexlib.config import RunConfig
from flexlib.errors import FlexError


def optimizer_class(config: RunConfig) -> tuple[type[torch.optim.Optimizer], dict[str, Any]] | None:
    """The class and its keyword arguments, as the Trainer takes them; None for AdamW, which the
    Trainer makes itself. Weight decay comes with the Trainer's parameter groups.

    Raises:
        FlexError: the optimiser comes from the package pytorch-optimizer, and that is missing.
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
    if settings.optimizer == "muon":
        # Scaled to the size of AdamW's update (Liu et al. 2025), so that one weight decay serves both.
        return torch.optim.Muon, {
            "lr": settings.learning_rate,
            "momentum": settings.betas[0],
            "adjust_lr_fn": "match_rms_adamw",
        }
    if settings.optimizer in _OF_PACKAGE:
        try:
            import pytorch_optimizer
        except ImportError:
            name = settings.optimizer.capitalize()
            raise FlexError(f"{name} comes from pytorch-optimizer: pip install it") from None
        return getattr(pytorch_optimizer, _OF_PACKAGE[settings.optimizer]), common
    return None


_OF_PACKAGE = {"lion": "Lion", "schedule-free": "ScheduleFreeAdamW"}


def check_fit(config: RunConfig, trained: Mapping[str, Sequence[int]]) -> None:
    """See that the optimiser goes with what is trained.

    Args:
        trained: names and shapes, as :func:`flexlib.models.adapters.check` returns them.

    Raises:
        FlexError: Muon is asked for, and something that is trained is no matrix.
    """
    settings, adapter = config.method()
    if settings.optimizer == "muon":
        for name, shape in trained.items():
            if len(shape) != 2:
                raise FlexError(
                    f"Muon orthogonalises matrices, and an adapter of the kind {adapter.kind!r} also "
                    f"trains {name} of {len(shape)} dimensions; set another training.optimizer"
                )
