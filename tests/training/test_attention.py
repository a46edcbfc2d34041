"""Attention by sequence: each of a row as it is alone, and the model as it was afterwards."""

from __future__ import annotations

import pytest
import tiny
import torch

from flexlib import models
from flexlib.training import attention, encoding

EXAMPLES = [
    {"input_ids": list(range(5, 5 + n)), "labels": list(range(5, 5 + n))} for n in (9, 1, 30, 4)
]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return models.load_model(tiny.make_base(tmp_path_factory.mktemp("base")), "fp32", "cpu")


def hidden(model, batch):
    with torch.no_grad():
        inputs = {key: value for key, value in batch.items() if key != "labels"}
        return model.get_decoder()(**inputs).last_hidden_state


def test_each_sequence_of_a_row_is_as_it_is_alone(model):
    alone = [hidden(model, {"input_ids": torch.tensor([e["input_ids"]])}) for e in EXAMPLES]
    row = encoding.collator(0, "flatten", ends=True)(EXAMPLES)
    with attention.by_sequence(model):
        assert torch.allclose(hidden(model, row), torch.cat(alone, dim=1), atol=1e-5)
        # The row says where its sequences end: moved, another result.
        moved = row | {"cu_seq_lens_q": row["cu_seq_lens_q"] + torch.tensor([0, 1, 1, 1, 0])}
        assert not torch.allclose(hidden(model, moved), torch.cat(alone, dim=1), atol=1e-2)


@pytest.mark.parametrize("packing", [None, "flatten"])
def test_a_batch_that_does_not_say_where_sequences_end_is_as_before(model, packing):
    batch = encoding.collator(0, packing)(EXAMPLES)
    before = hidden(model, batch)
    with attention.by_sequence(model):
        assert torch.equal(hidden(model, batch), before)


def test_the_model_is_as_it_was_afterwards(model):
    with pytest.raises(RuntimeError), attention.by_sequence(model):
        assert model.config._attn_implementation != "sdpa"
        raise RuntimeError
    assert model.config._attn_implementation == "sdpa"


def test_only_where_it_is_the_same_attention(model, monkeypatch):
    assert attention.supported(model)
    for name, value in (
        ("_attn_implementation_internal", "eager"),
        ("layer_types", ["full_attention", "sliding_attention"]),
        ("sliding_window", 8),  # of every layer, as Mistral's
    ):
        with monkeypatch.context() as patch:
            patch.setattr(model.config, name, value, raising=False)
            assert not attention.supported(model)
