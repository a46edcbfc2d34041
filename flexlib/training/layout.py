"""What the factor penalty weighs once the units have no order: the rank index.

A factor of a rank-r adapter is flattened to n numbers, and R(w) = sum_k rho_k |F w|_k^2 is the
quadratic form of the circulant matrix C[i, j] = c(i - j),

    c(d) = 1/n sum_k rho_k cos(2 pi k d / n)
         = high [d = 0] + (low - high) / n * sin((2 K + 1) pi d / n) / sin(pi d / n),

with K the largest low bin: rho is ``high`` everywhere, and ``low - high`` more on the bins -K..K, whose
sum is Dirichlet's kernel (in the convention ``index``, on 0..K: half of one plus the kernel).

Let the units be uncorrelated, as they are in an adapter without an order of units: E[b_u b_v^T] = 0 for
the rank vectors b_u, b_v of two of them, u != v. Of the products w_i w_j then only those within a unit
are left in the expectation, whose places differ by (s - t) * stride for the rank components s and t:

    E R = tr(M S),   S = sum_u E[b_u b_u^T],   M[s, t] = c((s - t) * stride),

so the penalty is a weight M on the rank index. The stride is the distance of two rank components of one
unit in the flattened factor, and it is all that the memory layout decides:

B by rows, A by columns: 1
    M is a low-pass (or high-pass) filter cut to r x r: a prolate matrix, whose eigenvalues are nearly
    all ``low`` or ``high``, T r of them ``low`` (Slepian 1978). Its mean over the energy of
    rank frequency j, the diagonal of F M F^H, is `rank_weights`.
B by columns, A by rows: the number of units
    c(d) at multiples of n / r is the mean of rho over residue classes of bins, the same for all to
    one bin in n / r. M is nearly c(0) times the identity: L2, which no rotation of the rank index changes.

M is what the penalty weighs *in an adapter without an order*, such as a random one. Training does not
stay there: it can move each unit's weights into the bins that are spared. Against a loss whose gradient g
has no order either, the best that w can do at a given price is w ~ C^-1 g, at a gain of
g^T C^-1 g / 4, so that what counts is the unit's block of C^-1, and

    N = (block of C^-1)^-1,   the same with 1 / rho for rho, inverted: a harmonic mean,

`response_matrix`, is the weight on the rank index against which the loss would fare as well. It is below M:
for L2 on A, 0.18 instead of 0.55 as released.

A penalty tr(A C A^T) + tr(B M B^T) is not one on rank components in the end, since training is free
to rotate them: (B G, G^-1 A) is the same update. A by rows is weighed so, each rank component by the
same C on the inputs (the block of the circulant matrix within a row; those between rows are small but
at the rows' ends). The minimum over all factors of an update W is

    2 sum_i sqrt(tau_i) sigma_i(W C^(1/2)),

tau ascending eigenvalues of M, sigma descending singular values (`least_penalty`, for C = c): a weighted
nuclear norm, which is why penalties of this form remove rank. For M = c it is the nuclear norm, as for
L2. If the whole index of A is renumbered, each rank component is weighed by another form, a rotation of
them is no longer free, and the penalty comes to no norm of W; M does not tell the two apart, since it is
a mean over the units.
(Proof, for C = c. Below, by AM-GM and |X|_F |Y|_F >= |X Y|_*, it is 2 sqrt(c) |B M^(1/2) O A|_* for
every orthogonal O. With b and a for the polar factors of B and A and D for M^(1/2), some O makes that
|a b D|_*, which is at least the sum of singular values of a b, descending, times those of D, ascending;
and a b has the singular values of B A. `least_factors` attains it.)

All of it is exact for any r, n, threshold and weights; numbers are float64.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import ArrayLike

from flexlib.config import RegularizerSettings
from flexlib.errors import FlexError


def lag_weights(n: int, lags: ArrayLike, settings: RegularizerSettings) -> np.ndarray:
    """c(d) of a factor of n numbers at each lag d: what the penalty puts on w_i w_(i+d).

    c(0) is the mean of rho, the weight of the L2 that the penalty is on white noise.
    """
    low, high = settings.low_weight, settings.high_weight
    turns = np.asarray(lags) % n / n
    if settings.convention == "index":
        count = _low_bins(np.arange(n) / n, settings.threshold)
        kernel = (1 + _dirichlet(2 * count - 1, turns)) / 2 if count else np.zeros_like(turns)
    else:
        count = _low_bins(2 * np.arange(n // 2 + 1) / n, settings.threshold)
        if 2 * count - 1 > n:  # bin n / 2 is its own conjugate
            kernel = n * (turns == 0)
        else:
            kernel = _dirichlet(2 * count - 1, turns) if count else np.zeros_like(turns)
    return high * (turns == 0) + (low - high) / n * kernel


def rank_matrix(
    units: int, rank: int, settings: RegularizerSettings, *, stride: int = 1
) -> np.ndarray:
    """M of a factor: (rank, rank), symmetric Toeplitz. ``stride`` is 1 for B as stored; ``units`` for
    A as stored, and for B by columns."""
    s = np.arange(rank)
    return lag_weights(units * rank, (s[:, None] - s[None, :]) * stride, settings)


def rank_weights(
    units: int, rank: int, settings: RegularizerSettings, *, stride: int = 1
) -> np.ndarray:
    """Weight of each frequency j = 0..rank - 1 of the DFT over the rank index: the mean of rho under
    Fejer's kernel about it,

        1/n sum_k rho_k sin^2(pi r x) / (r sin^2(pi x)),   x = k / n - j / r   (stride 1)

    which is the expected penalty per energy if that frequency holds all of it.
    """
    return by_frequency(rank_matrix(units, rank, settings, stride=stride))


def by_frequency(form: np.ndarray) -> np.ndarray:
    """The diagonal of F M F^H for a form M on the rank index: what each frequency of it has."""
    dft = np.fft.fft(np.eye(len(form)), norm="ortho")
    return np.einsum("js,st,jt->j", dft, form, dft.conj()).real


def response_matrix(
    units: int, rank: int, settings: RegularizerSettings, *, stride: int = 1
) -> np.ndarray:
    """N of a factor: (rank, rank), symmetric, with 0 < N <= M in the order of quadratic forms.

    Raises:
        FlexError: a weight is zero: its bins cost nothing, and so does every loss; the convention is
            ``index``, by which a bin and its conjugate differ and 1 / rho is not what answers rho.
    """
    return np.linalg.inv(rank_matrix(units, rank, inverse(settings, 1), stride=stride))


def inverse(settings: RegularizerSettings, power: int) -> RegularizerSettings:
    """The penalty whose form is C to this power, inverted.

    Raises:
        FlexError: as for :func:`response_matrix`.
    """
    if settings.convention != "nyquist":
        raise FlexError("the inverse of a penalty's weights needs the convention nyquist")
    if not (settings.low_weight > 0 and settings.high_weight > 0):
        raise FlexError("the inverse of a penalty's weights needs both above 0")
    return dataclasses.replace(
        settings,
        low_weight=settings.low_weight**-power,
        high_weight=settings.high_weight**-power,
    )


def least_penalty(values: ArrayLike, of_A: float, of_B: np.ndarray) -> float:
    """The least of ``of_A`` |A|^2 + tr(B ``of_B`` B^T) over all factors of the updates with the singular
    values ``values``, descending: a weighted nuclear norm."""
    tau = np.linalg.eigvalsh(of_B)[: len(np.asarray(values))]
    return float(2 * np.sqrt(of_A) * np.sqrt(tau.clip(0)) @ np.asarray(values))


def least_factors(
    update: np.ndarray, of_A: float, of_B: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """A (rank, n) and B (m, rank) with B A the given update of that rank at most, where the penalty of
    :func:`least_penalty` is least. ``of_B`` must be positive definite."""
    tau, vectors = np.linalg.eigh(of_B)
    rank = len(tau)
    U, values, Vh = np.linalg.svd(update, full_matrices=False)
    root, balance = np.sqrt(values[:rank]), (of_A / tau) ** 0.25
    B = (U[:, :rank] * root * balance) @ vectors.T
    A = (vectors / balance) @ (root[:, None] * Vh[:rank])
    return A, B


def _low_bins(frequencies: np.ndarray, threshold: float) -> int:
    return int(np.searchsorted(frequencies, threshold, side="right"))


def _dirichlet(count: int, turns: np.ndarray) -> np.ndarray:
    """Sum of cos(2 pi k x) over ``count`` (odd) bins k about 0, at x in turns."""
    with np.errstate(invalid="ignore", divide="ignore"):
        kernel = np.sin(count * np.pi * turns) / np.sin(np.pi * turns)
    return np.where(turns == 0, float(count), kernel)
