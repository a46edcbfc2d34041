"""Renumberings of the units of a Llama or Qwen2: which of them leave the function as it is.

A layer's units have no order of their own. If the rows of the weights that write them and the columns
of those that read them are permuted alike, every logit stays the same, while the weights, and a LoRA
adapter on them, are renumbered. All functions work in place, on a model with or without an adapter.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn


def permute_residual(model: nn.Module, order: Sequence[int]) -> None:
    """Renumber the residual stream (``order``: hidden_size). The function stays the same."""
    llama = _llama(model)
    index = torch.as_tensor(order)
    columns = [llama.model.embed_tokens]
    if llama.lm_head.weight is not llama.model.embed_tokens.weight:
        columns.append(llama.lm_head)
    norms = [llama.model.norm]
    for layer in llama.model.layers:
        attention, mlp = layer.self_attn, layer.mlp
        norms += [layer.input_layernorm, layer.post_attention_layernorm]
        columns += [attention.q_proj, attention.k_proj, attention.v_proj]
        columns += [mlp.gate_proj, mlp.up_proj]
        for module in (attention.o_proj, mlp.down_proj):
            _permute_rows(module, index)
    for norm in norms:
        _index(norm.weight, index, 0)
    for module in columns:
        _permute_columns(module, index)


def permute_values(model: nn.Module, order: Sequence[int]) -> None:
    """Renumber the value channels within every head (``order``: head_dim). The function stays the
    same: they are written by v_proj and read by o_proj alone."""
    for layer in _llama(model).model.layers:
        attention = layer.self_attn
        _permute_rows(attention.v_proj, _within_heads(attention.v_proj.weight.shape[0], order))
        _permute_columns(attention.o_proj, _within_heads(attention.o_proj.weight.shape[1], order))


def permute_hidden(model: nn.Module, order: Sequence[int]) -> None:
    """Renumber the hidden units of the MLPs (``order``: intermediate_size). The function stays the
    same."""
    index = torch.as_tensor(order)
    for layer in _llama(model).model.layers:
        _permute_rows(layer.mlp.gate_proj, index)
        _permute_rows(layer.mlp.up_proj, index)
        _permute_columns(layer.mlp.down_proj, index)


def permute_queries(model: nn.Module, order: Sequence[int]) -> None:
    """Renumber the channels of queries and keys within every head (``order``: head_dim). The function
    changes: RoPE turns each pair of channels at a speed that its number fixes."""
    for layer in _llama(model).model.layers:
        for module in (layer.self_attn.q_proj, layer.self_attn.k_proj):
            _permute_rows(module, _within_heads(module.weight.shape[0], order))


def _llama(model: Any) -> Any:
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def _within_heads(size: int, order: Sequence[int]) -> Tensor:
    heads = torch.arange(0, size, len(order))
    return (heads[:, None] + torch.as_tensor(order)).reshape(-1)


def _permute_rows(module: Any, order: Tensor) -> None:
    _index(module.weight, order, 0)
    if getattr(module, "bias", None) is not None:  # Qwen2's q, k and v have one
        _index(module.bias, order, 0)
    for factor in getattr(module, "lora_B", {}).values():
        _index(factor.weight, order, 0)


def _permute_columns(module: Any, order: Tensor) -> None:
    _index(module.weight, order, 1)
    for factor in getattr(module, "lora_A", {}).values():
        _index(factor.weight, order, 1)


def _index(weight: Tensor, order: Tensor, axis: int) -> None:
    with torch.no_grad():
        weight.copy_(weight.index_select(axis, order.to(weight.device)))
