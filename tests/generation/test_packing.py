"""Packed weights: the same products up to rounding, and a model that is left as it was."""

from __future__ import annotations

import pytest
import tiny
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from flexlib.generation import packing
from flexlib.generation.packing import packed

PRECISIONS = [torch.float32, torch.bfloat16]


@pytest.fixture
def dtype(request, monkeypatch):
    """A precision that this processor has a layout for; layers of any size are packed."""
    if request.param not in packing.dtypes():
        pytest.skip(f"oneDNN has no layout for {request.param} on this processor")
    monkeypatch.setattr(packing, "_LARGE", 0)
    return request.param


def called(model: nn.Module, layer: nn.Linear, x: torch.Tensor) -> torch.Tensor:
    with torch.no_grad(), packed(model):
        return layer(x)


@pytest.mark.parametrize("dtype", PRECISIONS, indirect=True)
@pytest.mark.parametrize("shape", [(1,), (3, 5), (70, 1)])
@pytest.mark.parametrize("bias", [True, False])
def test_a_packed_layer_multiplies_as_exactly(dtype, shape, bias):
    torch.manual_seed(0)
    layer = nn.Linear(96, 130, bias=bias, dtype=dtype)
    x = torch.randn(*shape, 96, dtype=dtype)
    exact = nn.functional.linear(
        x.double(), layer.weight.double(), layer.bias.double() if bias else None
    )
    with torch.no_grad():
        error = (layer(x) - exact).abs().max()
    got = called(nn.Sequential(layer), layer, x)
    assert got.shape == (*shape, 130) and got.dtype == dtype
    assert (got - exact).abs().max() <= 1.5 * error


@pytest.mark.parametrize("dtype", PRECISIONS, indirect=True)
def test_a_packed_layer_reads_its_copy_and_is_itself_again_afterwards(dtype):
    layer = nn.Linear(8, 8, bias=False, dtype=dtype)
    x = torch.ones(1, 8, dtype=dtype)
    with torch.no_grad():
        before = layer(x)
        with pytest.raises(KeyError), packed(layer):
            layer.weight.zero_()
            assert torch.allclose(layer(x), before, atol=0.02)
            raise KeyError
        assert (layer(x) == 0).all()


@pytest.mark.parametrize("dtype", PRECISIONS, indirect=True)
def test_layers_with_an_adapter_are_packed(dtype):
    model = tiny.llama(vocab_size=64).to(dtype)
    config = LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    model = get_peft_model(model, config).eval()
    ids = torch.arange(12)[None]
    with torch.no_grad():
        plain = model(input_ids=ids).logits
        with packed(model):
            base = model.get_base_model().model.layers[0].self_attn.q_proj.base_layer
            assert "forward" in vars(base)
            got = model(input_ids=ids).logits
    assert (got - plain).abs().max() <= 0.05 * plain.abs().max()
    assert not any("forward" in vars(module) for module in model.modules())


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_other_precisions_and_small_layers_in_float32_are_left_alone(dtype):
    layer = nn.Linear(8, 8, dtype=dtype)
    with packed(layer):
        assert "forward" not in vars(layer)


def test_a_large_layer_in_float32_is_packed():
    if torch.float32 not in packing.dtypes():
        pytest.skip("oneDNN has no layouts on this processor")
    layer = nn.Linear(1024, 512)
    with packed(layer):
        assert "forward" in vars(layer)
