"""In which precision a machine computes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import tiny
import torch

from flexlib import models
from flexlib.models import speed


@pytest.mark.parametrize(
    ("precision", "device", "merged", "has_bf16", "used"),
    [
        ("bf16", "cpu", False, True, "bf16"),
        ("bf16", "cpu", False, False, "fp32"),
        ("bf16", "cpu", True, False, "bf16"),  # rounded as a whole
        ("bf16", "cuda", False, False, "bf16"),
        ("fp16", "cpu", False, False, "fp16"),
        ("fp32", "cpu", False, False, "fp32"),
    ],
)
def test_bf16_is_computed_in_fp32_where_a_cpu_has_none(
    monkeypatch, precision, device, merged, has_bf16, used
):
    monkeypatch.setattr(speed, "multiplies_bf16", lambda: has_bf16)
    assert speed.arithmetic(precision, device, merged=merged) == used


def test_what_the_processor_says_of_itself():
    cpuinfo = Path("/proc/cpuinfo")
    flags = (
        re.search(r"^flags\s*:(.*)$", cpuinfo.read_text(), re.MULTILINE)
        if cpuinfo.exists()
        else None
    )
    if not flags:
        pytest.skip("no flags of an x86 processor in /proc/cpuinfo")
    has = bool({"avx512_bf16", "amx_bf16"} & set(flags[1].split()))
    assert speed.multiplies_bf16() == (has and torch.backends.mkldnn.is_available())


def test_weights_are_rounded_before_they_are_widened(tmp_path):
    base = tiny.make_base(tmp_path)
    plain = models.load_model(base, "fp32", "cpu")
    wide = models.load_model(base, "bf16", "cpu", arithmetic="fp32")
    rounded = 0
    for (name, weight), (_, original) in zip(
        wide.named_parameters(), plain.named_parameters(), strict=True
    ):
        assert weight.dtype == torch.float32, name
        assert torch.equal(weight, original.bfloat16().float()), name
        rounded += int((weight != original).sum())
    assert rounded > 0


def test_a_base_is_lent_again_only_for_the_same_arithmetic(tmp_path):
    base, bases = tiny.make_base(tmp_path), models.BaseModels()
    with bases.lend(base, "bf16", "cpu", arithmetic="fp32") as first:
        assert first.dtype == torch.float32
    with bases.lend(base, "bf16", "cpu") as second:
        assert second.dtype == torch.bfloat16
