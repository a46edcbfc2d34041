"""For which strengths a penalty matters at all, under Adam.

Adam divides a gradient by its own size. Take a weight w on which the loss has a gradient of mean square
s^2 and little mean, and the penalty one of p = lambda |dR/dw|, slowly changing. The sum is divided by
sqrt(s^2 + p^2), so that a step of the learning rate eta takes from w, on average,

    eta p / sqrt(s^2 + p^2).

Three regimes follow, with S the sum of the learning rates of the steps ahead:

p S < s |w|
    the penalty takes less than an e-fold off the weight before training ends: lambda is too small to
    matter. The bound is lambda_low = s |w| / (S |dR/dw|).
s < p
    the penalty outweighs the loss, and w moves towards zero by eta a step *whatever lambda is*. The bound
    is lambda_high = s / |dR/dw|. A weight that the loss does not push at all, s = 0, is there for every
    lambda down to Adam's epsilon, as all of A is at the first step, when B is zero.
between them
    the weight falls by a factor that depends on lambda, as the penalty was meant. For a weight that is
    to fall the window is lambda_high / lambda_low = S / |w| wide: no more than the training's path over
    the weight, however many decades lambda is varied over. At S < |w| it is empty.

``measure`` reads s from Adam's own second moment along a training without the penalty.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import TrainerCallback

from flexlib.config import RegularizerSettings, RunConfig
from flexlib.errors import FlexError
from flexlib.training import fourier

if TYPE_CHECKING:
    from flexlib.runs.machine import Machine

STRENGTHS = tuple(10.0**k for k in range(-6, 1))
POINTS = 6  # of training, after the first step
FIELDS = ("step", "path", "factor", "strength", "efolds", "overruled", "window")


def loss_gradient(optimizer: torch.optim.Optimizer, weight: Tensor) -> Tensor:
    """Root mean square of a parameter's gradients as Adam remembers it: sqrt of its second moment,
    corrected for the zero that it began with.

    Raises:
        FlexError: the optimiser keeps no second moment of it.
    """
    state = optimizer.state.get(weight, {})
    if "exp_avg_sq" not in state:
        raise FlexError("the pressure of a penalty is measured under AdamW: set training.optimizer")
    [group] = [g for g in optimizer.param_groups if any(p is weight for p in g["params"])]
    correction = 1 - group["betas"][1] ** float(state["step"])
    return (state["exp_avg_sq"] / correction).sqrt()


def efolds(weight: Tensor, penalty: Tensor, loss: Tensor, path: float) -> Tensor:
    """How many e-folds a penalty takes off each weight over a path (the sum of learning rates), if its
    gradient ``penalty`` and the root mean square ``loss`` of the other stay as they are, in proportion."""
    return path * penalty.abs() / (torch.hypot(penalty, loss) * weight.abs()).clamp_min(1e-30)


class Pressure(TrainerCallback):
    """Reads, at some steps of a training, the regime of every weight of the adapter.

    ``rows`` after the training: a row of `FIELDS` for each step, factor (A or B) and strength, with the
    path ahead, the medians over weights of the e-folds and of the window S / |w|, and the share of weights
    whose penalty outweighs the loss.
    """

    def __init__(
        self, settings: RegularizerSettings, strengths: Sequence[float], seed: int
    ) -> None:
        self.settings, self.strengths, self.seed = settings, strengths, seed
        self.rates: list[float] = []
        self.seen: list[tuple[int, str, Tensor, Tensor, Tensor]] = []

    def on_pre_optimizer_step(  # type: ignore[no-untyped-def]
        self, args, state, control, optimizer=None, **kwargs
    ):
        """Note the learning rate of the step."""
        self.rates.append(optimizer.param_groups[0]["lr"])

    def on_step_end(  # type: ignore[no-untyped-def]
        self, args, state, control, model=None, optimizer=None, **kwargs
    ):
        """At the chosen steps, note weights, penalty gradients and the loss's."""
        points = {round(state.max_steps * k / POINTS) for k in range(1, POINTS)} | {1}
        if state.global_step not in points:
            return
        optimizer = getattr(optimizer, "optimizer", optimizer)
        factors = fourier.lora_factors(model)
        tensors = [m for f in factors for m in (f.A, f.B)]
        with torch.enable_grad():
            penalty = fourier.penalty(self.settings, factors, self.seed)
            gradients = torch.autograd.grad(penalty, tensors)
        for side in (0, 1):
            columns = [
                torch.cat([t.detach().flatten().float().cpu() for t in of[side::2]])
                for of in (tensors, gradients, [loss_gradient(optimizer, t) for t in tensors])
            ]
            self.seen.append((state.global_step, "AB"[side], *columns))

    @property
    def rows(self) -> Iterator[dict[str, Any]]:
        for step, factor, weight, gradient, loss in self.seen:
            path = sum(self.rates[step:])
            for strength in self.strengths:
                p = strength * gradient
                yield {
                    "step": step,
                    "path": f"{path:.5g}",
                    "factor": factor,
                    "strength": f"{strength:g}",
                    "efolds": f"{float(efolds(weight, p, loss, path).median()):.5g}",
                    "overruled": f"{float((p.abs() > loss).float().mean()):.5g}",
                    "window": f"{float((path / weight.abs().clamp_min(1e-30)).median()):.5g}",
                }


def measure(
    wanted: RunConfig,
    machine: Machine,
    settings: RegularizerSettings = fourier.RELEASED,
    strengths: Sequence[float] = STRENGTHS,
) -> list[dict[str, Any]]:
    """Train by a configuration, without its penalty, and return the rows of :class:`Pressure`.

    Raises:
        FlexError: its optimiser is none of Adam's; or as :func:`flexlib.training.trainer.train`.
    """
    from flexlib import models
    from flexlib.runs import preflight
    from flexlib.training.trainer import train

    training = dataclasses.replace(wanted.method()[0], evaluations=1)
    wanted = dataclasses.replace(wanted, regularizer=None, benchmarks=(), training=training)
    wanted, inputs = preflight.resolve(wanted, machine)
    pressure = Pressure(settings, strengths, wanted.seed)
    machine.work_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=machine.work_dir) as work:
        train(
            wanted,
            inputs.base,
            inputs.records,
            Path(work),
            checkpoints=Path(work) / "checkpoints",
            device=models.pick_device(machine.device),
            microbatch=machine.microbatch,
            progress=machine.progress,
            callbacks=[pressure],
        )
    return list(pressure.rows)
