"""The order along the rank index that a factor penalty is derived to give B, at two ends.

Without rotation
    B answers a gradient g that has no order: it minimises the loss g . w plus the penalty, so B ~ C^-1 g for
    the quadratic form C of the penalty on B. Its energy on the rank index, in the mean over all such g, is
    the mean over outputs of their blocks of C^-2. Needs nothing that was trained.
With rotation
    (B G, G^-1 A) is the same update for every G, and training is free to find the one of least penalty. Let
    units have no order, so that A and B are weighed on the rank index by M_A and M_B, the mean blocks of C
    (:mod:`flexlib.training.layout`). With M_A^1/2 M_B^1/2 = P T Q', T ascending, an update of singular values
    sigma, descending, has the least penalty 2 sum T_i sigma_i, where B'B = M_B^-1/2 Q (T sigma) Q' M_B^-1/2.
    Needs the singular values. A rotation that saves next to nothing is not made: of T_i within `ALIKE`
    of each other each gets the mean of their sigma.

Training rotates in part, so that the measured order should lie between the two. Where the whole index of A is
renumbered, each rank component is weighed by a form of its own, rotation changes the penalty, and there
is no second end.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from flexlib import config as configs
from flexlib.config import RegularizerSettings
from flexlib.config.adapters import LowRank
from flexlib.errors import FlexError
from flexlib.training import fourier, layout

ALIKE = 0.01  # relative: blocks that stand for a multiple of the identity are one to a thousandth


def without_rotation(settings: RegularizerSettings | None, outputs: int, rank: int) -> float:
    """Mean frequency along the rank index, 0..1 (Nyquist), of the energy of B.

    Raises:
        FlexError: no order is derived for the penalty: it is no factor penalty of the convention
            ``nyquist`` with both weights above 0, or renumbers or re-lays the factors of a transform without
            flattening.
    """
    if settings is None:
        return _mean_frequency(np.eye(rank))
    _check(settings)
    return _mean_frequency(_block("B", layout.inverse(settings, 2), outputs, rank))


def with_rotation(
    settings: RegularizerSettings | None, outputs: int, rank: int, values: ArrayLike
) -> float | None:
    """The same for an update with these singular values, as many as the rank; as many inputs as outputs. None
    where rotation changes the penalty.

    Raises:
        FlexError: as for :func:`without_rotation`.
    """
    if settings is None:
        return without_rotation(settings, outputs, rank)
    _check(settings)
    if settings.basis == "orthogonal" or (
        settings.basis == "permuted" and settings.axis in (None, "whole-A")
    ):
        return None
    of_A, of_B = (_block(side, settings, outputs, rank) for side in "AB")
    _, costs, Qh = np.linalg.svd(_root(of_A) @ _root(of_B))
    costs, Qh = costs[::-1], Qh[::-1]
    sigma = np.sort(np.asarray(values, dtype=float))[::-1]
    group = np.cumsum(np.diff(costs, prepend=costs[0]) > ALIKE * costs)
    sigma = np.array([sigma[group == g].mean() for g in group])
    back = np.linalg.inv(_root(of_B))
    return _mean_frequency(back @ (Qh.T * (costs * sigma)) @ Qh @ back)


def derived(
    labels: Iterable[str], profile: str, outputs: int, values: Mapping[str, ArrayLike]
) -> pd.DataFrame:
    """Both ends of every label whose penalty is a factor penalty: ``label, without, with``; the latter is NaN
    where rotation changes the penalty.

    Args:
        outputs: of every module.
        values: singular values of the update, by label.

    Raises:
        FlexError: no order is derived for one of them.
    """
    rows = []
    for label in labels:
        arm, *overrides = label.split()
        wanted = configs.load(profile, arm, 1, overrides=overrides)
        settings, adapter = wanted.regularizer, wanted.adapter
        if isinstance(adapter, LowRank) and settings is not None and settings.form == "factor":
            place = (settings, outputs, adapter.rank)
            rows.append((label, without_rotation(*place), with_rotation(*place, values[label])))
    return pd.DataFrame(rows, columns=["label", "without", "with"]).astype({"with": float})


def _check(settings: RegularizerSettings) -> None:
    plain = settings.axis in (None, "units", "inputs", "outputs") and settings.basis != "orthogonal"
    flattened = settings.layout_A is None and settings.layout_B is None
    if settings.form != "factor" or (
        settings.transform and not (plain and flattened and settings.bands == "rectangular")
    ):
        raise FlexError("no order along the rank index is derived for this penalty")
    layout.inverse(settings, 1)


def _mean_frequency(energy: np.ndarray) -> float:
    """Of a (rank, rank) matrix of second moments on the rank index."""
    shares = layout.by_frequency(energy)
    return float(shares @ fourier.frequencies(len(shares)) / shares.sum())


def _root(matrix: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(values)) @ vectors.T


def _block(side: str, settings: RegularizerSettings, units: int, rank: int) -> np.ndarray:
    """(rank, rank): mean over units of the block of C that a unit's rank components have; over all
    renumberings, where they are renumbered."""
    if settings.transform == "both-axes":
        low = np.mean(fourier.frequencies(units) <= settings.threshold)
        mixed = low * settings.low_weight + (1 - low) * settings.high_weight
        rho = np.where(fourier.frequencies(rank) <= settings.threshold, mixed, settings.high_weight)
        dft = np.fft.fft(np.eye(rank), norm="ortho")
        return np.einsum("js,j,jt->st", dft.conj(), rho, dft).real
    if settings.transform == "last-axis":
        if side == "B":
            return layout.rank_matrix(1, rank, settings)
        return np.eye(rank) * layout.lag_weights(units, [0], settings)[0]  # along the inputs
    columns = (settings.layout_A if side == "A" else settings.layout_B) == "columns"
    stride = 1 if columns == (side == "A") else units
    matrix = layout.rank_matrix(units, rank, settings, stride=stride)
    renumbered = settings.axis if settings.basis == "permuted" else "units"
    if (
        settings.basis == "orthogonal"
        or renumbered is None
        or (renumbered, side) == ("whole-A", "A")
    ):
        return np.eye(rank) * matrix[0, 0]
    if renumbered == "rank" and side == "B" and rank > 1:
        apart = (matrix.sum() - np.trace(matrix)) / (rank * (rank - 1))
        return np.full((rank, rank), apart) + (matrix[0, 0] - apart) * np.eye(rank)
    return matrix
