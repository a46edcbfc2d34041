"""Renumbering units: what leaves every logit alone, and what does not."""

from __future__ import annotations

import pytest
import tiny
import torch

from flexlib import config, models
from flexlib.analysis import symmetry
from flexlib.models import adapters
from flexlib.training import fourier

SIZES = {"residual": 32, "values": 8, "hidden": 64, "queries": 8}
IDS = torch.tensor([[5, 9, 30, 7, 100, 3, 12, 250]])


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny.make_base(tmp_path_factory.mktemp("base"))


def adapted(base):
    targets = "adapter.target_modules=q_proj,v_proj,o_proj,up_proj,down_proj"
    model = adapters.add(
        models.load_model(base, "fp32", "cpu").double(),
        config.load("nano", "lora", 1, overrides=[targets]).adapter,
    ).eval()
    generator = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(generator=generator)
    return model


@pytest.mark.parametrize("units", SIZES)
def test_renumbered_units_compute_the_same_but_for_rope(base, units):
    model = adapted(base)
    before = [(f.A.clone(), f.B.clone()) for f in fourier.lora_factors(model)]
    order = torch.randperm(SIZES[units], generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        logits = model(IDS).logits
        getattr(symmetry, f"permute_{units}")(model, order)
        difference = (model(IDS).logits - logits).abs().max().item()
    after = [(f.A, f.B) for f in fourier.lora_factors(model)]
    changed = [not torch.equal(x, y) for b, a in zip(before, after, strict=True) for x, y in zip(b, a, strict=True)]  # fmt: skip
    assert any(changed)
    if units == "queries":
        assert difference > 0.1
    else:
        assert difference < 1e-4  # RMSNorm sums in float32


@pytest.mark.parametrize(
    ("units", "size"), [("residual", 32), ("values", 8), ("hidden", 64), ("queries", 8)]
)
def test_biases_are_renumbered_with_the_units_that_they_belong_to(units, size):
    model = tiny.qwen().double().eval()
    order = torch.randperm(size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        logits = model(IDS).logits
        getattr(symmetry, f"permute_{units}")(model, order)
        difference = (model(IDS).logits - logits).abs().max().item()
    assert difference > 0.1 if units == "queries" else difference < 1e-4


def test_a_model_with_tied_embeddings_without_an_adapter():
    model = tiny.llama(vocab_size=320, num_key_value_heads=2, tie_word_embeddings=True)
    model = model.double().eval()
    with torch.no_grad():
        logits = model(IDS).logits
        symmetry.permute_residual(model, torch.randperm(32))
        symmetry.permute_values(model, torch.randperm(8))
        assert (model(IDS).logits - logits).abs().max() < 1e-4
