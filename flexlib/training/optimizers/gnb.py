"""The Gauss-Newton-Bartlett estimate for a causal language model in transformers' Trainer (Liu et al.
2024, arXiv:2305.14342, Algorithm 2).

Every ``every`` steps, labels are drawn from the model's own softmax at the loss-bearing positions of
the step's own batch. With ``g_hat`` the gradient of the mean cross-entropy to these labels over all B
positions, ``B g_hat^2`` is an unbiased estimate of the diagonal of the Gauss-Newton matrix of the mean
loss, and :meth:`flexlib.training.optimizers.sophia.SophiaG.update_curvature` takes it up.

Decided here:

- *When.* After the optimiser's steps 1, k + 1, 2k + 1, ...: the phase of Algorithm 3, one step late,
  since the batch of a step is differentiated again once the step is done.
- *Dropout is off* in the estimate: it is to describe the function that is trained, and must not take
  random numbers from the training, whose draws stay the same with and without it. With
  ``shared_forward`` the forward pass of the training step itself is differentiated a second time, and
  so with its dropout, and at the parameters before the step.
- *Sums, not means.* Gradients of the summed loss are added up over microbatches and processes and
  divided by B at the end. It is exact however the batch is cut, and half precision does not underflow.
- *The random numbers* are a function of the run's seed, the step and the sequence's place in the batch
  (a counter-based generator). So a checkpoint holds all of the generator's state with the step number,
  and the labels do not depend on how the batch is cut.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy
from transformers import TrainerCallback

from flexlib.errors import FlexError
from flexlib.training.encoding import IGNORED

if TYPE_CHECKING:
    from transformers import Trainer

_ROWS = 128  # whose probabilities are held at a time


def uniforms(seed: int, step: int, first_row: int, rows: int, width: int) -> torch.Tensor:
    """Random numbers in [0, 1), float64, of shape (rows, width), for the sequences ``first_row`` and
    following of the batch of a step. A wider row begins with the same numbers."""
    return torch.from_numpy(
        np.stack(
            [
                # Every step and row has 2^64 numbers of its own.
                np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, row, step])).random(
                    width
                )
                for row in range(first_row, first_row + rows)
            ]
        )
    )


def draw(logits: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    """Labels drawn from the softmax of logits (n, vocabulary), by inversion of n uniform numbers.

    In float64: of 152,000 words many are less likely than the rounding of a float32 sum near 1, and would
    be drawn never or for their neighbours.
    """
    labels = []
    for rows, numbers in zip(
        logits.detach().split(_ROWS), uniform.double().split(_ROWS), strict=True
    ):
        cumulative = rows.double().softmax(-1).cumsum_(-1)
        target = numbers[:, None] * cumulative[:, -1:]  # rounding leaves the last a little off 1
        labels.append(torch.searchsorted(cumulative, target, right=True)[:, 0])
    return torch.cat(labels).clamp_(max=logits.shape[-1] - 1)


def sampled_loss(
    logits: torch.Tensor, labels: torch.Tensor, uniform: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Summed cross-entropy, in nats, to labels drawn from the softmax of the logits themselves.

    Args:
        logits: (batch, length, vocabulary).
        labels: (batch, length); where they are not ``IGNORED``, the position *before* is one that
            bears loss. Their values are not used.
        uniform: (batch, length), one random number in [0, 1) for each.

    Returns:
        The loss, differentiable through the logits, and the number of positions.
    """
    bears_loss = labels[:, 1:] != IGNORED
    logits = logits[:, :-1][bears_loss].float()
    uniform = uniform[:, 1:].to(logits.device)[bears_loss]
    return cross_entropy(logits, draw(logits, uniform), reduction="sum"), bears_loss.sum()


class GaussNewtonBartlett(TrainerCallback):
    """Estimates the curvature for SophiaG while a Trainer trains.

    The Trainer's ``training_step`` hands its inputs to :meth:`keep`; the rest is done by events.
    Works under gradient accumulation, autocast and distributed data parallelism. The loss is the
    plain cross-entropy: what ``compute_loss`` may add to it is left out.

    Args:
        trainer: its optimiser is a SophiaG.
        every: k, steps from one estimate to the next.
        seed: of the labels.
        shared_forward: differentiate the training step's own forward pass instead of another one.

    Raises:
        FlexError: the Trainer shards its gradients, whose sum over processes would not be the batch's.
    """

    trainer: Any  # a Trainer; its attributes are None until it trains

    def __init__(self, trainer: Trainer, *, every: int, seed: int, shared_forward: bool) -> None:
        if trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled:
            raise FlexError(
                "Sophia's curvature is estimated with whole gradients: train it data-parallel, without "
                "FSDP or DeepSpeed"
            )
        self.trainer = trainer
        self.every = every
        self.seed = seed
        self.shared_forward = shared_forward
        self._step = 0
        self._batches: list[dict[str, torch.Tensor]] = []  # of a step with an estimate
        self._shared: list[torch.Tensor] | None = None  # gradients from the step's own forward
        self._positions: torch.Tensor | int = 0
        trainer.add_callback(self)
        if shared_forward:
            model: Any = trainer.model
            model.register_forward_hook(self._differentiate_twice, with_kwargs=True)

    def passes(self, steps: int) -> float:
        """What the estimates of the first ``steps`` steps cost, in forward and backward passes over a
        batch. A second backward without a forward is half of one: with frozen weights, backward
        multiplies as many matrices as forward."""
        estimates = -(-steps // self.every)
        return estimates * (0.5 if self.shared_forward else 1.0)

    def keep(self, inputs: dict[str, Any]) -> None:
        """Note the inputs of a microbatch, if the step it belongs to gets an estimate."""
        if self._step % self.every == 0:
            self._batches.append(inputs)

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._step = state.global_step  # done so far; the one that begins comes on top
        self._batches, self._shared, self._positions = [], None, 0

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if not self._batches:
            return
        trainer = self.trainer
        model = trainer.model_wrapped
        optimizer = getattr(trainer.optimizer, "optimizer", trainer.optimizer)  # accelerate's wrap
        params = [p for p in trainer.model.parameters() if p.requires_grad]
        if self._shared is not None:
            for p, gradient in zip(params, self._shared, strict=True):
                p.grad = gradient
        else:
            # Gradients are added up over the processes once, below.
            with trainer.accelerator.no_sync(model), without_dropout(model):
                for number, batch in enumerate(self._batches):
                    self._backward(model, batch, number)
        positions = self._sum_over_processes(params)
        torch._foreach_div_(_gradients(params), positions)
        optimizer.update_curvature(positions=positions)
        model.zero_grad()
        self._batches, self._shared, self._positions = [], None, 0

    def _backward(self, model: torch.nn.Module, batch: dict[str, Any], number: int) -> None:
        """Add the gradients of one microbatch to ``.grad``."""
        batch = self.trainer._prepare_inputs(batch)
        labels = batch["labels"]
        inputs = {name: value for name, value in batch.items() if name != "labels"}
        with self.trainer.compute_loss_context_manager():
            logits = model(**inputs).logits
            loss, positions = sampled_loss(logits, labels, self._uniforms(labels, number))
        loss.backward()
        self._positions += positions

    def _differentiate_twice(self, model: Any, args: Any, kwargs: Any, outputs: Any) -> None:
        """A forward hook: gradients of the sampled-label loss, from the graph of the training step."""
        if not (model.training and self._batches and torch.is_grad_enabled()):
            return
        if outputs.get("logits") is None:
            raise FlexError("the model returns no logits to share; set sophia.shared_forward=false")
        labels = kwargs["labels"]
        number = len(self._batches) - 1
        loss, positions = sampled_loss(outputs.logits, labels, self._uniforms(labels, number))
        params = [p for p in model.parameters() if p.requires_grad]
        gradients = list(torch.autograd.grad(loss, params, retain_graph=True))
        if self._shared is not None:
            torch._foreach_add_(gradients, self._shared)
        self._shared = gradients
        self._positions += positions

    def _uniforms(self, labels: torch.Tensor, number: int) -> torch.Tensor:
        """The random numbers of the ``number``-th microbatch of this process; a flattened row has those of
        its first place in the batch. Accelerate deals microbatches out to the processes in turn."""
        args = self.trainer.args
        turn = number * args.world_size + args.process_index
        first_row = turn * args.per_device_train_batch_size
        return uniforms(self.seed, self._step, first_row, *labels.shape)

    def _sum_over_processes(self, params: list[torch.nn.Parameter]) -> int:
        """Sum ``.grad`` and the number of positions over all processes; returns the latter."""
        if self.trainer.args.world_size > 1:
            gradients = _gradients(params)
            flat = torch.cat([g.flatten() for g in gradients])  # one collective instead of many
            flat = self.trainer.accelerator.reduce(flat, reduction="sum")
            parts = flat.split([g.numel() for g in gradients])
            for gradient, part in zip(gradients, parts, strict=True):
                gradient.copy_(part.view_as(gradient))
            self._positions = self.trainer.accelerator.reduce(self._positions, reduction="sum")
        return int(self._positions)


def _gradients(params: list[torch.nn.Parameter]) -> list[torch.Tensor]:
    return [p.grad for p in params if p.grad is not None]


@contextlib.contextmanager
def without_dropout(model: torch.nn.Module) -> Iterator[None]:
    """In evaluation mode, but for layers that recompute their activations: they do so only in
    training mode, and hold no dropout themselves."""
    modes = {module: module.training for module in model.modules()}
    try:
        for module in modes:
            module.training = bool(getattr(module, "gradient_checkpointing", False))
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
