"""The order that the penalty is derived to give B: against the penalty's own Hessian, and against the least
penalty over all factors of an update, found by descent."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from flexlib import config
from flexlib.analysis import order
from flexlib.config import RegularizerSettings
from flexlib.errors import FlexError
from flexlib.training import fourier, layout

EXACT = [
    "fourier-released", "fourier-units", "fourier-described", "fourier-last-axis", "fourier-both-axes",
    "fourier-B-columns", "fourier-A-columns", "fourier-columns", "fourier-whole-A",
]  # fmt: skip
ON_AVERAGE = ["fourier-rank", "fourier-permuted", "fourier-orthogonal"]  # over renumberings


def of(arm: str) -> RegularizerSettings:
    return dataclasses.replace(config.load("nano", arm, 1).regularizer, matched=False)


def mean_frequency(B: np.ndarray) -> float:
    """Of (..., rank), all rows together."""
    j = np.arange(B.shape[-1])
    energy = (abs(np.fft.fft(B, axis=-1)) ** 2).reshape(-1, len(j)).sum(0)
    return float(energy @ (2 * np.minimum(j, len(j) - j) / len(j)) / energy.sum())


def answers(settings: RegularizerSettings, outputs: int, rank: int) -> np.ndarray:
    """(gradients, outputs, rank): B ~ C^-1 g for each unit gradient g, from the penalty that training has."""

    def penalty(w):
        A = torch.zeros(rank, outputs, dtype=torch.float64)
        return fourier.penalty(settings, [fourier.Factors("", A, w.reshape(outputs, rank), 1.0)], 1)

    n = outputs * rank
    hessian = torch.autograd.functional.hessian(penalty, torch.zeros(n, dtype=torch.float64))
    return torch.linalg.inv(hessian).numpy().T.reshape(n, outputs, rank)


@pytest.mark.parametrize(("outputs", "rank"), [(24, 4), (15, 3)])
@pytest.mark.parametrize("arm", EXACT)
def test_without_rotation_it_is_that_of_what_answers_a_white_gradient(arm, outputs, rank):
    measured = mean_frequency(answers(of(arm), outputs, rank))
    assert order.without_rotation(of(arm), outputs, rank) == pytest.approx(measured, abs=1e-6)


@pytest.mark.parametrize("arm", ON_AVERAGE)
def test_renumberings_are_taken_on_average(arm):
    measured = mean_frequency(answers(of(arm), 96, 4))
    assert order.without_rotation(of(arm), 96, 4) == pytest.approx(measured, abs=0.02)


@pytest.mark.parametrize(
    "arm", ["fourier-released", "fourier-described", "fourier-last-axis", "fourier-rank"]
)
def test_with_rotation_it_is_that_of_the_factors_of_least_penalty(arm):
    settings, outputs, rank = of(arm), 40, 4
    values = np.array([5.0, 3.0, 1.0, 0.5])
    rng = np.random.default_rng(0)
    U, V = (np.linalg.qr(rng.standard_normal((n, rank)))[0] for n in (outputs, 30))
    M_A, M_B = (order._block(side, settings, outputs, rank) for side in "AB")
    np.testing.assert_allclose(M_A, M_A[0, 0] * np.eye(rank), atol=0.05 * M_A[0, 0])
    _, B = layout.least_factors(U * values @ V.T, M_A[0, 0], M_B)
    found = order.with_rotation(settings, outputs, rank, values)
    assert found == pytest.approx(mean_frequency(B), abs=0.05)


@pytest.mark.parametrize(
    "arm", ["fourier-A-columns", "fourier-columns", "fourier-released", "fourier-both-axes"]
)
def test_no_rotation_has_a_lower_penalty(arm):
    """Descent over all invertible G, from several places, ends at the order that is derived."""
    settings, outputs, rank = of(arm), 40, 3
    values = np.array([5.0, 2.0, 0.7])
    M_A, M_B = (order._block(side, settings, outputs, rank) for side in "AB")

    def price(flat):
        G = flat.reshape(rank, rank)
        B = np.sqrt(values)[:, None] * G  # in the bases of the singular vectors
        A = np.linalg.solve(G, np.diag(np.sqrt(values)))
        return np.trace(A.T @ M_A @ A) + np.trace(B @ M_B @ B.T)

    starts = [np.random.default_rng(seed).standard_normal(rank * rank) for seed in range(20)]
    best = min((minimize(price, start, tol=1e-12) for start in starts), key=lambda found: found.fun)
    B = np.sqrt(values)[:, None] * best.x.reshape(rank, rank)
    derived = order.with_rotation(settings, outputs, rank, values)
    assert derived == pytest.approx(mean_frequency(B), abs=2e-3)


def test_where_rotation_is_not_free_it_has_no_order_of_its_own():
    for arm in ("fourier-permuted", "fourier-orthogonal", "fourier-whole-A"):
        assert order.with_rotation(of(arm), 40, 4, np.ones(4)) is None


def test_no_penalty_has_no_order_and_other_forms_none_that_is_derived():
    assert order.without_rotation(None, 5, 8) == order.with_rotation(None, 5, 8, np.ones(8)) == 0.5
    assert order.without_rotation(None, 5, 3) == pytest.approx(4 / 9)
    for bad in (RegularizerSettings("l2"), RegularizerSettings("factor", low_weight=0.0)):
        with pytest.raises(FlexError, match="factor penalties with both weights above 0"):
            order.without_rotation(bad, 5, 8)
