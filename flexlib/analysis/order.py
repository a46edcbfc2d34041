"""The order along the rank index that a factor penalty is derived to give B, at two ends.

Without rotation
    B answers a gradient g that has no order, and is as large as the penalty lets it be: B ~ C^-1 g, for the
    quadratic form C of the penalty on B. The mean over all such g of its energy on the rank index is the
    mean over outputs of their blocks of C^-2. Needs nothing that was trained.
With rotation
    (B G, G^-1 A) is the same update for every G, and training is free to find the one of least penalty. Let
    units have no order, so that A and B are weighed on the rank index by M_A and M_B, the mean blocks of C
    (:mod:`flexlib.training.layout`). The least for an update of singular values sigma, descending, is
    reached along the common eigenvectors of the two, with sigma_i where sqrt(a_i b_i) is the i-th
    smallest, and an energy of B there of sigma_i sqrt(a_i / b_i). Needs the singular values.

Training has neither no time to rotate nor all of it. Where the whole index of A is renumbered, each rank
component is weighed by a form of its own, and rotation is not free.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import ArrayLike

from flexlib.config import RegularizerSettings
from flexlib.errors import FlexError
from flexlib.training import layout

_ROTATION_COSTS = (None, "whole-A")  # axes of basis=permuted


def without_rotation(settings: RegularizerSettings | None, outputs: int, rank: int) -> float:
    """Mean frequency along the rank index, 0..1 (Nyquist), of the energy of B.

    Raises:
        FlexError: the penalty is no factor penalty with both weights above 0.
    """
    if settings is None:
        return float(_frequencies(rank).mean())
    if settings.form != "factor" or not (settings.low_weight > 0 and settings.high_weight > 0):
        raise FlexError("an order is derived for factor penalties with both weights above 0 alone")
    inverse = dataclasses.replace(
        settings, low_weight=settings.low_weight**-2, high_weight=settings.high_weight**-2
    )
    energy = _by_frequency(_block("B", inverse, outputs, rank))
    return float(energy @ _frequencies(rank) / energy.sum())


def with_rotation(
    settings: RegularizerSettings | None, outputs: int, rank: int, values: ArrayLike
) -> float | None:
    """The same for an update with these singular values, as many as the rank; None where rotation is not
    free. Eigenvectors of one eigenvalue share what they get.

    Raises:
        FlexError: as for :func:`without_rotation`.
    """
    none = without_rotation(settings, outputs, rank)
    if settings is None:
        return none
    if settings.basis == "orthogonal" or (
        settings.basis == "permuted" and settings.axis in _ROTATION_COSTS
    ):
        return None
    of_A, of_B = (_block(side, settings, outputs, rank) for side in "AB")
    products, vectors = np.linalg.eigh(of_A @ of_B)  # both Toeplitz and alike, or one the identity
    a, b = (np.einsum("si,st,ti->i", vectors, m, vectors) for m in (of_A, of_B))
    energy = np.sort(np.asarray(values, dtype=float))[::-1] * np.sqrt(a / b)
    frequency = np.array([_by_frequency(np.outer(v, v)) @ _frequencies(rank) for v in vectors.T])
    alike = np.cumsum(np.diff(products, prepend=products[0]) > 1e-9 * products[-1])
    frequency = np.array([frequency[alike == group].mean() for group in alike])
    return float(energy @ frequency / energy.sum())


def _frequencies(rank: int) -> np.ndarray:
    j = np.arange(rank)
    return 2 * np.minimum(j, rank - j) / rank


def _by_frequency(matrix: np.ndarray) -> np.ndarray:
    dft = np.fft.fft(np.eye(len(matrix)), norm="ortho")
    return np.einsum("js,st,jt->j", dft, matrix, dft.conj()).real


def _block(side: str, settings: RegularizerSettings, units: int, rank: int) -> np.ndarray:
    """(rank, rank): mean over units of the block of C that a unit's rank components have."""
    if settings.transform == "both-axes":
        k = np.arange(units)
        low = np.mean(2 * np.minimum(k, units - k) / units <= settings.threshold)
        mixed = low * settings.low_weight + (1 - low) * settings.high_weight
        rho = np.where(_frequencies(rank) <= settings.threshold, mixed, settings.high_weight)
        dft = np.fft.fft(np.eye(rank), norm="ortho")
        return np.einsum("js,j,jt->st", dft.conj(), rho, dft).real
    if settings.transform == "last-axis":
        along_rank = side == "B"
        # A is transformed along its inputs, and every rank component of a unit weighs the mean of rho.
        return layout.rank_matrix(1, rank, settings) if along_rank else _mean(units, rank, settings)
    columns = (settings.layout_A if side == "A" else settings.layout_B) == "columns"
    stride = 1 if columns == (side == "A") else units
    matrix = layout.rank_matrix(units, rank, settings, stride=stride)
    whole = settings.basis == "orthogonal" or (
        settings.basis == "permuted"
        and settings.axis in (None, *(["whole-A"] if side == "A" else []))
    )
    if whole:  # C in a random basis is the mean of its weights, on average
        return np.diag(np.diag(matrix))
    if settings.basis == "permuted" and settings.axis == "rank" and side == "B":
        apart = (matrix.sum() - np.trace(matrix)) / (rank * (rank - 1))
        return np.full((rank, rank), apart) + (matrix[0, 0] - apart) * np.eye(rank)
    return matrix


def _mean(units: int, rank: int, settings: RegularizerSettings) -> np.ndarray:
    return np.eye(rank) * layout.lag_weights(units, [0], settings)[0]
