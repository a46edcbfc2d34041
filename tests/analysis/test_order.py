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
from flexlib.training import fourier

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


def hessian(settings: RegularizerSettings, outputs: int, rank: int, side: str = "B") -> np.ndarray:
    """C of a factor, (rows, columns, rows, columns), from the penalty that training has."""
    shapes = {"A": (rank, outputs), "B": (outputs, rank)}
    zero = {name: torch.zeros(shape, dtype=torch.float64) for name, shape in shapes.items()}

    def penalty(w):
        factors = zero | {side: w.reshape(shapes[side])}
        return fourier.penalty(settings, [fourier.Factors("", **factors, scaling=1.0)], 1)

    n = outputs * rank
    found = torch.autograd.functional.hessian(penalty, torch.zeros(n, dtype=torch.float64))
    return found.numpy().reshape(*shapes[side], *shapes[side]) / 2


def answers(settings: RegularizerSettings, outputs: int, rank: int) -> np.ndarray:
    """(gradients, outputs, rank): B ~ C^-1 g for each unit gradient g."""
    n = outputs * rank
    C = hessian(settings, outputs, rank).reshape(n, n)
    return np.linalg.inv(C).T.reshape(n, outputs, rank)


@pytest.mark.parametrize(("outputs", "rank"), [(24, 4), (15, 3)])
@pytest.mark.parametrize("arm", EXACT)
def test_without_rotation_it_is_that_of_what_answers_a_white_gradient(arm, outputs, rank):
    measured = mean_frequency(answers(of(arm), outputs, rank))
    assert order.without_rotation(of(arm), outputs, rank) == pytest.approx(measured, abs=1e-6)


@pytest.mark.parametrize("arm", ON_AVERAGE)
def test_renumberings_are_taken_on_average(arm):
    measured = mean_frequency(answers(of(arm), 96, 4))
    assert order.without_rotation(of(arm), 96, 4) == pytest.approx(measured, abs=0.02)


@pytest.mark.parametrize("side", ["A", "B"])
@pytest.mark.parametrize("arm", [*EXACT, *ON_AVERAGE])
def test_blocks_are_those_of_the_penalty_of_training(arm, side):
    units, rank = 96, 4
    C = hessian(of(arm), units, rank, side)
    if side == "A":
        C = C.transpose(1, 0, 3, 2)  # unit, rank component
    mean = np.mean([C[u, :, u, :] for u in range(units)], axis=0)
    chance = 0.05 if arm in ON_AVERAGE or (arm, side) == ("fourier-whole-A", "A") else 1e-9
    np.testing.assert_allclose(order._block(side, of(arm), units, rank), mean, atol=chance)


def priced(settings: RegularizerSettings, outputs: int, values: np.ndarray):
    """The least penalty over all factors of an update, by descent from several places, and the order of B there."""
    rank = len(values)
    M_A, M_B = (order._block(side, settings, outputs, rank) for side in "AB")

    def factors(flat):
        G = flat.reshape(rank, rank)  # in the bases of the singular vectors
        return np.linalg.solve(G, np.diag(np.sqrt(values))), np.sqrt(values)[:, None] * G

    def price(flat):
        A, B = factors(flat)
        return np.trace(A.T @ M_A @ A) + np.trace(B @ M_B @ B.T)

    starts = [np.random.default_rng(seed).standard_normal(rank * rank) for seed in range(20)]
    best = min((minimize(price, start, tol=1e-12) for start in starts), key=lambda found: found.fun)
    return best.fun, mean_frequency(factors(best.x)[1]), (M_A, M_B)


@pytest.mark.parametrize("arm", [
    "fourier-A-columns", "fourier-columns", "fourier-released", "fourier-described", "fourier-both-axes",
])  # fmt: skip
@pytest.mark.parametrize("threshold", [0.3, 0.5])
def test_with_rotation_it_is_that_of_the_least_penalty(arm, threshold):
    settings = dataclasses.replace(of(arm), threshold=threshold)
    values = np.array([5.0, 2.0, 0.7])
    least, measured, (M_A, M_B) = priced(settings, 40, values)
    costs = np.sort(np.sqrt(np.linalg.eigvals(M_A @ M_B).real))
    assert least == pytest.approx(2 * costs @ values, rel=1e-6)
    if (np.diff(costs) > order.ALIKE * costs[1:]).all():
        derived = order.with_rotation(settings, 40, 3, values)
        assert derived == pytest.approx(measured, abs=2e-3)


def test_what_costs_alike_gets_alike():
    """On A by rows and B by columns blocks are the identity but for 1 / n, and that decides nothing."""
    values = 0.6 ** np.arange(8)
    for arm in ("fourier-B-columns", "fourier-rank", "fourier-released", "fourier-last-axis"):
        ends = [order.with_rotation(of(arm), outputs, 8, values) for outputs in (191, 192, 193)]
        assert max(ends) - min(ends) < 0.01, arm
    assert order.with_rotation(of("fourier-B-columns"), 192, 8, values) == pytest.approx(
        0.5, abs=0.01
    )


def test_where_rotation_is_not_free_it_has_no_order_of_its_own():
    for arm in ("fourier-permuted", "fourier-orthogonal", "fourier-whole-A"):
        assert order.with_rotation(of(arm), 40, 4, np.ones(4)) is None


def test_no_penalty_has_no_order_and_others_none_that_is_derived():
    assert order.without_rotation(None, 5, 8) == order.with_rotation(None, 5, 8, np.ones(8)) == 0.5
    assert order.without_rotation(None, 5, 3) == pytest.approx(4 / 9)
    released = of("fourier-released")
    for changed in (
        {"form": "l2"}, {"low_weight": 0.0}, {"convention": "index"},
        {"transform": "both-axes", "bands": "radial"}, {"transform": "last-axis", "layout_B": "columns"},
        {"transform": "last-axis", "basis": "permuted", "axis": "rank"},
    ):  # fmt: skip
        other = dataclasses.replace(released, **changed)
        for derive in (
            lambda s: order.without_rotation(s, 24, 4),
            lambda s: order.with_rotation(s, 24, 4, np.ones(4)),
        ):
            with pytest.raises(
                FlexError, match=r"is derived for this penalty|inverse of a penalty's weights"
            ):
                derive(other)


def test_the_table_has_the_ends_of_each_factor_penalty():
    released, rank_4 = "fourier-released", "fourier-released adapter.alpha=8 adapter.rank=4"
    values = {released: 0.5 ** np.arange(8), rank_4: 0.5 ** np.arange(4)}
    labels = ["lora", released, "l2-norm", rank_4, "fourier-permuted"]
    values["fourier-permuted"] = values[released]
    found = order.derived(labels, "nano", 192, values).set_index("label")
    assert list(found.index) == [released, rank_4, "fourier-permuted"]
    for label, rank in ((released, 8), (rank_4, 4)):
        place = (config.load("nano", released, 1).regularizer, 192, rank)
        assert found.loc[label, "without"] == order.without_rotation(*place)
        assert found.loc[label, "with"] == order.with_rotation(*place, values[label])
    assert np.isnan(found.loc["fourier-permuted", "with"])
    assert list(order.derived([], "nano", 192, {})) == ["label", "without", "with"]
