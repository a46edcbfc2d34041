"""Packed weights: the same products up to rounding, and a model that is left as it was."""

from __future__ import annotations

import pytest
import tiny
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from flexlib.generation.packing import packed, supported

needs_bf16 = pytest.mark.skipif(not supported(), reason="oneDNN has no bf16 on this processor")


def called(model: nn.Module, layer: nn.Linear, x: torch.Tensor) -> torch.Tensor:
    with torch.no_grad(), packed(model):
        return layer(x)


@needs_bf16
@pytest.mark.parametrize("shape", [(1,), (3, 5), (70, 1)])
@pytest.mark.parametrize("bias", [True, False])
def test_a_packed_layer_multiplies_as_exactly(shape, bias):
    torch.manual_seed(0)
    layer = nn.Linear(96, 130, bias=bias, dtype=torch.bfloat16)
    x = torch.randn(*shape, 96, dtype=torch.bfloat16)
    exact = nn.functional.linear(
        x.double(), layer.weight.double(), layer.bias.double() if bias else None
    )
    with torch.no_grad():
        error = (layer(x) - exact).abs().max()
    got = called(nn.Sequential(layer), layer, x)
    assert got.shape == (*shape, 130) and got.dtype == torch.bfloat16
    assert (got - exact).abs().max() <= 1.5 * error


@needs_bf16
def test_a_packed_layer_reads_its_copy_and_is_itself_again_afterwards():
    layer = nn.Linear(8, 8, bias=False, dtype=torch.bfloat16)
    x = torch.ones(1, 8, dtype=torch.bfloat16)
    with torch.no_grad():
        before = layer(x)
        with pytest.raises(KeyError), packed(layer):
            layer.weight.zero_()
            assert torch.allclose(layer(x), before, atol=0.02)
            raise KeyError
        assert (layer(x) == 0).all()


@needs_bf16
def test_layers_with_an_adapter_are_packed(monkeypatch):
    model = tiny.llama(vocab_size=64).to(torch.bfloat16)
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


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_layers_in_other_precisions_are_left_alone(dtype):
    layer = nn.Linear(8, 8, dtype=dtype)
    with packed(layer):
        assert "forward" not in vars(layer)
