"""A key-value cache that grows in blocks.

The default cache of transformers appends by concatenation: each step reads and writes every key and
value, besides the one read that attention needs. At the paper's scale they are larger than the
weights (512 KiB a token of Code Llama 7B in half precision), so decoding would take two to three
times the memory traffic that it must. Here a step writes its own entries alone. Rows can leave, and
others join.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import PreTrainedConfig
from transformers.cache_utils import Cache, DynamicLayer

from flexlib import models

_BLOCK = 128  # tokens a layer grows by


class GrowingLayer(DynamicLayer):
    """Keys and values, (batch, heads, tokens, head_dim), as views of buffers with room to spare."""

    keys: torch.Tensor
    values: torch.Tensor

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append the new entries; returns all keys and values."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self._keys, self._values = key_states[:, :, :0], value_states[:, :, :0]
        start = self.get_seq_length()
        end = start + key_states.shape[-2]
        if end > self._keys.shape[-2]:
            self._keys = _with_room(self._keys, start, _whole_blocks(end))
            self._values = _with_room(self._values, start, _whole_blocks(end))
        self._keys[:, :, start:end] = key_states
        self._values[:, :, start:end] = value_states
        self.keys, self.values = self._keys[:, :, :end], self._values[:, :, :end]
        return self.keys, self.values

    def rejoin(self, rows: torch.Tensor, width: int, other: GrowingLayer | None = None) -> None:
        """Keep ``rows`` (indices, which may repeat) with the last ``width`` tokens of each, and put the
        rows of ``other`` below them. All end in the same column: the shorter have zeros before them."""
        size = len(rows) + (other.keys.shape[0] if other else 0)
        end = max(width, other.get_seq_length() if other else 0)

        def joined(own: torch.Tensor, others: torch.Tensor | None) -> torch.Tensor:
            _, heads, _, dim = own.shape
            # Zeros, not whatever memory holds: a masked NaN is a NaN still.
            buffer = own.new_zeros(size, heads, _whole_blocks(end), dim)
            buffer[: len(rows), :, end - width : end] = own[:, :, -width:].index_select(0, rows)
            if others is not None:
                buffer[len(rows) :, :, end - others.shape[-2] : end] = others
            return buffer

        self._keys = joined(self.keys, other.keys if other else None)
        self._values = joined(self.values, other.values if other else None)
        self.keys, self.values = self._keys[:, :, :end], self._values[:, :, :end]


def growing_cache(config: PreTrainedConfig) -> Cache | None:
    """A cache for one call of ``generate``; None, for transformers' own choice, if the model has layers
    of another kind than full attention."""
    return Cache(layer_class_to_replicate=GrowingLayer) if models.attends_to_all(config) else None


def layers(cache: Cache) -> list[GrowingLayer]:
    """The layers of a cache that :func:`growing_cache` made."""
    return [layer for layer in cache.layers if isinstance(layer, GrowingLayer)]


def _whole_blocks(tokens: int) -> int:
    return -(-tokens // _BLOCK) * _BLOCK


def _with_room(buffer: torch.Tensor, used: int, length: int) -> torch.Tensor:
    batch, heads, _, dim = buffer.shape
    larger = buffer.new_empty(batch, heads, length, dim)
    larger[:, :, :used] = buffer[:, :, :used]
    return larger
