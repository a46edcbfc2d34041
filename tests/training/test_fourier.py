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
    A, B = relaid(f, s)
    A, B = (
        (A.reshape(n, rank).T, B.reshape(rank, m).T)
        if layout
        else (A.reshape(rank, n), B.reshape(m, rank))
    )
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
    inputs = [tuple((A[:64] % 64).tolist()) for A, _ in orders]
    outputs = [tuple((B.reshape(64, 4)[:, 0] // 4).tolist()) for _, B in orders]
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


@pytest.mark.parametrize("form", ["factor", "delta", "l2"])
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
@pytest.mark.parametrize("form", ["factor", "delta"])
@pytest.mark.parametrize("basis", ["fourier", "permuted", "orthogonal"])
def test_gpu_and_cpu_agree(form, basis):
    s = RegularizerSettings(form, basis=basis)
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
        ({"low_weight": 0.0, "high_weight": 0.0, "matched": True}, "no gradient"),
        ({"axis": "units"}, "regularizer.axis says what basis=permuted renumbers"),
        ({"axis": "units", "basis": "permuted", "form": "delta"}, "regularizer.axis"),
        ({"layout_B": "columns", "form": "delta"}, "layout_B"),
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


def test_every_penalty_of_the_controls_is_matched_to_the_released_one():
    arms = {a: config.load("nano", a, 1).regularizer for a in config.arms()}
    penalised = {
        a: r for a, r in arms.items() if r is not None and not a.startswith("released-fourier-")
    }
    assert set(penalised) >= {
        *["fourier-described", "fourier-released", "fourier-delta", "fourier-permuted"],
        *["fourier-orthogonal", "l2-matched"],
    }
    released = penalised.pop("fourier-released")
    units = penalised.pop("fourier-units")  # a renumbering: matched as it is
    assert units == dataclasses.replace(released, basis="permuted", axis="units")
    for arm, settings_ in penalised.items():
        assert settings_.matched, arm
        assert settings_.strength == released.strength, arm
