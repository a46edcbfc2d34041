"""Figures of what a design can tell: power, and the gain that selection alone gives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, PercentFormatter

from flexlib.figures import style


def power(
    table: pd.DataFrame, marks: Sequence[tuple[str, float]] = (), ax: Axes | None = None
) -> Axes:
    """Power curves: ``difference`` (0..1), ``power``, a line for each ``design``.

    ``marks`` are (name, difference) of published effects, drawn as vertical lines.
    """
    style.need(table, "difference", "power", "design")
    ax = style.axes(ax)
    for i, name in enumerate(style.in_order(table["design"])):
        rows = table[table["design"] == name]
        line = style.LINES[i % 7]
        ax.plot(
            100 * rows["difference"], rows["power"], ls=line, color=style.COLORS[i % 7], label=name
        )
    ax.axhline(0.8, color="0.4", lw=0.8)
    for name, difference in marks:
        ax.axvline(100 * difference, color="0.4", lw=0.8, ls=":")
        ax.annotate(name, (100 * difference, 1.0), rotation=90, ha="right", va="top", fontsize=9)
    ax.set_ylim(0, 1.02)
    ax.set_xlabel("true gain (points)")
    ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    ax.set_ylabel("power")
    style.legend_above(ax, 2)
    style.note(ax, table)
    return ax


def best_of_many(
    table: pd.DataFrame, published: float | None = None, ax: Axes | None = None
) -> Axes:
    """Share of simulated searches with at least a ``gain`` (0..1), a line for each ``reported``.

    A distribution function, since scores lie on the lattice k/n and would alias with bins.
    ``published`` marks the gain that was printed.
    """
    style.need(table, "gain", "reported")
    ax = style.axes(ax)
    for i, name in enumerate(style.in_order(table["reported"])):
        gains = table.loc[table["reported"] == name, "gain"]
        look: dict[str, Any] = {"ls": style.LINES[i % 7], "color": style.COLORS[i % 7], "lw": 1.8}
        ax.ecdf(gains, complementary=True, label=name, **look)
    if published is not None:
        ax.axvline(published, color="0.3", lw=1.2)
        ax.annotate("published", (published, 1.0), rotation=90, ha="right", va="top", fontsize=9)
    ax.xaxis.set_major_formatter(FuncFormatter(lambda d, _: f"{100 * d:+.0f}"))
    ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    ax.set_xlabel("observed gain over the baseline (points), no true gain")
    ax.set_ylabel("searches with at least this gain")
    style.legend_above(ax, 2)
    style.note(ax, table)
    return ax


def selection_gain(
    table: pd.DataFrame, published: float | None = None, ax: Axes | None = None
) -> Axes:
    """Gain by selection alone: ``correlation, median, low, high``, a line for each ``search``."""
    style.need(table, "correlation", "median", "low", "high", "search")
    ax = style.axes(ax)
    names = style.in_order(table["search"])
    for i, name in enumerate(names):
        rows = table[table["search"] == name]
        # Side by side, so that the intervals can be told apart.
        x = rows["correlation"] + 0.015 * (i - (len(names) - 1) / 2)
        width = np.abs(rows[["low", "high"]].to_numpy().T - rows["median"].to_numpy())
        ax.errorbar(
            x, rows["median"], yerr=width, ls=style.LINES[i % 7], marker=style.MARKERS[i % 7],
            color=style.COLORS[i % 7], elinewidth=1, capsize=2, label=name,
        )  # fmt: skip
    if published is not None:
        ax.axhline(published, color="0.3", lw=1.2)
        right = table["correlation"].max() + 0.03
        ax.annotate("published", (right, published), ha="right", va="bottom", fontsize=9)
    ax.axhline(0, color="0.4", lw=0.8)
    ax.yaxis.set_major_formatter(FuncFormatter(lambda d, _: f"{100 * d:+.0f}"))
    ax.set_xlabel("correlation of two configurations' latent margins on a problem")
    ax.set_ylabel("observed gain (points), no true gain")
    style.legend_above(ax, 2)
    style.note(ax, table)
    return ax
