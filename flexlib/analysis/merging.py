"""Merged or unmerged: ``(W + s B A) x`` against ``W x + s B (A x)``.

In exact arithmetic they are equal. In half precision merging rounds ``W + s B A`` to 8 or 11 bits, and an
update that is smaller than half a unit in the last place of its weight is lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from peft import PeftModel


@torch.inference_mode()
def compare(model: PeftModel, prompts: Sequence[Sequence[int]]) -> dict[str, Any]:
    """Logits of every position of the prompts with the adapter beside the weights and, then, in them.

    The model is merged afterwards.

    Args:
        prompts: token ids.

    Returns:
        ``prompts`` (how many), ``max_logit_difference``, ``changed_tokens`` (positions whose likeliest
        token is another) and ``n`` (positions).
    """
    model.eval()
    unmerged = [_logits(model, ids) for ids in prompts]
    merged_model = model.merge_and_unload()
    largest, changed, n = 0.0, 0, 0
    for ids, before in zip(prompts, unmerged, strict=True):
        after = _logits(merged_model, ids)
        largest = max(largest, (after - before).abs().max().item())
        changed += int((after.argmax(-1) != before.argmax(-1)).sum())
        n += len(before)
    return {
        "prompts": len(prompts),
        "max_logit_difference": largest,
        "changed_tokens": changed,
        "n": n,
    }


def _logits(model: torch.nn.Module, ids: Sequence[int]) -> torch.Tensor:
    """(length, vocabulary), fp32, on the CPU: those of several prompts would fill a GPU."""
    device = next(model.parameters()).device
    return model(input_ids=torch.tensor([list(ids)], device=device)).logits[0].float().cpu()
