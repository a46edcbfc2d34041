"""Figures of spectra of adapters."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from flexlib.figures import style


def against_null(
    table: pd.DataFrame,
    by: str = "arm",
    xlabel: str = "frequency, upper end of the band (1 = Nyquist)",
    ax: Axes | None = None,
) -> Axes:
    """Energy in a band over that of the null: ``x, ratio``, a line for each ``by``; several seeds are
    averaged, and their range is the thin bar.

    The grey band is the null's own spread for one adapter: ``null_low, null_high``, the widest over ``by``.
    """
    style.need(table, "x", "ratio", "null_low", "null_high", by)
    ax = style.axes(ax)
    null = table.groupby("x").agg(low=("null_low", "min"), high=("null_high", "max"))
    ax.fill_between(null.index, null["low"], null["high"], color="0.5", alpha=0.25, lw=0)
    ax.axhline(1, color="0.4", lw=1)
    for name, look in style.looks(style.in_order(table[by])).items():
        curve = table[table[by] == name].groupby("x")["ratio"].agg(["mean", "min", "max"])
        drawn: dict[str, Any] = {"ls": look.line, "marker": look.marker, "color": look.color}
        ax.plot(curve.index, curve["mean"], label=name, ms=4, **drawn)
        ax.vlines(curve.index, curve["min"], curve["max"], color=look.color, lw=1)
    ax.set_ylim(bottom=0)
    ax.set_xlabel(xlabel)
    ax.set_ylabel("energy / energy of the null")
    style.legend_above(ax, 3)
    style.note(ax, table)
    return ax


def by_layer(table: pd.DataFrame, by: str = "arm", ax: Axes | None = None) -> Axes:
    """``layer, ratio``, a line for each ``by``, with the null's spread as the grey band."""
    ax = against_null(table.rename(columns={"layer": "x"}), by, "layer", ax)
    ax.set_xticks(sorted(table["layer"].unique()))
    return ax


def singular_values(table: pd.DataFrame, by: str = "arm", ax: Axes | None = None) -> Axes:
    """Singular values in units of the norm: ``x`` (1 is the largest), ``value``, a line for each ``by``;
    grey: random factors of the same rank, ``random_mean`` with 1.96 ``random_sd``."""
    style.need(table, "x", "value", "random_mean", "random_sd", by)
    ax = style.axes(ax)
    null = table.groupby("x")[["random_mean", "random_sd"]].mean()
    half = 1.96 * null["random_sd"]
    low, high = null["random_mean"] - half, null["random_mean"] + half
    ax.fill_between(null.index, low, high, color="0.5", alpha=0.25, lw=0, label="random factors")
    for name, look in style.looks(style.in_order(table[by])).items():
        curve = table[table[by] == name].groupby("x")["value"].mean()
        drawn: dict[str, Any] = {"ls": look.line, "marker": look.marker, "color": look.color}
        ax.plot(curve.index, curve, label=name, ms=4, **drawn)
    ax.set_ylim(bottom=0)
    ax.set_xticks(np.asarray(null.index))
    ax.set_xlabel("singular value, by size")
    ax.set_ylabel("share of the update's norm")
    style.legend_above(ax, 3)
    style.note(ax, table)
    return ax
