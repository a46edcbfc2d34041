"""FLeX's Fourier penalty on LoRA (Narasimhan 2026), in the forms and with the controls of this study.

Write F for the unitary discrete Fourier transform and f for a bin's frequency in 0..1. With the
weights rho(f) = ``low_weight`` if f <= ``threshold`` else ``high_weight``:

``factor``
    R(w) = sum_k rho(f_k) |F w|_k^2 for each LoRA factor w, flattened row by row as stored: the
    formula of FLeX's README.
``delta``
    The same on the update dW = s B A, by the two-dimensional transform. It never forms dW: with b_u
    the rows of F B and a_v the columns of A F^T, bin (u, v) of dW holds s^2 |b_u a_v|^2, so that a row band U
    and a column band V hold s^2 tr(G_U H_V), with G_U = sum_u b_u^H b_u and H_V = sum_v a_v a_v^H of
    rank x rank numbers. It sees B and A through their product alone, so it is the same for
    (B R, R^-1 A), which the factor form is not.
``rank``
    The factor form without its transform: the quadratic form on the rank index of B that it comes to
    where units have no order, and L2 on A (:mod:`flexlib.training.layout` derives the weights).
``nuclear``
    The sum of the singular values of the update s B A.
``l2``
    R(w) = |w|^2 of each factor: by Parseval's theorem the factor form with equal weights.

Conventions of f for bin k of n: ``nyquist``, 2 min(k, n - k) / n, the distance from the constant;
``index``, k / n, by which bins k and n - k, a conjugate pair of the same energy, fall on different
sides. At a threshold of 0.5 the latter is (low_weight + high_weight) / 2 times L2 for any two weights,
up to the bins 0 and n / 2.

Bases: ``fourier``; ``permuted``, the index renumbered at random before the transform; ``orthogonal``,
the index mixed by a random orthogonal matrix. All three press with the same weights on as many
dimensions, and only in the first does frequency mean anything.

What lies side by side in a flattened factor is a matter of memory layout. A is (rank, inputs) and B
(outputs, rank), so that by rows the neighbours of an entry of A are inputs, and those of an entry of B
are *rank components of the same output*. ``layout_A`` and ``layout_B`` take a factor by columns
instead, as an implementation does that stores it transposed. ``axis`` says what ``permuted`` renumbers:

=============  =============================================================================
None           the whole flattened index of every factor: mixes rank components with units
``units``      the inputs (columns of A) and the outputs (rows of B): the rank order is kept
``inputs``     the columns of A alone
``outputs``    the rows of B alone
``rank``       the rank index, anew in every row of B; A is left alone
``whole-A``    the whole flattened index of A; B is left alone
=============  =============================================================================

With None, factors of one size share a permutation. With any other each axis of each module has one of
its own, so that no order of the units is left, be it common to modules or not. (Those of the residual
stream may be renumbered only together if the network's function is to stay: see
:mod:`flexlib.analysis.symmetry`. A penalty does not ask for that.)
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from flexlib.config import Axis, Basis, Convention, RegularizerSettings
from flexlib.errors import FlexError
from flexlib.training import layout

# The released defaults: what the strengths of all arms refer to (see `matching_factor`).
RELEASED = RegularizerSettings(
    form="factor", strength=0.01, threshold=0.5, low_weight=1.0, high_weight=0.1
)

_CACHED = 2**17  # numbers of factors that are treated together on a CPU


@dataclass(frozen=True)
class Factors:
    """The low-rank update ``scaling * B @ A`` of one module.

    ``A`` is (rank, inputs), ``B`` (outputs, rank), as in PEFT; ``scaling`` is alpha / rank, or
    alpha / sqrt(rank) for rsLoRA. For DoRA it is the update before the columns are normalised.
    """

    name: str
    A: Tensor
    B: Tensor
    scaling: float


class Regularizer:
    """The penalty of one run, to be added to the loss.

    Args:
        settings: which penalty, and how strong.
        factors: what it presses on. They are read at every call.
        seed: of the permutation or the orthogonal matrix, if there is one.

    Attributes:
        scale: what the penalty is multiplied by: the strength, times `matching_factor` if matched.

    Raises:
        FlexError: settings out of range, or such as do not go together.
    """

    def __init__(
        self, settings: RegularizerSettings, factors: Sequence[Factors], seed: int = 0
    ) -> None:
        check(settings)
        self.settings, self.factors, self.seed = settings, list(factors), seed
        self.scale = settings.strength
        if settings.matched:
            self.scale *= matching_factor(settings, factors, seed)

    def __call__(self) -> Tensor:
        """The penalty, a scalar in float32, or float64 if the factors are. Nats, as the loss."""
        device = self.factors[0].A.device.type
        with torch.autocast(device, enabled=False):
            return self.scale * penalty(self.settings, self.factors, self.seed)


def penalty(settings: RegularizerSettings, factors: Sequence[Factors], seed: int = 0) -> Tensor:
    """Sum of the penalty over modules, at strength 1. Modules of one shape are treated together."""
    if settings.form in _OF_PAIRS:
        of_pair, power = _OF_PAIRS[settings.form]

        def of_group(*tensors: Tensor) -> Tensor:
            A = torch.stack([_precise(t) for t in tensors[::2]])
            B = torch.stack([_precise(t) for t in tensors[1::2]])
            return of_pair(A, B, settings, seed).sum()

        groups = _grouped(factors, lambda f: (f.A.shape, f.B.shape, f.scaling))
        parts = [
            group[0].scaling ** power * _memory_bound(of_group, tensors)
            for group in groups
            for tensors in _chunks(group, lambda f: (f.A, f.B))
        ]
    else:
        flat = settings.form == "l2" or settings.transform is None

        def of_group(*tensors: Tensor) -> Tensor:
            w = torch.stack([_precise(t).reshape(-1) if flat else _precise(t) for t in tensors])
            if settings.form == "l2":
                return w.square().sum()
            if settings.transform == "both-axes":
                return matrix_penalty(w, settings).sum()
            return factor_penalty(w, settings, seed).sum()

        matrices = [m for i, f in enumerate(factors) for m in _arranged(f, settings, seed, i)]
        parts = [
            _memory_bound(of_group, tensors)
            for group in _grouped(matrices, torch.numel if flat else lambda m: m.shape)
            for tensors in _chunks(group, lambda m: (m,))
        ]
    return torch.stack(parts).sum()


def factor_penalty(w: Tensor, settings: RegularizerSettings, seed: int = 0) -> Tensor:
    """R(w) of vectors, flattened factors: (..., n) -> (...)."""
    n = w.shape[-1]
    if settings.axis is None:  # others are renumbered as matrices: see `_arranged`
        w = change_basis(w, settings.basis, seed)
    power = torch.view_as_real(torch.fft.rfft(w, norm="ortho")).square().sum(-1)
    weights = _bin_weights(
        n, settings.threshold, settings.low_weight, settings.high_weight, settings.convention
    )
    return power @ torch.as_tensor(weights, dtype=w.dtype, device=w.device)


def matrix_penalty(w: Tensor, settings: RegularizerSettings) -> Tensor:
    """R(w) of matrices by their two-dimensional transform: (..., p, q) -> (...).

    A bin is low as in :func:`delta_penalty`.
    """
    power = torch.view_as_real(torch.fft.rfft2(w, norm="ortho")).square().sum(-1)
    weights = _matrix_weights(*w.shape[-2:], settings)
    return (power * torch.as_tensor(weights, dtype=w.dtype, device=w.device)).sum((-2, -1))


def delta_penalty(A: Tensor, B: Tensor, settings: RegularizerSettings, seed: int = 0) -> Tensor:
    """R(B A) of updates: (..., rank, n) and (..., m, rank) -> (...).

    A bin is low if both its frequencies are (``rectangular``), or if hypot(row, column) is
    (``radial``: 1 is Nyquist along either axis, and the corner lies at sqrt(2)).
    """
    rows, columns = bases(A, B, settings.basis, seed)
    low_weight, high_weight = settings.low_weight, settings.high_weight
    if settings.bands == "radial":
        low = energy_within(rows, columns, (settings.threshold,))[..., 0]
        return low_weight * low + high_weight * (energy(rows, columns) - low)
    bands = band_energy(rows, columns, (settings.threshold,), settings.convention)
    weights = bands.new_full(bands.shape[-2:], high_weight)
    weights[0, 0] = low_weight
    return (weights * bands).sum((-2, -1))


def rank_penalty(A: Tensor, B: Tensor, settings: RegularizerSettings, seed: int = 0) -> Tensor:
    """What the factor form is to an adapter whose units have no order, as a function of what is left, the
    rank index: (..., rank, n) and (..., m, rank) -> (...). B is not transformed.

    tr(B M B^T) + c |A|^2, with M of :mod:`flexlib.training.layout` and c the same average over all bins
    of A. With ``A_as = "factor"``, A keeps its transform.
    """
    (m, rank), n = B.shape[-2:], A.shape[-1]
    matrix = layout.response_matrix if settings.average == "harmonic" else layout.rank_matrix
    M = torch.as_tensor(matrix(m, rank, settings), dtype=B.dtype, device=B.device)
    of_B = ((B @ M) * B).sum((-2, -1))
    if settings.A_as == "factor":
        return of_B + factor_penalty(A.flatten(-2), settings, seed)
    return of_B + matrix(rank * n, 1, settings).item() * A.square().sum((-2, -1))


def nuclear_norm(A: Tensor, B: Tensor, settings: Any = None, seed: int = 0) -> Tensor:
    """Sum of the singular values of B A: (..., rank, n) and (..., m, rank) -> (...).

    It is the smallest (|A'|^2 + |B'|^2) / 2 of all factors with B' A' = B A (Srebro et al. 2005), hence
    what L2 on the factors comes to once they are balanced.

    With B = Q R and A^T = Q' R', the singular vectors of B A are those of the small R R'^T, turned by
    Q and Q'. The gradient is that of tr(U^T B A V) at fixed U and V, which the norm's subdifferential
    contains; singular values of zero add nothing to it, so that it is zero at B = 0.
    """
    with torch.no_grad():
        Q_B, R_B = torch.linalg.qr(B)
        Q_A, R_A = torch.linalg.qr(A.mT)
        U, values, Vh = torch.linalg.svd(R_B @ R_A.mT, full_matrices=False)
        largest = values[..., :1] * max(R_A.shape[-1], R_B.shape[-1]) * torch.finfo(A.dtype).eps
        U, V = (Q_B @ U) * (values > largest)[..., None, :], Q_A @ Vh.mT
    return ((U.mT @ B) * (A @ V).mT).sum((-2, -1))


# The forms that see both factors of a module, and the power of its scaling that they carry.
_OF_PAIRS = {"delta": (delta_penalty, 2), "rank": (rank_penalty, 0), "nuclear": (nuclear_norm, 1)}


# --- energies of B A by frequency, from its factors ---------------------------------------------
#
# `rows` is B^T, (..., rank, m), and `columns` is A, (..., rank, n): the index lies along the last axis
# of both. All are differentiable.


def energy(rows: Tensor, columns: Tensor) -> Tensor:
    """Squared Frobenius norm of B A: (...)."""
    return ((rows @ rows.mT) * (columns @ columns.mT)).sum((-2, -1))


def band_energy(
    rows: Tensor, columns: Tensor, bounds: Sequence[float], convention: Convention = "nyquist"
) -> Tensor:
    """Energy of B A in the rectangles of row bands and column bands: (..., bands, bands).

    ``bounds`` are the upper ends, inclusive, of all bands but the last.
    """
    G = _band_grams(rows, bounds, convention)
    H = _band_grams(columns, bounds, convention)
    return torch.einsum("...uij,...vij->...uv", G, H).real


def energy_within(rows: Tensor, columns: Tensor, radii: Sequence[float]) -> Tensor:
    """Energy of B A where hypot(row frequency, column frequency) <= radius: (..., radii).

    For row frequency u the column frequencies within the radius are the first few, so one cumulative
    sum of rank x rank matrices serves all rows: O((m + n) rank^2) for each radius, and exact.
    """
    a, b = _half_spectrum(columns), _half_spectrum(rows)  # (..., rank, bins, 2)
    outer = torch.einsum("...ivc,...jvc->...vij", a, a)
    within = torch.nn.functional.pad(outer.cumsum(-3), (0, 0, 0, 0, 1, 0))  # of the first 0, 1, ...
    energies = []
    for radius in radii:
        counts = torch.as_tensor(
            _bins_within(rows.shape[-1], columns.shape[-1], radius), device=rows.device
        )
        reached = b[..., : len(counts), :]
        energies.append(
            torch.einsum("...iuc,...uij,...juc->...", reached, within[..., counts, :, :], reached)
        )
    return torch.stack(energies, -1)


def frequencies(n: int, convention: Convention = "nyquist") -> np.ndarray:
    """Frequency, 0..1, of each of the n bins of the full transform."""
    k = np.arange(n)
    return k / n if convention == "index" else 2 * np.minimum(k, n - k) / n


def _band_grams(x: Tensor, bounds: Sequence[float], convention: Convention) -> Tensor:
    """sum x_k x_k^H over the bins k of each band: (..., rank, n) -> (..., bands, rank, rank).

    Real if the bands hold k and n - k alike, which makes half the transform enough.
    """
    f = frequencies(x.shape[-1], convention)
    if convention == "index":
        spectrum = torch.fft.fft(x, norm="ortho")
    else:
        spectrum = _half_spectrum(x)
        f = f[: spectrum.shape[-2]]
    ends = np.searchsorted(f, bounds, side="right")
    grams = []
    for start, stop in itertools.pairwise([0, *ends, len(f)]):
        if convention == "index":
            band = spectrum[..., start:stop]
        else:  # real and imaginary parts side by side
            band = spectrum[..., start:stop, :].flatten(-2)
        grams.append(band @ band.mH)
    return torch.stack(grams, -3)


def _half_spectrum(x: Tensor) -> Tensor:
    """Bins 0..n/2 of the unitary transform of real vectors, each scaled to hold the energy of its
    conjugate too; real and imaginary parts last: (..., n) -> (..., n // 2 + 1, 2)."""
    spectrum = torch.view_as_real(torch.fft.rfft(x, norm="ortho"))
    multiplicity = torch.as_tensor(_multiplicity(x.shape[-1]), dtype=x.dtype, device=x.device)
    return spectrum * multiplicity.sqrt()[:, None]


@lru_cache(maxsize=64)
def _multiplicity(n: int) -> np.ndarray:
    """How many bins of the full transform each bin of the half one stands for: 1 or 2."""
    count = np.full(n // 2 + 1, 2.0)
    count[0] = 1.0
    if n % 2 == 0:
        count[-1] = 1.0
    return count


@lru_cache(maxsize=64)
def _bin_weights(
    n: int, threshold: float, low_weight: float, high_weight: float, convention: Convention
) -> np.ndarray:
    """rho, added up over the bins of the full transform that a bin of the half one stands for."""
    rho = np.where(frequencies(n, convention) <= threshold, low_weight, high_weight)
    folded = rho[: n // 2 + 1].copy()
    pairs = (n - 1) // 2  # bins 1..pairs have a conjugate of their own
    folded[1 : pairs + 1] += rho[: n - pairs - 1 : -1]
    return folded


@lru_cache(maxsize=64)
def _matrix_weights(p: int, q: int, settings: RegularizerSettings) -> np.ndarray:
    """rho of every bin of the two-dimensional half transform, folded as by `_bin_weights`."""
    u, v = (frequencies(k, settings.convention) for k in (p, q))
    distance = np.hypot if settings.bands == "radial" else np.maximum
    low = distance(u[:, None], v[None, :]) <= settings.threshold
    rho = np.where(low, settings.low_weight, settings.high_weight)
    folded = rho[:, : q // 2 + 1].copy()
    pairs = (q - 1) // 2
    conjugate = rho[-np.arange(p)]  # bin (k, l) belongs with (-k, -l)
    folded[:, 1 : pairs + 1] += conjugate[:, : q - pairs - 1 : -1]
    return folded


@lru_cache(maxsize=256)
def _bins_within(m: int, n: int, radius: float) -> np.ndarray:
    """For each row bin of the half transform up to ``radius``: how many column bins lie within it."""
    u, v = frequencies(m)[: m // 2 + 1], frequencies(n)[: n // 2 + 1]
    u = u[u <= radius]
    counts = np.searchsorted(v, np.sqrt(radius**2 - u**2), side="right")
    # The square root is rounded; hypot decides about a bin on the circle.
    counts -= (counts > 0) & (np.hypot(u, v[counts - 1]) > radius)
    counts += (counts < len(v)) & (np.hypot(u, v[np.minimum(counts, len(v) - 1)]) <= radius)
    return counts


# --- bases --------------------------------------------------------------------------------------


def bases(A: Tensor, B: Tensor, basis: Basis = "fourier", seed: int = 0) -> tuple[Tensor, Tensor]:
    """B^T and A with their indices, of outputs and of inputs, in the chosen basis.

    (..., rank, n) and (..., m, rank) -> (..., rank, m) and (..., rank, n).
    """
    return change_basis(B.mT, basis, (seed, 0)), change_basis(A, basis, (seed, 1))


def change_basis(x: Tensor, basis: Basis, seed: int | tuple[int, ...]) -> Tensor:
    """Vectors (..., n) after an orthogonal map that depends on ``seed`` and n alone."""
    if basis == "fourier":
        return x
    n = x.shape[-1]
    if basis == "permuted":
        return x[..., torch.as_tensor(_permutation(n, seed), device=x.device)]
    # Random signs and a fast orthogonal transform, in turn: close to a uniformly random rotation
    # at n log n (Yu et al. 2016, Orthogonal Random Features).
    for signs in _signs(n, seed):
        x = _hartley(x * torch.as_tensor(signs, dtype=x.dtype, device=x.device))
    return x


def _arranged(f: Factors, settings: RegularizerSettings, seed: int, number: int) -> list[Tensor]:
    """A and B as the matrices whose rows, end to end, are to be transformed."""
    found = []
    for side, m in (("A", f.A), ("B", f.B)):
        columns = (settings.layout_A if side == "A" else settings.layout_B) == "columns"
        order = _order(m.shape, side, settings.axis, seed, number)
        if order is not None:
            m = m.reshape(-1)[torch.as_tensor(order, device=m.device)].reshape(m.shape)
        found.append(m.mT if columns else m)
    return found


@lru_cache(maxsize=1024)  # of all modules, or each step would draw them anew
def _order(
    shape: tuple[int, int], side: str, axis: Axis | None, seed: int, number: int
) -> np.ndarray | None:
    """Which entry of a factor, numbered by rows, comes where; None: they stay as they are.

    ``number`` is that of the module: each of its axes has a permutation of its own.
    """
    index = np.arange(math.prod(shape)).reshape(shape)
    rng = np.random.default_rng([*shape, seed, number, side == "B"])
    if side == "A" and axis in ("units", "inputs"):
        index = index[:, rng.permutation(shape[1])]
    elif side == "B" and axis in ("units", "outputs"):
        index = index[rng.permutation(shape[0])]
    elif side == "B" and axis == "rank":
        index = rng.permuted(index, axis=1)
    elif side == "A" and axis == "whole-A":
        index = rng.permutation(index.reshape(-1)).reshape(shape)
    else:
        return None
    return index.reshape(-1)


def _hartley(x: Tensor) -> Tensor:
    """The unitary discrete Hartley transform: real, symmetric, its own inverse."""
    spectrum = torch.fft.fft(x, norm="ortho")
    return spectrum.real - spectrum.imag


@lru_cache(maxsize=64)
def _permutation(n: int, seed: int | tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng([n, *np.atleast_1d(seed)]).permutation(n)


@lru_cache(maxsize=64)
def _signs(n: int, seed: int | tuple[int, ...], rounds: int = 3) -> np.ndarray:
    return np.random.default_rng([n, *np.atleast_1d(seed)]).choice((-1.0, 1.0), (rounds, n))


# --- matched strength ---------------------------------------------------------------------------


def matching_factor(
    settings: RegularizerSettings, factors: Sequence[Factors], seed: int = 0
) -> float:
    """By what to multiply a penalty so that it presses as hard as the released one.

    The rule: equal norm of the gradient, over all factors together, at a reference point. That is a
    random adapter of the model's shapes with independent normal entries in A and in B, both of the
    variance 1 / (3 inputs) with which PEFT draws A. It depends on the shapes and scalings alone, not
    on the run's seed or on anything trained.

    For the factor forms the scale of the reference makes no difference: their gradients are linear, and
    a penalty with weights rho_k has one of norm 2 sqrt(sum rho_k^2) per unit variance, in any basis.
    The delta form's gradient is cubic, so that its match holds for adapters of about this size.
    """
    rng = torch.Generator().manual_seed(0)
    reference = []
    for f in factors:
        draw = [
            torch.randn(m.shape, generator=rng, dtype=torch.float64) / math.sqrt(3 * f.A.shape[-1])
            for m in (f.A, f.B)
        ]
        reference.append(replace(f, A=draw[0], B=draw[1]))
    return gradient_norm(RELEASED, reference, seed) / gradient_norm(settings, reference, seed)


def gradient_norm(
    settings: RegularizerSettings, factors: Sequence[Factors], seed: int = 0
) -> float:
    """Norm of the gradient of the penalty at strength 1 with respect to all factors together.

    Raises:
        FlexError: it is zero, as with both weights zero.
    """
    leaves = [
        replace(f, A=f.A.detach().requires_grad_(), B=f.B.detach().requires_grad_())
        for f in factors
    ]
    tensors = [m for f in leaves for m in (f.A, f.B)]
    gradients = torch.autograd.grad(penalty(settings, leaves, seed), tensors)
    norm = math.sqrt(sum(float(g.double().square().sum()) for g in gradients))
    if norm == 0:
        raise FlexError("the penalty has no gradient; set regularizer weights above 0")
    return norm


# --- what it presses on -------------------------------------------------------------------------


def lora_factors(model: torch.nn.Module) -> list[Factors]:
    """The active LoRA factors of a PEFT model, in the order of its modules.

    Linear layers, quantised or not, with LoRA, rsLoRA or DoRA (the low-rank part of it).

    Raises:
        FlexError: there is no LoRA; a module holds something else than ``scaling * B @ A`` (another
            method, an embedding, a convolution, experts), or more than one active adapter.
    """
    from peft.tuners.lora import LoraLayer
    from peft.tuners.tuners_utils import BaseTunerLayer

    found = []
    for name, module in model.named_modules():
        if not isinstance(module, BaseTunerLayer):
            continue
        if not isinstance(module, LoraLayer):
            raise FlexError(
                f"{name} is adapted by {type(module).__name__}, not by LoRA; the penalty is "
                "defined for LoRA factors"
            )
        adapters = [a for a in module.active_adapters if a in module.scaling]
        if len(adapters) > 1:
            raise FlexError(f"{name} has the active adapters {', '.join(adapters)}; activate one")
        for adapter in adapters:
            found.append(_factors_of(name, module, adapter))
    if not found:
        raise FlexError("the model has no active LoRA factors; add an adapter to it first")
    return found


def _factors_of(name: str, module: Any, adapter: str) -> Factors:
    """Raises: FlexError, if the update of this module is not ``scaling * B @ A``."""
    variant = type(module.lora_variant.get(adapter)).__name__
    linear = (
        adapter in module.lora_A
        and isinstance(module.lora_A[adapter], torch.nn.Linear)
        and isinstance(module.lora_B[adapter], torch.nn.Linear)
        and getattr(module, "num_experts", 1) == 1
    )
    if not linear or variant not in ("NoneType", "DoraLinearVariant"):
        kind = type(module).__name__ + ("" if linear else " (no linear layer)")
        kind += "" if variant == "NoneType" else f" with {variant}"
        raise FlexError(
            f"{name} is a LoRA {kind}, whose update is not B A; the penalty treats linear layers "
            "with LoRA, rsLoRA or DoRA: leave it out of adapter.target_modules"
        )
    A, B = module.lora_A[adapter].weight, module.lora_B[adapter].weight
    if A.ndim != 2 or B.ndim != 2 or A.shape[0] != B.shape[1] or hasattr(A, "to_local"):
        raise FlexError(f"the LoRA factors of {name} are sharded; keep them whole on every device")
    return Factors(name, A, B, float(module.scaling[adapter]))


# --- details ------------------------------------------------------------------------------------


def check(settings: RegularizerSettings) -> None:
    """Refuse settings out of range, or such as do not go together. Raises: FlexError."""
    if settings.equal_norm and settings.strength == 0:
        raise FlexError(
            f"the strength at which this penalty leaves the norm of {settings.equal_norm} is not known "
            "for this profile; find it with `flexlib calibrate` and write it into the profile"
        )
    for name, low, high in (
        ("threshold", 0.0, 1.0),
        ("strength", 0.0, math.inf),
        ("low_weight", 0.0, math.inf),
        ("high_weight", 0.0, math.inf),
    ):
        if not low <= getattr(settings, name) <= high:
            limits = f"between {low:g} and {high:g}" if high < math.inf else "0 or more"
            raise FlexError(f"regularizer.{name} must be {limits}, not {getattr(settings, name)}")
    if settings.axis and (settings.basis != "permuted" or settings.form != "factor"):
        raise FlexError(
            "regularizer.axis says what basis=permuted renumbers in the factor form; leave it out "
            "with another basis or form"
        )
    for name in ("layout_A", "layout_B", "transform"):
        if getattr(settings, name) and settings.form != "factor":
            raise FlexError(
                f"regularizer.{name} belongs to the factor form; leave it out with "
                f"form={settings.form}"
            )
    for name in ("average", "A_as"):
        if getattr(settings, name) and settings.form != "rank":
            raise FlexError(
                f"regularizer.{name} belongs to the rank form; leave it out with form={settings.form}"
            )
    if settings.transform and settings.basis != "fourier" and settings.axis is None:
        raise FlexError(
            f"regularizer.transform={settings.transform} takes factors as matrices, and "
            f"basis={settings.basis} renumbers them flattened; take basis=permuted with an axis"
        )
    two_axes = settings.form == "delta" or settings.transform == "both-axes"
    if two_axes and settings.bands == "radial" and settings.convention == "index":
        raise FlexError(
            "radial bands are defined by the distance from the constant: take "
            "regularizer.convention=nyquist, or rectangular bands"
        )


T = TypeVar("T")


def _grouped(items: Iterable[T], key: Callable[[T], Any]) -> list[list[T]]:
    groups: dict[Any, list[T]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return list(groups.values())


def _chunks(
    items: Sequence[T], tensors_of: Callable[[T], tuple[Tensor, ...]]
) -> list[list[Tensor]]:
    """The tensors of equally large items, so many at once as suit the device: all of them on a GPU, where
    each call costs; on a CPU what fits its cache."""
    first = tensors_of(items[0])
    size = sum(t.numel() for t in first)
    count = len(items) if first[0].is_cuda else max(1, _CACHED // size)
    return [
        [t for item in items[i : i + count] for t in tensors_of(item)]
        for i in range(0, len(items), count)
    ]


def _memory_bound(work: Callable[..., Tensor], tensors: Sequence[Tensor]) -> Tensor:
    """``work``, computed anew in the backward pass where its spectra are too large to keep."""
    if sum(t.numel() for t in tensors) < _CACHED // 2 or tensors[0].is_cuda:
        return work(*tensors)
    return checkpoint(work, *tensors, use_reentrant=False, preserve_rng_state=False)


def _precise(x: Tensor) -> Tensor:
    """In float32 at least: half precision would lose the small energies."""
    return x if x.dtype == torch.float64 else x.float()
