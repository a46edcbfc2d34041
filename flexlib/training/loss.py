"""Cross-entropy without the logits of the whole batch.

A batch of the paper's scale has 2,000 tokens and 32,000 words: a quarter of a gigabyte of fp32 logits,
and as much again for each of softmax and gradient. The loss is a sum over tokens, so it is taken in
chunks, whose logits are computed again in the backward pass (as Liger and others do in one kernel).
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

from flexlib.training.encoding import IGNORED

CHUNK = 512  # tokens


def chunk_loss(model: PreTrainedModel, chunk: int = CHUNK) -> None:
    """Give a causal model a ``forward`` that, where labels are passed, returns the loss alone.

    Its value is the model's own, up to the rounding of another order of summation; without labels
    nothing changes. ``del model.forward`` undoes it.
    """
    whole = model.forward

    def forward(
        input_ids: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        num_items_in_batch: torch.Tensor | int | None = None,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        if labels is None:
            return whole(input_ids=input_ids, **kwargs)
        hidden = model.get_decoder()(input_ids=input_ids, **kwargs).last_hidden_state
        total = chunked_cross_entropy(hidden[:, :-1], labels[:, 1:], model.lm_head, chunk)
        if num_items_in_batch is None:
            num_items_in_batch = (labels[:, 1:] != IGNORED).sum()
        elif isinstance(num_items_in_batch, torch.Tensor):
            num_items_in_batch = num_items_in_batch.to(total.device)
        return CausalLMOutputWithPast(loss=total / num_items_in_batch)

    model.forward = forward


def chunked_cross_entropy(
    hidden: torch.Tensor, labels: torch.Tensor, head: torch.nn.Module, chunk: int = CHUNK
) -> torch.Tensor:
    """Sum of the cross-entropies, in nats, of ``head(hidden)`` and ``labels``.

    Args:
        hidden: (batch, length, width).
        labels: (batch, length), ``IGNORED`` where there is nothing to learn.
        head: the output projection.
        chunk: tokens whose logits are held at a time, in fp32.
    """

    def loss_of(rows: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        return cross_entropy(head(rows).float(), wanted, ignore_index=IGNORED, reduction="sum")

    rows, wanted = hidden.reshape(-1, hidden.shape[-1]), labels.reshape(-1)
    parts = [
        checkpoint(loss_of, rows[i : i + chunk], wanted[i : i + chunk], use_reentrant=False)
        for i in range(0, len(rows), chunk)
    ]
    return torch.stack(parts).sum()
