"""Attention within each sequence of a flattened row, for a CPU.

A row of several sequences has the many tokens that the products with the weights want; attention must keep
the sequences apart. On a GPU a kernel does. On a CPU transformers gives torch a dense mask, with which
attention takes the square of the row. Here each sequence attends to itself, without a mask
(``benchmarks/training.py``).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from flexlib import models

_NAME = "sdpa_by_sequence"


def supported(model: PreTrainedModel) -> bool:
    """Whether a model can attend by sequence: all of its layers attend to all that came before, through
    torch's own attention, on a CPU."""
    return (
        model.device.type == "cpu"
        and model.config._attn_implementation == "sdpa"
        and models.attends_to_all(model.config)
        and (
            hasattr(model.config, "layer_types")
            or not getattr(model.config, "sliding_window", None)
        )
        and model._can_set_attn_implementation()
    )


@contextlib.contextmanager
def by_sequence(model: PreTrainedModel) -> Iterator[None]:
    """Within it, batches with ``cu_seq_lens_q`` (the ends of the sequences of a flattened row, from 0 on)
    attend by sequence; others as before. Results differ by rounding."""
    before = model.config._attn_implementation
    model.set_attn_implementation(_NAME)
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def _attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    cu_seq_lens_q: torch.Tensor | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """As transformers' function for ``sdpa``: states of (batch, heads, tokens, width) to (batch, tokens,
    heads, width)."""
    if cu_seq_lens_q is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    lengths = cu_seq_lens_q.diff().tolist()
    parts = zip(*(states.split(lengths, dim=2) for states in (query, key, value)), strict=True)
    attended = [sdpa_attention_forward(module, q, k, v, None, **kwargs)[0] for q, k, v in parts]
    return torch.cat(attended, dim=1), None


AttentionInterface.register(_NAME, _attend)
AttentionMaskInterface.register(_NAME, sdpa_mask)
