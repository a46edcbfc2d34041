"""Cross-entropy without the logits of the whole batch.

A batch of the paper's scale has 2,000 tokens and 32,000 words: a quarter of a gigabyte of fp32 logits,
and as much again for each of softmax and gradient; with the 152,000 words of Qwen2 it is five times that.
The loss is a sum over tokens, so it is taken in chunks. The gradient of a chunk is taken with its loss,
while its logits are there: they are neither kept nor computed again (as Liger does in one kernel).
"""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd.function import once_differentiable
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

from flexlib.training.encoding import IGNORED

CHUNK = 512  # tokens


def chunk_loss(model: PreTrainedModel, chunk: int = CHUNK) -> None:
    """Give a causal model a ``forward`` that, where labels are passed, returns the loss alone.

    Its value is the model's own, up to the rounding of another order of summation; without labels
    nothing changes. ``del model.forward`` undoes it. A model that does more with its logits than its
    head does (scales them, or caps them) is left as it is.
    """
    whole = model.forward
    if not _head_makes_the_logits(model):
        return

    def forward(
        input_ids: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        num_items_in_batch: torch.Tensor | int | None = None,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        if labels is None:
            return whole(input_ids=input_ids, **kwargs)
        hidden = model.get_decoder()(input_ids=input_ids, **kwargs).last_hidden_state
        total = chunked_cross_entropy(
            hidden[:, :-1], labels[:, 1:], model.get_output_embeddings(), chunk
        )
        if num_items_in_batch is None:
            num_items_in_batch = (labels[:, 1:] != IGNORED).sum()
        elif isinstance(num_items_in_batch, torch.Tensor):
            num_items_in_batch = num_items_in_batch.to(total.device)
        return CausalLMOutputWithPast(loss=total / num_items_in_batch)

    model.forward = forward


@torch.no_grad()
def _head_makes_the_logits(model: PreTrainedModel) -> bool:
    ids = torch.arange(8, device=model.device)[None]
    hidden = model.get_decoder()(input_ids=ids).last_hidden_state
    logits = model(input_ids=ids).logits
    of_head = model.get_output_embeddings()(hidden).to(logits.dtype)
    return torch.allclose(of_head, logits, rtol=1e-3, atol=1e-3)


@torch.compiler.disable  # a gradient within a forward pass is not for its tracer
def chunked_cross_entropy(
    hidden: torch.Tensor, labels: torch.Tensor, head: torch.nn.Module, chunk: int = CHUNK
) -> torch.Tensor:
    """Sum of the cross-entropies, in nats, of ``head(hidden)`` and ``labels``.

    It is differentiable once, through ``hidden`` and what is trained of the head.

    Args:
        hidden: (batch, length, width).
        labels: (batch, length), ``IGNORED`` where there is nothing to learn.
        head: the output projection.
        chunk: tokens whose logits are held at a time, in fp32.
    """
    rows, wanted = hidden.reshape(-1, hidden.shape[-1]), labels.reshape(-1)
    trained = [p for p in head.parameters() if p.requires_grad]
    if torch.is_grad_enabled() and (rows.requires_grad or trained):
        return _SumWithGradient.apply(rows, wanted, head, chunk, *trained)
    parts = zip(rows.split(chunk), wanted.split(chunk), strict=True)
    return torch.stack([_loss(head, *part) for part in parts]).sum()


def _loss(head: torch.nn.Module, rows: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    return cross_entropy(head(rows).float(), wanted, ignore_index=IGNORED, reduction="sum")


class _SumWithGradient(torch.autograd.Function):
    """The sum over the chunks; its forward pass is also the backward pass of each."""

    @staticmethod
    def forward(
        ctx: Any,
        rows: torch.Tensor,
        wanted: torch.Tensor,
        head: torch.nn.Module,
        chunk: int,
        *trained: torch.Tensor,
    ) -> torch.Tensor:
        gradients = [torch.empty_like(rows), *(torch.zeros_like(p) for p in trained)]
        total = rows.new_zeros((), dtype=torch.float32)
        tensors = (rows, wanted, gradients[0])
        for part, labels, gradient in zip(*(t.split(chunk) for t in tensors), strict=True):
            part = part.detach().requires_grad_()
            with torch.enable_grad():
                loss = _loss(head, part, labels)
            of_part, *of_trained = torch.autograd.grad(loss, [part, *trained])
            gradient.copy_(of_part)
            for summed, term in zip(gradients[1:], of_trained, strict=True):
                summed += term
            total += loss.detach()
        ctx.save_for_backward(*gradients)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        of_rows, *of_trained = (gradient * upstream for gradient in ctx.saved_tensors)
        return of_rows, None, None, None, *of_trained
