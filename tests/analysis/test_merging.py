"""Merged against unmerged: equal where arithmetic is exact enough, and an update too small for bf16 is lost."""

from __future__ import annotations

import peft
import pytest
import tiny
import torch

from flexlib.analysis import merging

PROMPTS = [[3, 5, 7, 11], [13, 17]]


def adapted(dtype: torch.dtype, update: float) -> peft.PeftModel:
    """The tiny Llama; the weights of one projection are 0.15 or -0.15, and ``update`` is added to each."""
    config = peft.LoraConfig(target_modules=["q_proj"], r=2, lora_alpha=2)
    model = peft.get_peft_model(tiny.llama(vocab_size=320), config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_A" in name:
                parameter.fill_(0.1)
            elif "lora_B" in name:
                parameter.fill_(update / 0.2)  # two ranks of 0.1
            elif "q_proj" in name:
                parameter.copy_(0.15 * parameter.sign())
    return model.to(dtype)


def logits(model: peft.PeftModel) -> list[torch.Tensor]:
    with torch.inference_mode():
        return [model(input_ids=torch.tensor([ids])).logits[0].float() for ids in PROMPTS]


def test_in_double_precision_nothing_differs():
    found = merging.compare(adapted(torch.float64, 0.05), PROMPTS)
    assert found["max_logit_difference"] < 1e-5  # they are compared in fp32
    assert (found["prompts"], found["changed_tokens"], found["n"]) == (2, 0, 6)


def test_an_update_that_half_precision_rounds_away_leaves_the_base():
    """bf16 has 8 bits: between 1/8 and 1/4 its numbers are 2 ** -10 apart, and half of that is 0.00049."""
    model = adapted(torch.bfloat16, 0.0004)
    with model.disable_adapter():
        base = logits(model)
    beside = logits(model)
    away = max((a - b).abs().max().item() for a, b in zip(beside, base, strict=True))
    changed = sum(
        int((a.argmax(-1) != b.argmax(-1)).sum()) for a, b in zip(beside, base, strict=True)
    )
    found = merging.compare(model, PROMPTS)
    assert away > 0 and found["max_logit_difference"] == pytest.approx(away)
    assert found["changed_tokens"] == changed
