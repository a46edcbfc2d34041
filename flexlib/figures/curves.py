"""Figures of curves: means over seeds, and plain lines."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from scipy.stats import t

from flexlib.figures import style


def convergence(
    training: pd.DataFrame,
    x: str = "step",
    y: str = "eval_loss",
    by: str = "arm",
    confidence: float = 0.95,
    ax: Axes | None = None,
) -> Axes:
    """Mean curve of each ``by`` over seeds with a Student-t band; rows with no ``y`` are skipped.

    Seeds must share their ``x`` positions; a position seen by one seed only has no band.
    """
    style.need(training, x, y, by, "seed")
    ax = style.axes(ax)
    training = training[training[y].notna()]
    for i, name in enumerate(style.in_order(training[by])):
        curve = training[training[by] == name].groupby(x)[y].agg(["mean", "sem", "count"])
        half = curve["sem"] * t.ppf(0.5 + confidence / 2, (curve["count"] - 1).clip(lower=1))
        seeds = curve["count"].max()
        label = f"{name} ({seeds} {'seed' if seeds == 1 else 'seeds'})"
        ax.plot(
            curve.index,
            curve["mean"],
            ls=style.LINES[i % 7],
            color=style.COLORS[i % 7],
            label=label,
        )
        low, high = curve["mean"] - half, curve["mean"] + half
        ax.fill_between(curve.index, low, high, color=style.COLORS[i % 7], alpha=0.2, lw=0)
    ax.set_xlabel(x)
    ax.set_ylabel(y.replace("_", " "))
    style.legend_above(ax, training[by].nunique())
    return ax


def lines(
    table: pd.DataFrame, x: str, y: str, by: str, xlabel: str, ylabel: str, ax: Axes | None = None
) -> Axes:
    """A plain line for each ``by``, for the small figures of an argument."""
    style.need(table, x, y, by)
    ax = style.axes(ax, 3.0)
    for i, name in enumerate(style.in_order(table[by])):
        rows = table[table[by] == name]
        ax.plot(
            rows[x], rows[y], ls=style.LINES[i % 7], color=style.COLORS[i % 7], lw=2, label=name
        )
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    style.legend_above(ax, 2)
    return ax
