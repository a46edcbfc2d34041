"""The penalty: the definition's values and gradients, the identities that the book states, its
controls, the strength at which arms are compared, and what it refuses."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import peft
import pytest
import tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from flexlib import config, models
from flexlib.config import RegularizerSettings
from flexlib.errors import FlexError
from flexlib.training import fourier
from flexlib.training.fourier import Factors, Regularizer

RELEASED = fourier.RELEASED
CLOSE = {"rtol": 1e-10, "atol": 1e-10}
PROPERTY = settings(deadline=None, max_examples=40, derandomize=True)

sizes = st.integers(2, 17)  # odd and even
ranks = st.integers(1, 5)
# Fractions that bins can hit exactly, and any others.
thresholds = st.one_of(
    st.sampled_from([0.0, 0.2, 0.3, 0.5, 0.6, 2 / 3, 0.7, 1.0]), st.floats(0, 1, allow_nan=False)
)
weights = st.sampled_from([(1.0, 0.1), (0.1, 1.0), (0.0, 1.0), (1.0, 0.0), (2.0, 0.05), (1.0, 1.0)])
seeds = st.integers(0, 2**16)


def draw(m: int, n: int, rank: int, seed: int) -> Factors:
    rng = torch.Generator().manual_seed(seed)
    A = torch.randn(rank, n, generator=rng, dtype=torch.float64).requires_grad_()
    B = torch.randn(m, rank, generator=rng, dtype=torch.float64).requires_grad_()
    return Factors("q_proj", A, B, 2.0)


def dense_frequencies(n: int, convention: str) -> torch.Tensor:
    k = torch.arange(n, dtype=torch.float64)
    return k / n if convention == "index" else 2 * torch.minimum(k, n - k) / n


def dense_factor(w: torch.Tensor, s: RegularizerSettings) -> torch.Tensor:
    """The definition, bin by bin of the full transform."""
    spectrum = torch.fft.fft(w, norm="ortho")
    low = dense_frequencies(len(w), s.convention) <= s.threshold
    return (rho(low, s) * spectrum.abs() ** 2).sum()


def dense_delta(f: Factors, s: RegularizerSettings) -> torch.Tensor:
    """The definition, from the materialised update."""
    spectrum = torch.fft.fft2(f.scaling * f.B @ f.A, norm="ortho")
    u = dense_frequencies(f.B.shape[0], s.convention)[:, None]
    v = dense_frequencies(f.A.shape[1], s.convention)[None, :]
    distance = torch.hypot(u, v) if s.bands == "radial" else torch.maximum(u, v)
    return (rho(distance <= s.threshold, s) * spectrum.abs() ** 2).sum()


def rho(low: torch.Tensor, s: RegularizerSettings) -> torch.Tensor:
    return torch.where(low, *torch.tensor([s.low_weight, s.high_weight], dtype=torch.float64))


def same(f: Factors, ours: torch.Tensor, dense: torch.Tensor) -> None:
    """Values and gradients to 1e-10."""
    torch.testing.assert_close(ours, dense, **CLOSE)
    for a, b in zip(
        torch.autograd.grad(ours, (f.A, f.B)), torch.autograd.grad(dense, (f.A, f.B)), strict=True
    ):
        torch.testing.assert_close(a, b, **CLOSE)


# --- exactness ----------------------------------------------------------------------------------


@PROPERTY
@given(sizes, sizes, ranks, thresholds, weights, st.sampled_from(["nyquist", "index"]), seeds)
def test_factor_form_is_the_definition(m, n, rank, threshold, weights, convention, seed):
    s = RegularizerSettings(
        "factor",
        threshold=threshold,
        low_weight=weights[0],
        high_weight=weights[1],
        convention=convention,
    )
    f = draw(m, n, rank, seed)
    dense = dense_factor(f.A.reshape(-1), s) + dense_factor(f.B.reshape(-1), s)
    same(f, fourier.penalty(s, [f]), dense)


@PROPERTY
@given(
    sizes,
    sizes,
    ranks,
    thresholds,
    weights,
    st.sampled_from(
        [("nyquist", "rectangular"), ("nyquist", "radial"), ("index", "rectangular")],
    ),
    seeds,
)
def test_delta_form_is_the_definition(m, n, rank, threshold, weights, kind, seed):
    s = RegularizerSettings(
        "delta",
        threshold=threshold,
        low_weight=weights[0],
        high_weight=weights[1],
        convention=kind[0],
        bands=kind[1],
    )
    f = draw(m, n, rank, seed)
    same(f, fourier.penalty(s, [f]), dense_delta(f, s))


@PROPERTY
@given(sizes, sizes, ranks, st.lists(thresholds, min_size=1, max_size=4, unique=True), seeds)
def test_energies_of_bands_and_of_radii_are_those_of_the_dense_transform(m, n, rank, bounds, seed):
    bounds = sorted(bounds)
    f = draw(m, n, rank, seed)
    power = torch.fft.fft2(f.B @ f.A, norm="ortho").abs() ** 2
    u, v = (dense_frequencies(k, "nyquist") for k in (m, n))
    row, column = (np.searchsorted(bounds, x.numpy(), side="left") for x in (u, v))
    bands = fourier.band_energy(f.B.mT, f.A, bounds)
    assert bands.shape == (len(bounds) + 1,) * 2
    for i in range(len(bounds) + 1):
        for j in range(len(bounds) + 1):
            expected = power[row == i][:, column == j].sum()
            torch.testing.assert_close(bands[i, j], expected, **CLOSE)
    radii = [math.sqrt(2) * b for b in bounds]
    within = fourier.energy_within(f.B.mT, f.A, radii)
    for radius, found in zip(radii, within, strict=True):
        expected = power[torch.hypot(u[:, None], v[None, :]) <= radius].sum()
        torch.testing.assert_close(found, expected, **CLOSE)


def test_modules_of_unlike_shapes_and_scalings_add_up():
    modules = [draw(m, n, r, i) for i, (m, n, r) in enumerate([(6, 8, 2), (6, 8, 2), (9, 4, 3)])]
    modules[1] = dataclasses.replace(modules[1], scaling=0.5)
    for s in (RELEASED, dataclasses.replace(RELEASED, form="delta")):
        whole = fourier.penalty(s, modules)
        torch.testing.assert_close(whole, sum(fourier.penalty(s, [f]) for f in modules), **CLOSE)


# --- identities ---------------------------------------------------------------------------------


@PROPERTY
@given(sizes, sizes, ranks, thresholds, st.sampled_from(["nyquist", "index"]), seeds)
def test_equal_weights_are_l2_by_parseval(m, n, rank, threshold, convention, seed):
    flat = RegularizerSettings(
        "factor", threshold=threshold, low_weight=0.7, high_weight=0.7, convention=convention
    )
    f = draw(m, n, rank, seed)
    l2 = 0.7 * fourier.penalty(RegularizerSettings("l2"), [f])
    torch.testing.assert_close(l2, 0.7 * (f.A.square().sum() + f.B.square().sum()), **CLOSE)
    torch.testing.assert_close(fourier.penalty(flat, [f]), l2, **CLOSE)
    frobenius = 0.7 * (f.scaling * f.B @ f.A).square().sum()
    delta = dataclasses.replace(flat, form="delta")
    torch.testing.assert_close(fourier.penalty(delta, [f]), frobenius, **CLOSE)


@PROPERTY
@given(st.integers(2, 60), weights, seeds)
def test_index_convention_at_half_is_l2_up_to_the_bins_that_are_their_own_conjugate(n, w, seed):
    x = draw(1, n, 1, seed).A.detach().reshape(-1)
    s = RegularizerSettings("factor", low_weight=w[0], high_weight=w[1], convention="index")
    mean, half = sum(w) / 2, (w[0] - w[1]) / 2
    expected = mean * x.square().sum() + half * x.sum() ** 2 / n  # bin 0 counts as low alone
    if n % 2 == 0:  # and so does bin n / 2
        alternating = x * (-1.0) ** torch.arange(n)
        expected = expected + half * alternating.sum() ** 2 / n
    torch.testing.assert_close(fourier.factor_penalty(x, s), expected, **CLOSE)


@PROPERTY
@given(sizes, sizes, ranks, st.sampled_from(["rectangular", "radial"]), seeds)
def test_delta_form_does_not_see_the_gauge_and_the_factor_form_does(m, n, rank, bands, seed):
    f = draw(m, n, rank, seed)
    R = torch.diag(torch.linspace(0.3, 3.0, rank, dtype=torch.float64))
    rng = torch.Generator().manual_seed(seed)
    Q = torch.linalg.qr(torch.randn(rank, rank, generator=rng, dtype=torch.float64))[0]
    R = Q @ R
    turned = Factors(f.name, torch.linalg.solve(R, f.A), f.B @ R, f.scaling)
    torch.testing.assert_close(turned.B @ turned.A, f.B @ f.A, **CLOSE)
    delta = RegularizerSettings("delta", bands=bands)
    before, after = (fourier.penalty(delta, [x]).item() for x in (f, turned))
    assert after == pytest.approx(before, rel=1e-9)
    before, after = (fourier.penalty(RELEASED, [x]).item() for x in (f, turned))
    assert after != pytest.approx(before, rel=1e-3)


@PROPERTY
@given(st.integers(2, 60), thresholds, weights, seeds)
def test_the_factor_form_is_a_circulant_quadratic_form(n, threshold, w, seed):
    """R(w) = w' C w with C[i, j] a function of i - j: a weight on autocorrelations."""
    s = RegularizerSettings("factor", threshold=threshold, low_weight=w[0], high_weight=w[1])
    x = draw(1, n, 1, seed).A.detach().reshape(-1)
    column = torch.as_tensor(np.fft.ifft(np.where(fourier.frequencies(n) <= threshold, *w)).real)
    C = torch.stack([column.roll(shift) for shift in range(n)], 1)
    torch.testing.assert_close(fourier.factor_penalty(x, s), x @ C @ x, **CLOSE)


# --- controls -----------------------------------------------------------------------------------


@pytest.mark.parametrize("basis", ["permuted", "orthogonal"])
@pytest.mark.parametrize("n", [1, 2, 7, 48])
def test_a_control_is_the_same_penalty_after_an_orthogonal_map(basis, n):
    identity = torch.eye(n, dtype=torch.float64)
    mapped = fourier.change_basis(identity, basis, 3)
    torch.testing.assert_close(mapped @ mapped.mT, identity, **CLOSE)
    assert torch.equal(mapped, fourier.change_basis(identity, basis, 3))  # fixed
    if n > 7:
        assert not torch.equal(mapped, fourier.change_basis(identity, basis, 4))
        s = dataclasses.replace(RELEASED, basis=basis)
        x = torch.randn(n, dtype=torch.float64)
        expected = dense_factor(x @ mapped, s)
        torch.testing.assert_close(fourier.factor_penalty(x, s, 3), expected, **CLOSE)


def test_orthogonal_control_mixes_every_index_with_every_other():
    mapped = fourier.change_basis(torch.eye(512, dtype=torch.float64), "orthogonal", 0)
    # Entries of a uniformly random rotation are normal with variance 1 / n, nearly.
    assert mapped.std() * math.sqrt(512) == pytest.approx(1, abs=0.01)
    kurtosis = (mapped**4).mean() * 512**2
    assert kurtosis == pytest.approx(3, abs=0.1)
    low = torch.ones(512, dtype=torch.float64)  # wholly of the lowest frequency
    power = fourier.band_energy(
        fourier.change_basis(low, "orthogonal", 0)[None],
        torch.ones(1, 1, dtype=torch.float64),
        (0.5,),
    )[:, 0]
    assert (power / power.sum())[0].item() == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("basis", ["permuted", "orthogonal"])
@pytest.mark.parametrize("bands", ["rectangular", "radial"])
def test_delta_controls_map_rows_and_columns_of_the_update(basis, bands):
    f = draw(12, 10, 3, 0)
    s = RegularizerSettings("delta", basis=basis, bands=bands)
    rows = fourier.change_basis(torch.eye(12, dtype=torch.float64), basis, (5, 0))
    columns = fourier.change_basis(torch.eye(10, dtype=torch.float64), basis, (5, 1))
    mapped = Factors(f.name, f.A @ columns, rows.mT @ f.B, f.scaling)
    same(f, fourier.penalty(s, [f], 5), dense_delta(mapped, s))


# --- forms that take no transform, and other transforms -----------------------------------------


@PROPERTY
@given(sizes, sizes, ranks, thresholds, weights, seeds)
def test_rank_form_is_the_mean_of_the_circulant_blocks_on_b_and_l2_on_a(m, n, rank, T, w, seed):
    s = RegularizerSettings("rank", threshold=T, low_weight=w[0], high_weight=w[1])
    f = draw(m, n, rank, seed)

    def circulant(size):
        rho_ = rho(dense_frequencies(size, "nyquist") <= T, s)
        transform = torch.fft.fft(torch.eye(size, dtype=torch.float64), norm="ortho")
        return (transform.mH @ (rho_[:, None] * transform)).real

    def mean_block(C):
        blocks = C.reshape(m, rank, m, rank)
        return torch.stack([blocks[u, :, u] for u in range(m)]).mean(0)

    C_A, C_B = circulant(rank * n), circulant(m * rank)
    dense = torch.trace(f.B @ mean_block(C_B) @ f.B.mT) + C_A.diagonal().mean() * f.A.square().sum()
    same(f, fourier.penalty(s, [f]), dense)
    harmonic = dataclasses.replace(s, average="harmonic")
    if 0 in w:
        with pytest.raises(FlexError, match="needs both above 0"):
            fourier.penalty(harmonic, [f])
    else:
        N = torch.linalg.inv(mean_block(torch.linalg.inv(C_B)))
        of_A = 1 / torch.linalg.inv(C_A).diagonal().mean()
        dense = torch.trace(f.B @ N @ f.B.mT) + of_A * f.A.square().sum()
        same(f, fourier.penalty(harmonic, [f]), dense)
    with_A = dataclasses.replace(s, A_as="factor")
    dense = torch.trace(f.B @ mean_block(C_B) @ f.B.mT) + dense_factor(f.A.reshape(-1), s)
    same(f, fourier.penalty(with_A, [f]), dense)


@PROPERTY
@given(sizes, sizes, ranks, seeds)
def test_nuclear_norm_is_the_sum_of_singular_values_of_the_update(m, n, rank, seed):
    f = draw(m, n, rank, seed)
    dense = torch.linalg.svdvals(f.scaling * f.B @ f.A).sum()
    same(f, fourier.penalty(RegularizerSettings("nuclear"), [f]), dense)


def test_nuclear_norm_is_at_most_half_the_l2_and_equal_at_balanced_factors():
    f = draw(9, 8, 3, 1)
    nuclear, l2 = (fourier.penalty(RegularizerSettings(x), [f]) for x in ("nuclear", "l2"))
    assert nuclear < f.scaling * l2 / 2
    U, S, Vh = torch.linalg.svd((f.B @ f.A).detach(), full_matrices=False)
    root = S[:3].sqrt()
    balanced = dataclasses.replace(f, A=root[:, None] * Vh[:3], B=U[:, :3] * root)
    l2 = fourier.penalty(RegularizerSettings("l2"), [balanced])
    torch.testing.assert_close(nuclear.detach(), f.scaling * l2 / 2, **CLOSE)


@pytest.mark.parametrize("rank_left", [0, 2])
def test_nuclear_norm_has_a_gradient_where_singular_values_are_zero(rank_left):
    """As at the start of training, where B is zero."""
    f = draw(9, 8, 4, 1)
    with torch.no_grad():
        f.B[:, rank_left:] = 0
    value = fourier.penalty(RegularizerSettings("nuclear"), [f])
    gradients = torch.autograd.grad(value, (f.A, f.B))
    dense = torch.linalg.svdvals(f.scaling * f.B @ f.A).sum()
    torch.testing.assert_close(value, dense, **CLOSE)
    assert all(g.isfinite().all() for g in gradients)
    if rank_left == 0:
        assert not any(g.any() for g in gradients)
    else:  # a subgradient: no step against it leads up
        moved = dataclasses.replace(f, A=f.A - 1e-5 * gradients[0], B=f.B - 1e-5 * gradients[1])
        assert fourier.penalty(RegularizerSettings("nuclear"), [moved]) < value


@PROPERTY
@given(
    sizes,
    sizes,
    ranks,
    thresholds,
    weights,
    st.sampled_from(["nyquist", "index"]),
    st.booleans(),
    seeds,
)
def test_the_last_axis_is_transformed_row_by_row(m, n, rank, T, w, convention, columns, seed):
    f = draw(m, n, rank, seed)
    layout = "columns" if columns else None
    s = RegularizerSettings(
        "factor",
        threshold=T,
        low_weight=w[0],
        high_weight=w[1],
        convention=convention,
        transform="last-axis",
        layout_A=layout,
        layout_B=layout,
    )
    factors = [f.A.mT, f.B.mT] if columns else [f.A, f.B]
    dense = sum(dense_factor(row, s) for factor in factors for row in factor)
    same(f, fourier.penalty(s, [f]), dense)


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.5, 0.7, 1.0])
@pytest.mark.parametrize(
    ("convention", "bands"),
    [("nyquist", "rectangular"), ("nyquist", "radial"), ("index", "rectangular")],
)
@pytest.mark.parametrize("shape", [(12, 11, 4), (9, 8, 5), (6, 7, 1)])
def test_both_axes_are_the_two_dimensional_definition(shape, convention, bands, threshold):
    f = draw(*shape, 0)
    s = RegularizerSettings(
        "factor", threshold=threshold, convention=convention, bands=bands, transform="both-axes"
    )
    one = torch.eye(shape[2], dtype=torch.float64)  # times which each factor is its own update
    whole = [
        dataclasses.replace(f, B=one, scaling=1.0),
        dataclasses.replace(f, A=one, scaling=1.0),
    ]
    same(f, fourier.penalty(s, [f]), sum(dense_delta(x, s) for x in whole))


@pytest.mark.parametrize("transform", ["last-axis", "both-axes"])
def test_transforms_of_unlike_modules_add_up_and_renumbered_ones_are_of_the_renumbered(transform):
    modules = [draw(m, n, r, i) for i, (m, n, r) in enumerate([(6, 8, 2), (6, 8, 2), (9, 4, 3)])]
    s = dataclasses.replace(RELEASED, transform=transform)
    whole = fourier.penalty(s, modules)
    torch.testing.assert_close(whole, sum(fourier.penalty(s, [f]) for f in modules), **CLOSE)
    f, units = modules[0], dataclasses.replace(s, basis="permuted", axis="units")
    A, B = fourier._arranged(f, units, 3, 0)
    moved = fourier.penalty(s, [dataclasses.replace(f, A=A, B=B)])
    torch.testing.assert_close(fourier.penalty(units, [f], 3), moved, **CLOSE)
    assert not torch.isclose(moved, fourier.penalty(s, [f]))


def test_on_b_the_last_axis_is_the_rank_so_that_outputs_may_be_renumbered():
    f = draw(30, 8, 4, 0)
    s = dataclasses.replace(RELEASED, transform="last-axis")
    outputs = dataclasses.replace(s, basis="permuted", axis="outputs")
    torch.testing.assert_close(fourier.penalty(outputs, [f]), fourier.penalty(s, [f]), **CLOSE)


# --- layout, and what is renumbered ---------------------------------------------------------------


def relaid(f: Factors, s: RegularizerSettings, seed: int = 0, number: int = 0):
    """Where the entries of A and of B end up: each matrix of the entries' own numbers, re-laid."""
    index = dataclasses.replace(
        f, **{x: torch.arange(m.numel()).reshape(m.shape) for x, m in (("A", f.A), ("B", f.B))}
    )
    return fourier._arranged(index, s, seed, number)


@pytest.mark.parametrize("layout", [(None, None), ("columns", None), (None, "columns")])
@pytest.mark.parametrize("axis", [None, "units", "inputs", "outputs", "rank", "whole-A"])
def test_a_layout_and_a_renumbering_are_the_same_penalty_on_other_neighbours(layout, axis):
    f = draw(12, 10, 3, 0)
    s = dataclasses.replace(
        RELEASED,
        basis="permuted" if axis else "fourier",
        axis=axis,
        layout_A=layout[0],
        layout_B=layout[1],
    )
    A, B = relaid(f, s, 5)
    expected = dense_factor(f.A.reshape(-1)[A.reshape(-1)], s)
    expected = expected + dense_factor(f.B.reshape(-1)[B.reshape(-1)], s)
    same(f, fourier.penalty(s, [f], 5), expected)


def test_by_columns_a_factor_is_flattened_as_its_transpose_is_by_rows():
    f = draw(7, 5, 3, 1)
    s = dataclasses.replace(RELEASED, layout_A="columns", layout_B="columns")
    expected = sum(dense_factor(m.mT.reshape(-1), s) for m in (f.A, f.B))
    torch.testing.assert_close(fourier.penalty(s, [f]), expected, **CLOSE)


@pytest.mark.parametrize("layout", [None, "columns"])
@pytest.mark.parametrize(
    ("axis", "renumbered"),
    [
        ("units", {"inputs", "outputs"}),
        ("inputs", {"inputs"}),
        ("outputs", {"outputs"}),
        ("rank", {"rank of B"}),
        ("whole-A", {"A"}),
    ],
)
def test_a_renumbering_keeps_to_its_axis(axis, renumbered, layout):
    rank, m, n = 5, 30, 40
    f = draw(m, n, rank, 0)
    s = dataclasses.replace(RELEASED, basis="permuted", axis=axis, layout_A=layout, layout_B=layout)
    A, B = (x.T if layout else x for x in relaid(f, s))
    identity = (torch.arange(rank * n).reshape(rank, n), torch.arange(m * rank).reshape(m, rank))
    for matrix, whole in zip((A, B), identity, strict=True):
        assert torch.equal(matrix.reshape(-1).sort().values, whole.reshape(-1))
    found = set()
    if not torch.equal(A // n, identity[0] // n):
        found.add("A")  # rank rows are mixed
    elif not torch.equal(A, identity[0]):
        assert (A % n == A[0] % n).all()  # every rank row in one order
        found.add("inputs")
    if not torch.equal(B // rank, identity[1] // rank):
        assert (B // rank == B[:, :1] // rank).all()  # whole rows
        assert torch.equal(B % rank, identity[1] % rank)
        found.add("outputs")
    elif not torch.equal(B, identity[1]):
        assert len({tuple(row) for row in (B % rank).tolist()}) > 5  # a new order in every row
        found.add("rank of B")
    assert found == renumbered


def test_each_axis_of_each_module_has_a_permutation_of_its_own():
    f = draw(64, 64, 4, 0)
    s = dataclasses.replace(RELEASED, basis="permuted", axis="units")
    orders = [relaid(f, s, seed, number) for seed, number in ((0, 0), (0, 1), (1, 0))]
    inputs = [tuple((A[0] % 64).tolist()) for A, _ in orders]
    outputs = [tuple((B[:, 0] // 4).tolist()) for _, B in orders]
    assert len({*inputs, *outputs}) == 6
    assert all(torch.equal(x, y) for x, y in zip(relaid(f, s), orders[0], strict=True))  # fixed
    modules = [draw(12, 10, 3, i) for i in range(3)]
    expected = sum(
        dense_factor(m.reshape(-1)[order.reshape(-1)], s)
        for i, g in enumerate(modules)
        for m, order in zip((g.A, g.B), relaid(g, s, 7, i), strict=True)
    )
    torch.testing.assert_close(fourier.penalty(s, modules, 7), expected, **CLOSE)


def test_renumbering_units_leaves_the_matched_strength_as_it_is():
    """Hence the control need not be matched: its rule weighs sum rho^2, which no renumbering changes."""
    large = [Factors("", torch.zeros(8, 4096), torch.zeros(4096, 8), 2.0)]
    units = dataclasses.replace(RELEASED, basis="permuted", axis="units", matched=True)
    assert Regularizer(units, large).scale == pytest.approx(0.01, rel=0.01)


# --- matched strength ---------------------------------------------------------------------------

SHAPES = [draw(48, 32, 4, i) for i in range(3)] + [draw(96, 32, 4, 9)]
ARMS = [
    RegularizerSettings("factor", low_weight=0.1, high_weight=1.0),
    RegularizerSettings("factor", basis="permuted"),
    RegularizerSettings("factor", basis="orthogonal"),
    RegularizerSettings("factor", threshold=0.2, low_weight=2.0, high_weight=0.0),
    RegularizerSettings("delta"),
    RegularizerSettings("delta", bands="radial", threshold=0.7),
    RegularizerSettings("l2"),
    RegularizerSettings("rank"),
    RegularizerSettings("rank", average="harmonic", A_as="factor"),
    RegularizerSettings("factor", transform="last-axis"),
    RegularizerSettings("factor", transform="both-axes"),
    RegularizerSettings("nuclear"),
]


@pytest.mark.parametrize("arm", ARMS, ids=str)
def test_matched_penalties_press_alike_on_random_factors(arm):
    """On other random factors than those of the reference, whatever their scaling in the model."""
    matched = Regularizer(dataclasses.replace(arm, matched=True), SHAPES, seed=3)
    released = Regularizer(RELEASED, SHAPES)
    rng = torch.Generator().manual_seed(77)
    std = 1 / math.sqrt(3 * 32)  # of A as PEFT draws it
    other = [
        dataclasses.replace(
            f, A=std * torch.randn(f.A.shape, generator=rng), B=std * torch.randn(f.B.shape, generator=rng)
        )
        for f in SHAPES
    ]  # fmt: skip
    norm = matched.scale * fourier.gradient_norm(arm, other, 3)
    assert norm == pytest.approx(released.scale * fourier.gradient_norm(RELEASED, other), rel=0.1)


def test_matching_the_factor_forms_has_a_closed_form():
    """2 sqrt(sum rho^2) per unit variance: for L2 against half the bins at 1 and half at 0.1."""
    large = [Factors("", torch.zeros(8, 4096), torch.zeros(4096, 8), 2.0)]
    l2 = Regularizer(RegularizerSettings("l2", matched=True), large)
    assert l2.scale == pytest.approx(0.01 * math.sqrt((1 + 0.1**2) / 2), rel=0.01)
    assert Regularizer(RELEASED, large).scale == 0.01
    same = Regularizer(dataclasses.replace(RELEASED, matched=True), large)
    assert same.scale == pytest.approx(0.01, rel=1e-12)


# --- models -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny.make_base(tmp_path_factory.mktemp("base"))


def adapted(base, **kwargs):
    lora = peft.LoraConfig(**{"r": 4, "lora_alpha": 16, "target_modules": ["q_proj"], **kwargs})
    model = peft.get_peft_model(models.load_model(base, "fp32", "cpu"), lora)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_()
    return model


@pytest.mark.parametrize(
    "kwargs",
    [
        {},
        {"use_rslora": True},
        {"target_modules": ["q_proj", "down_proj"], "rank_pattern": {"down_proj": 2}},
        {"target_modules": "all-linear", "r": 1},
    ],
    ids=str,
)
def test_factors_make_the_update_that_peft_merges(base, kwargs):
    model = adapted(base, **kwargs)
    before = {n: p.clone() for n, p in models.load_model(base, "fp32", "cpu").named_parameters()}
    factors = fourier.lora_factors(model)
    updates = {f.name.removeprefix("base_model.model."): f.scaling * f.B @ f.A for f in factors}
    merged = dict(model.merge_and_unload().named_parameters())
    changed = {n for n in merged if not torch.equal(merged[n], before[n])}
    assert changed == {f"{name}.weight" for name in updates}
    for name, update in updates.items():
        found = merged[f"{name}.weight"] - before[f"{name}.weight"]
        torch.testing.assert_close(update, found, rtol=1e-4, atol=1e-5)


def test_dora_is_its_low_rank_part(base):
    lora, dora = (fourier.lora_factors(adapted(base, use_dora=d)) for d in (False, True))
    assert [(f.name, f.A.shape, f.B.shape, f.scaling) for f in lora] == [
        (f.name, f.A.shape, f.B.shape, f.scaling) for f in dora
    ]


@pytest.mark.parametrize("form", ["factor", "delta", "l2", "rank", "nuclear"])
def test_half_precision_factors_are_computed_in_fp32_under_autocast(base, form):
    model = adapted(base).to(torch.bfloat16)
    factors = fourier.lora_factors(model)
    penalty = Regularizer(RegularizerSettings(form), factors)
    with torch.autocast("cpu", torch.bfloat16):
        found = penalty()
    assert found.dtype == torch.float32
    exact = [dataclasses.replace(f, A=f.A.double(), B=f.B.double()) for f in factors]
    reference = Regularizer(RegularizerSettings(form), exact)()
    assert found.item() == pytest.approx(reference.item(), rel=1e-5)
    found.backward()
    assert all(f.A.grad.dtype == torch.bfloat16 and f.B.grad.abs().sum() > 0 for f in factors)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize(
    "s",
    [
        *(
            RegularizerSettings(form, basis=basis)
            for form in ("factor", "delta")
            for basis in ("fourier", "permuted", "orthogonal")
        ),
        RegularizerSettings("factor", basis="permuted", axis="units", layout_B="columns"),
        RegularizerSettings("factor", transform="both-axes"),
        RegularizerSettings("rank"),
        RegularizerSettings("nuclear"),
    ],
    ids=str,
)
def test_gpu_and_cpu_agree(s):
    there = [dataclasses.replace(f, A=f.A.detach().cuda(), B=f.B.detach().cuda()) for f in SHAPES]
    assert Regularizer(s, there)().item() == pytest.approx(Regularizer(s, SHAPES)().item())


# --- refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"threshold": 1.5}, "regularizer.threshold must be between 0 and 1, not 1.5"),
        ({"strength": -1.0}, "regularizer.strength must be 0 or more"),
        ({"low_weight": math.nan}, "regularizer.low_weight must be 0 or more"),
        ({"form": "delta", "bands": "radial", "convention": "index"}, "convention=nyquist"),
        (
            {"transform": "both-axes", "bands": "radial", "convention": "index"},
            "convention=nyquist",
        ),
        ({"low_weight": 0.0, "high_weight": 0.0, "matched": True}, "no gradient"),
        ({"axis": "units"}, "regularizer.axis says what basis=permuted renumbers"),
        ({"axis": "units", "basis": "permuted", "form": "delta"}, "regularizer.axis"),
        ({"layout_B": "columns", "form": "delta"}, "layout_B"),
        ({"average": "harmonic"}, "average belongs to the rank form"),
        ({"A_as": "factor"}, "A_as belongs to the rank form"),
        ({"transform": "last-axis", "form": "rank"}, "transform belongs to the factor form"),
        ({"transform": "last-axis", "basis": "permuted"}, "takes factors as matrices"),
    ],
)
def test_settings_that_make_no_sense_are_refused(change, message):
    with pytest.raises(FlexError, match=message) as error:
        Regularizer(dataclasses.replace(RELEASED, **change), SHAPES)
    assert "\n" not in str(error.value)


def test_what_is_no_product_of_two_factors_is_refused(base):
    refused = [
        (models.load_model(base, "fp32", "cpu"), "no active LoRA factors"),
        (adapted(base, target_modules=["embed_tokens"]), "embed_tokens is a LoRA Embedding"),
        (
            peft.get_peft_model(
                models.load_model(base, "fp32", "cpu"),
                peft.IA3Config(target_modules=["q_proj"], feedforward_modules=[]),
            ),
            "not by LoRA",
        ),
        (
            peft.get_peft_model(
                torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3)), peft.LoraConfig(target_modules=["0"])
            ),
            "no linear layer.*leave it out",
        ),
    ]
    for model, message in refused:
        with pytest.raises(FlexError, match=message) as error:
            fourier.lora_factors(model)
        assert "\n" not in str(error.value)


# --- the arms -----------------------------------------------------------------------------------


def test_the_released_arm_is_the_released_configuration():
    assert config.load("paper", "fourier-released", 1).regularizer == RELEASED


# Arms that differ from the released penalty in where they look alone: the same bins, as many of each
# weight or nearly, so that the released strength is theirs.
RELAID = {
    "fourier-units": {"basis": "permuted", "axis": "units"},
    "fourier-rank": {"basis": "permuted", "axis": "rank"},
    "fourier-whole-A": {"basis": "permuted", "axis": "whole-A"},
    "fourier-A-columns": {"layout_A": "columns"},
    "fourier-B-columns": {"layout_B": "columns"},
    "fourier-columns": {"layout_A": "columns", "layout_B": "columns"},
    "fourier-last-axis": {"transform": "last-axis"},
    "fourier-both-axes": {"transform": "both-axes"},
    "rank-weights-on-B": {"form": "rank", "average": "harmonic", "A_as": "factor"},
}


def test_every_penalty_is_of_a_strength_that_can_be_compared():
    """Matched in gradient or in the norm that it leaves, or the released penalty but for one thing."""
    arms = {a: config.load("nano", a, 1).regularizer for a in config.arms()}
    penalised = {
        a: r for a, r in arms.items() if r is not None and not a.startswith("released-fourier-")
    }
    assert set(penalised) >= {
        *["fourier-described", "fourier-released", "fourier-delta", "fourier-permuted"],
        *["fourier-orthogonal", "l2-matched", "l2-norm", "nuclear-norm", "rank-weights"],
    }
    released = penalised.pop("fourier-released")
    for arm, change in RELAID.items():
        assert penalised.pop(arm) == dataclasses.replace(released, **change), arm
    for arm in ("rslora-fourier", "dora-fourier"):  # on other factors
        assert penalised.pop(arm) == released, arm
    for arm, settings_ in penalised.items():
        if settings_.equal_norm:
            assert settings_.equal_norm == "fourier-released" and not settings_.matched, arm
            assert config.load("paper", arm, 1).regularizer.strength == 0, arm  # not calibrated
        else:
            assert settings_.matched, arm
            assert settings_.strength == released.strength, arm


@pytest.mark.parametrize("change", RELAID.values(), ids=RELAID)
def test_arms_at_the_released_strength_press_about_as_hard(change):
    shapes = [Factors("", torch.zeros(8, 192), torch.zeros(192, 8), 2.0) for _ in range(4)]
    matched = dataclasses.replace(RELEASED, matched=True, **change)
    within = 0.3 if change.get("transform") == "both-axes" else 0.12
    assert Regularizer(matched, shapes).scale == pytest.approx(0.01, rel=within)
