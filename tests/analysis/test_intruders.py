"""Intruder dimensions: none where a weight is only scaled, one where a foreign direction is added."""

from __future__ import annotations

import pytest
import torch

from flexlib.analysis import intruders
from flexlib.errors import FlexError
from flexlib.training.fourier import Factors


@pytest.fixture
def weight():
    generator = torch.Generator().manual_seed(0)
    u, _ = torch.linalg.qr(torch.randn(48, 48, generator=generator))
    v, _ = torch.linalg.qr(torch.randn(32, 32, generator=generator))
    return u[:, :32] @ torch.diag(torch.linspace(10, 1, 32)) @ v.mT


def of(W, A, B, scaling=1.0):
    [row] = intruders.of_factors([Factors("m", A, B, scaling)], lambda name: W, draws=2)
    return row


def test_more_of_a_direction_that_is_there_is_no_intruder(weight):
    U, _, Vh = torch.linalg.svd(weight)
    row = of(weight, Vh[:1], 20 * U[:, :1])
    assert row["intruders"] == 0 and row["alike"] > 0.99


def test_a_large_direction_spread_over_many_is_one_and_a_small_one_is_none(weight):
    U, _, Vh = torch.linalg.svd(weight)
    b = U[:, :32].sum(1, keepdim=True) / 32**0.5  # |cosine| of 0.18 with each
    a = Vh.sum(0, keepdim=True) / 32**0.5
    large = of(weight, a, 100 * b)
    assert large["intruders"] >= 1 and large["directions"] == 10
    assert of(weight, a, 1e-4 * b)["intruders"] == 0
    scaled = of(weight, a, b, scaling=100.0)
    assert scaled["intruders"] == large["intruders"]
    assert scaled["alike"] == pytest.approx(large["alike"], rel=1e-3)


def test_directions_are_those_of_the_svd(weight):
    U, S, _ = torch.linalg.svd(weight)
    found = intruders.left_directions(weight)
    assert found.shape == (48, 32) and S[0] > S[31]
    torch.testing.assert_close((found.mT @ U[:, :32]).abs(), torch.eye(32), atol=1e-3, rtol=0)


@pytest.mark.parametrize("shape", [(400, 8), (8, 400)])
def test_no_decomposition_is_larger_than_the_shorter_side(shape, monkeypatch):
    W = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    eigh, sizes = torch.linalg.eigh, []
    monkeypatch.setattr(torch.linalg, "eigh", lambda M: (sizes.append(M.shape), eigh(M))[1])
    found = intruders.left_directions(W)
    U = torch.linalg.svd(W, full_matrices=False).U
    torch.testing.assert_close((found.mT @ U).abs(), torch.eye(8), atol=1e-3, rtol=0)
    assert sizes == [(8, 8)]


def test_another_shape_is_refused(weight):
    with pytest.raises(FlexError, match="another shape"):
        of(weight.mT, torch.ones(1, 32), torch.ones(48, 1))
