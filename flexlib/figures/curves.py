"""Figures of curves: means over seeds, and plain lines."""

from __future__ import annotations

from collections.abc import Collection

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullFormatter, PercentFormatter
from scipy.special import stdtrit

from flexlib.figures import style, vega


def convergence(
    training: pd.DataFrame,
    x: str = "step",
    y: str = "eval_loss",
    by: str = "arm",
    confidence: float = 0.95,
    ax: Axes | None = None,
) -> Axes:
    """Mean curve of each ``by`` over seeds with a Student-t band; rows with no ``y`` are skipped.

    Seeds must share their ``x`` positions; a position seen by fewer than three seeds has no band: that of two
    is, at 95 per cent, thirteen standard errors wide on either side.
    """
    style.need(training, x, y, by, "seed")
    ax = style.axes(ax)
    training = training[training[y].notna()]
    drawn = []
    for name, look in style.looks(style.in_order(training[by])).items():
        curve = training[training[by] == name].groupby(x)[y].agg(["mean", "sem", "count"])
        half = curve["sem"] * stdtrit((curve["count"] - 1).clip(lower=1), 0.5 + confidence / 2)
        half = half.where(curve["count"] > 2)
        seeds = curve["count"].max()
        label = f"{name} ({seeds} {'seed' if seeds == 1 else 'seeds'})"
        ax.plot(curve.index, curve["mean"], ls=look.line, color=look.color, label=label)
        low, high = curve["mean"] - half, curve["mean"] + half
        ax.fill_between(curve.index, low, high, color=look.color, alpha=0.2, lw=0)
        columns = {
            by: str(name),
            "seeds": curve["count"],
            y: curve["mean"],
            "low": low,
            "high": high,
        }
        drawn.append(pd.DataFrame(columns, index=curve.index).reset_index())
    ax.set_xlabel(x)
    ax.set_ylabel(y.replace("_", " "))
    style.legend_above(ax, training[by].nunique())
    table = pd.concat(drawn, ignore_index=True)
    style.note(ax, table, vega.curves(table, x, y, by, x, y.replace("_", " ")))
    return ax


def lines(
    table: pd.DataFrame, x: str, y: str, by: str, xlabel: str, ylabel: str, ax: Axes | None = None
) -> Axes:
    """A plain line for each ``by``, for the small figures of an argument."""
    style.need(table, x, y, by)
    ax = style.axes(ax, 3.0)
    for name, look in style.looks(style.in_order(table[by])).items():
        rows = table[table[by] == name]
        ax.plot(rows[x], rows[y], ls=look.line, color=look.color, lw=2, label=name)
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    style.legend_above(ax, 2)
    style.note(ax, table)
    return ax


def sweep(
    table: pd.DataFrame,
    x: str,
    y: str,
    by: str,
    xlabel: str,
    ylabel: str,
    slider: str = "lambda",
    apart: Collection[str] = (),
    ax: Axes | None = None,
) -> Axes:
    """A quantity against one that was varied by factors, such as pass@1 (0..1) against the strength of a
    penalty: ``x, y, low, high``, a line for each ``by``; the rows of those in ``apart`` are not joined.
    On the page, a slider over the values of ``x``, called ``slider``, tells the numbers at each."""
    style.need(table, x, y, "low", "high", by)
    ax = style.axes(ax)
    for name, look in style.looks(style.in_order(table[by])).items():
        rows = table[table[by] == name].sort_values(x)
        width = (rows[["low", "high"]].to_numpy().T - rows[y].to_numpy()) * [[-1], [1]]
        ax.errorbar(
            rows[x], rows[y], yerr=width, ls="" if name in apart else look.line,
            marker=look.marker, color=look.color, elinewidth=1, capsize=2, label=name,
        )  # fmt: skip
    ax.set_xscale("log")
    if (
        table[x].max() < 100 * table[x].min()
    ):  # else a decade has too few marks, or all of its minor ones
        ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.xaxis.set_major_formatter("{x:g}")
        ax.xaxis.set_minor_formatter(NullFormatter())
    ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    style.legend_above(ax, table[by].nunique())
    chart = vega.curves(
        table, x, y, by, xlabel, ylabel, log_x=True, percent=True, slider=slider, apart=apart
    )
    style.note(ax, table, chart)
    return ax
