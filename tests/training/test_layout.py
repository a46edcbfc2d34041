"""What the penalty weighs on the rank index: the closed forms against dense matrices, the expectation
against every sign of every unit, and the least penalty of an update against its factors."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from flexlib import config
from flexlib.config import RegularizerSettings
from flexlib.errors import FlexError
from flexlib.training import fourier, layout

CLOSE = {"rtol": 1e-10, "atol": 1e-10}
PROPERTY = settings(deadline=None, max_examples=60, derandomize=True)

thresholds = st.one_of(
    st.sampled_from([0.0, 0.2, 0.3, 0.5, 2 / 3, 0.7, 1.0]), st.floats(0, 1, allow_nan=False)
)
weights = st.sampled_from([(1.0, 0.1), (0.1, 1.0), (0.0, 1.0), (1.0, 0.0), (2.0, 0.05), (1.0, 1.0)])


@st.composite
def penalties(draw, conventions=("nyquist", "index")):
    low, high = draw(weights)
    return RegularizerSettings(
        "factor",
        threshold=draw(thresholds),
        low_weight=low,
        high_weight=high,
        convention=draw(st.sampled_from(conventions)),
    )


def circulant(n: int, s: RegularizerSettings) -> np.ndarray:
    """C = F^H diag(rho) F, from the dense transform; its imaginary part is no part of w' C w."""
    k = np.arange(n)
    f = k / n if s.convention == "index" else 2 * np.minimum(k, n - k) / n
    F = np.exp(-2j * np.pi * np.outer(k, k) / n) / np.sqrt(n)
    return (F.conj().T * np.where(f <= s.threshold, s.low_weight, s.high_weight) @ F).real


def places(units: int, rank: int, stride: int) -> np.ndarray:
    """(units, rank): where in the flattened factor a unit's rank components lie."""
    index = np.arange(units * rank)
    return index.reshape(units, rank) if stride == 1 else index.reshape(rank, units).T


@PROPERTY
@given(st.integers(1, 70), penalties())
def test_lag_weights_are_a_row_of_the_circulant_matrix(n, s):
    C = circulant(n, s)
    np.testing.assert_allclose(layout.lag_weights(n, np.arange(n), s), C[0], **CLOSE)
    np.testing.assert_allclose(layout.lag_weights(n, -np.arange(n), s), C[:, 0], **CLOSE)


@PROPERTY
@given(st.integers(1, 20), st.integers(1, 9), penalties(), st.booleans())
def test_rank_matrix_is_the_block_that_every_unit_has(units, rank, s, by_rows):
    stride = 1 if by_rows else units
    C = circulant(units * rank, s)
    M = layout.rank_matrix(units, rank, s, stride=stride)
    for place in places(units, rank, stride):
        np.testing.assert_allclose(M, C[np.ix_(place, place)], **CLOSE)


@PROPERTY
@given(st.integers(1, 20), st.integers(1, 9), penalties(("nyquist",)), st.booleans())
def test_rank_weights_are_the_penalty_on_one_rank_frequency(units, rank, s, by_rows):
    stride = 1 if by_rows else units
    n = units * rank
    found = layout.rank_weights(units, rank, s, stride=stride)
    C, where = circulant(n, s), places(units, rank, stride)
    for j in range(rank):
        wave = np.exp(2j * np.pi * j * np.arange(rank) / rank) / np.sqrt(rank)
        alone = [(wave.conj() @ C[np.ix_(p, p)] @ wave).real for p in where]
        np.testing.assert_allclose(found[j], np.mean(alone), **CLOSE)
    if stride == 1:  # Fejer's kernel, term by term
        k = np.arange(n)
        rho = np.where(2 * np.minimum(k, n - k) / n <= s.threshold, s.low_weight, s.high_weight)
        for j in range(rank):
            x = k / n - j / rank
            terms = np.exp(2j * np.pi * np.outer(np.arange(rank), x)).sum(0)
            np.testing.assert_allclose(found[j], (rho * abs(terms) ** 2).sum() / rank / n, **CLOSE)
    np.testing.assert_allclose(found.mean(), layout.lag_weights(n, [0], s)[0], **CLOSE)


@pytest.mark.parametrize("layouts", [(None, None), ("columns", "columns")])
@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7])
def test_the_penalty_of_units_with_random_signs_is_that_of_the_rank_matrix(layouts, threshold):
    """The mean over all signs of all units, exactly: what is left of an adapter without an order."""
    rank, m, n = 4, 6, 5
    rng = torch.Generator().manual_seed(0)
    A = torch.randn(rank, n, generator=rng, dtype=torch.float64)
    B = torch.randn(m, rank, generator=rng, dtype=torch.float64)
    s = RegularizerSettings("factor", threshold=threshold, layout_A=layouts[0], layout_B=layouts[1])
    zero = [torch.zeros_like(A), torch.zeros_like(B)]
    of_A = np.mean([
        fourier.penalty(s, [fourier.Factors("", A * torch.tensor(signs).double(), zero[1], 1.0)])
        for signs in itertools.product((-1, 1), repeat=n)
    ])  # fmt: skip
    of_B = np.mean([
        fourier.penalty(
            s, [fourier.Factors("", zero[0], torch.tensor(signs).double()[:, None] * B, 1.0)]
        )
        for signs in itertools.product((-1, 1), repeat=m)
    ])  # fmt: skip
    A, B = A.numpy(), B.numpy()
    strides = (n, 1) if layouts == (None, None) else (1, m)
    M_A = layout.rank_matrix(n, rank, s, stride=strides[0])
    M_B = layout.rank_matrix(m, rank, s, stride=strides[1])
    np.testing.assert_allclose(of_A, np.trace(A.T @ M_A @ A), rtol=1e-12)
    np.testing.assert_allclose(of_B, np.trace(B @ M_B @ B.T), rtol=1e-12)


@PROPERTY
@given(
    st.integers(1, 12),
    st.integers(1, 6),
    penalties(("nyquist",)),
    st.booleans(),
    st.integers(0, 99),
)
def test_response_matrix_is_what_a_loss_without_order_is_up_against(units, rank, s, by_rows, seed):
    """Its least penalty minus gain is that of the penalty itself, on average over the signs of units."""
    stride = 1 if by_rows else units
    if not (s.low_weight and s.high_weight):
        with pytest.raises(FlexError, match="both above 0"):
            layout.response_matrix(units, rank, s, stride=stride)
        return
    N = layout.response_matrix(units, rank, s, stride=stride)
    C, where = circulant(units * rank, s), places(units, rank, stride)
    g = np.random.default_rng(seed).standard_normal(rank)
    gains = []
    for place in where:  # min over w of w' C w - g' w, for a gradient on one unit
        whole = np.zeros(units * rank)
        whole[place] = g
        w = np.linalg.solve(2 * C, whole)
        gains.append(w @ C @ w - whole @ w)
    b = np.linalg.solve(2 * N, g)
    np.testing.assert_allclose(b @ N @ b - g @ b, np.mean(gains), rtol=1e-8)
    M = layout.rank_matrix(units, rank, s, stride=stride)
    assert np.linalg.eigvalsh(M - N).min() > -1e-10


@PROPERTY
@given(st.integers(0, 2**16), st.integers(1, 6), st.floats(0.05, 3), thresholds)
def test_no_factors_of_an_update_have_less_than_the_least_penalty(seed, rank, of_A, threshold):
    rng = np.random.default_rng(seed)
    s = dataclasses.replace(fourier.RELEASED, threshold=threshold)
    M = layout.rank_matrix(30, rank, s)
    A, B = rng.standard_normal((rank, 9)), rng.standard_normal((7, rank))
    update = B @ A

    def penalty(A, B):
        return of_A * (A**2).sum() + np.trace(B @ M @ B.T)

    least = layout.least_penalty(np.linalg.svd(update, compute_uv=False)[:rank], of_A, M)
    best = layout.least_factors(update, of_A, M)
    np.testing.assert_allclose(best[1] @ best[0], update, rtol=1e-8, atol=1e-8)
    assert penalty(*best) == pytest.approx(least, rel=1e-8)
    for _ in range(5):
        G = rng.standard_normal((rank, rank)) + 0.1 * np.eye(rank)
        assert penalty(np.linalg.solve(G, A), B @ G) >= least * (1 - 1e-8)
    near = 1e-2 * rng.standard_normal((rank, rank)) + np.eye(rank)  # a minimum, and a near one
    assert penalty(np.linalg.solve(near, best[0]), best[1] @ near) >= least * (1 - 1e-8)


def test_a_bin_unlike_its_conjugate_has_no_harmonic_mean():
    s = dataclasses.replace(fourier.RELEASED, convention="index")
    with pytest.raises(FlexError, match="needs the convention nyquist"):
        layout.response_matrix(20, 4, s)


def test_equal_weights_make_it_the_nuclear_norm():
    values = np.array([3.0, 2.0, 0.5])
    assert layout.least_penalty(values, 1.0, np.eye(3)) == pytest.approx(2 * values.sum())


@pytest.mark.parametrize("threshold", [0.3, 0.5])
def test_a_form_on_the_inputs_weighs_the_update_by_its_root(threshold):
    """tr(A C A') + tr(B M B') over all factors of W has the least value of 2 sum sqrt(tau) sigma(W sqrt(C))."""
    rng = np.random.default_rng(3)
    s = dataclasses.replace(fourier.RELEASED, threshold=threshold)
    inputs, outputs, rank = 12, 9, 3
    C = circulant(rank * inputs, s)[:inputs, :inputs]
    M = layout.rank_matrix(outputs, rank, s)
    values, vectors = np.linalg.eigh(C)
    root = (vectors * np.sqrt(values)) @ vectors.T
    update = rng.standard_normal((outputs, rank)) @ rng.standard_normal((rank, inputs))
    weighed = np.linalg.svd(update @ root, compute_uv=False)[:rank]
    least = layout.least_penalty(weighed, 1.0, M)
    A, B = layout.least_factors(update @ root, 1.0, M)
    A = A @ np.linalg.inv(root)
    np.testing.assert_allclose(B @ A, update, **CLOSE)

    def price(A, B):
        return np.trace(A @ C @ A.T) + np.trace(B @ M @ B.T)

    assert price(A, B) == pytest.approx(least)
    for _ in range(200):
        G = rng.standard_normal((rank, rank))
        assert price(np.linalg.solve(G, A), B @ G) >= least * (1 - 1e-9)


@pytest.mark.parametrize(
    ("arm", "free"),
    [("fourier-released", True), ("fourier-units", True), ("fourier-whole-A", False)],
)
def test_rotating_rank_components_is_free_unless_the_whole_index_is_renumbered(arm, free):
    """The cheapest A of a penalty stays as cheap, or comes near to the mean weight."""
    rng = np.random.default_rng(4)
    rank, inputs = 4, 60
    settings = config.load("nano", arm, 1).regularizer

    def price(A):
        B = torch.zeros(2, rank, dtype=torch.float64)
        return fourier.penalty(settings, [fourier.Factors("m", A.reshape(rank, inputs), B, 1.0)])

    form = torch.autograd.functional.hessian(price, torch.zeros(rank * inputs, dtype=torch.float64))
    cheapest = torch.linalg.eigh(form)[1][:, 0]
    if free:  # the cheapest of one row alone: what lies between two rows is no part of the argument
        cheapest = torch.zeros_like(cheapest)
        cheapest[:inputs] = torch.linalg.eigh(form[:inputs, :inputs])[1][:, 0]
    low, mean = price(cheapest), torch.diagonal(form).mean() / 2
    rotated = [
        price(
            torch.tensor(np.linalg.qr(rng.standard_normal((rank, rank)))[0])
            @ cheapest.reshape(rank, inputs)
        )
        for _ in range(50)
    ]
    after = torch.stack(rotated).mean()
    assert low < 0.3 * mean
    assert (after < 1.1 * low) if free else (after > 0.7 * mean)
