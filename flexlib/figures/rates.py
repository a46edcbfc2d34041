"""Figures of what became of the programs: pass rates, their differences, verdicts.

Rates and differences are in 0..1 and drawn in per cent or points.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

from flexlib.errors import FlexError
from flexlib.figures import style, vega

# Verdicts in the order in which they stack, with a colour and a hatch of their own.
VERDICTS = {
    "pass": ("#009E73", ""),
    "wrong": ("#E69F00", "//"),
    "compile_error": ("#0072B2", "\\\\"),
    "runtime_error": ("#56B4E9", ".."),
    "timeout": ("#CC79A7", "xx"),
    "out_of_memory": ("#999999", "++"),
    "output_limit": ("#555555", "oo"),
}


def pass_rates(
    table: pd.DataFrame,
    x: str = "pass_at_k",
    by: str = "arm",
    series: str | None = None,
    label: str = "pass@1",
    ax: Axes | None = None,
) -> Axes:
    """Pass rates as dots with intervals: ``x, low, high`` (0..1), a line for each ``by``.

    Serves arms, published figures and groups of tasks alike; ``series`` (a language, say) sets
    several dots beside each other on a line.
    """
    ax = style.axes(ax, 1.3 + 0.42 * table[by].nunique() if by in table else 4.0)
    style.dots(ax, table, x, by, series)
    ax.xaxis.set_major_locator(MaxNLocator(steps=[1, 2, 5, 10]))  # whole per cent
    ax.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    ax.set_xlabel(label)
    style.note(ax, table, vega.dots(table, x, by, series, label))
    return ax


def differences(
    table: pd.DataFrame,
    by: str = "comparison",
    series: str | None = None,
    smallest_effect: float | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Differences of pass rates, ``difference, low, high`` (0..1), against no difference.

    ``smallest_effect`` shades the differences too small to matter.
    """
    ax = style.axes(ax, 1.3 + 0.42 * table[by].nunique() if by in table else 4.0)
    if smallest_effect:
        ax.axvspan(-smallest_effect, smallest_effect, color="0.5", alpha=0.2, lw=0)
    ax.axvline(0, color="0.4", lw=1)
    style.dots(ax, table, "difference", by, series)
    ax.xaxis.set_major_formatter(FuncFormatter(lambda d, _: f"{100 * d:+.0f}"))
    label, band = "difference in pass@1 (points)", smallest_effect
    ax.set_xlabel(label)
    style.note(ax, table, vega.dots(table, "difference", by, series, label, points=True, band=band))
    return ax


def verdict_composition(table: pd.DataFrame, by: str = "arm", ax: Axes | None = None) -> Axes:
    """Stacked bars of what became of the programs: ``by, verdict, share`` (shares sum to 1)."""
    style.need(table, by, "verdict", "share")
    unknown = set(table["verdict"]) - set(VERDICTS)
    if unknown:
        raise FlexError(f"no colour for the verdicts {', '.join(sorted(unknown))}")
    groups = style.in_order(table[by])
    ax = style.axes(ax, 1.4 + 0.45 * len(groups))
    shares = table.pivot_table(index=by, columns="verdict", values="share", observed=True)
    shares = shares.reindex(groups).fillna(0.0)
    left = np.zeros(len(groups))
    for verdict, (color, hatch) in VERDICTS.items():
        if verdict in shares and shares[verdict].any():
            width = shares[verdict].to_numpy()
            bars = ax.barh(groups, width, left=left, color=color, hatch=hatch, ec="white", lw=0.5)
            bars.set_label(verdict.replace("_", " "))
            # Black on a light patch reads on every colour; slivers would not hold a number.
            texts = [f"{w:.0%}" if w >= 0.06 else "" for w in width]
            box = {"boxstyle": "round,pad=0.15", "fc": "white", "ec": "none", "alpha": 0.85}
            for text in ax.bar_label(bars, texts, label_type="center", fontsize=9):
                text.set_bbox(box if text.get_text() else None)
            left += width
    ax.invert_yaxis()
    ax.set_xlim(0, 1)
    ax.grid(visible=False)
    ax.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    ax.set_xlabel("share of programs")
    style.legend_above(ax, 4)
    style.note(ax, table)
    return ax


def transfer(table: pd.DataFrame, by: str = "arm", ax: np.ndarray | None = None) -> np.ndarray:
    """Matrices of transfer, one for each ``by`` side by side: languages trained on down, tested in across,
    in each cell the ``difference`` and its interval (0..1; shown in points).

    Args:
        table: ``by, trained, tested, difference, low, high``; the rows of a language in the order in which
            they first occur.
        ax: as many Axes as there are matrices.
    """
    style.need(table, by, "trained", "tested", "difference", "low", "high")
    groups = style.in_order(table[by])
    names = style.in_order(pd.concat([table["trained"], table["tested"]]))
    if ax is None:
        size = (7.0, 1.0 + 3.0 * len(groups))
        ax = plt.subplots(len(groups), 1, figsize=size, layout="constrained", squeeze=False)[1]
    drawn = np.ravel(ax)
    limit = max(0.01, float(table["difference"].abs().max()))
    for axes, group in zip(drawn, groups, strict=True):
        cells = table[table[by] == group].set_index(["trained", "tested"])
        grid = cells["difference"].unstack().reindex(index=names, columns=names)
        # Pale at both ends, so that dark ink reads on every cell.
        axes.imshow(grid, cmap="PuOr", vmin=-2.5 * limit, vmax=2.5 * limit, aspect="auto")
        for (trained, tested), row in cells.iterrows():
            at = names.index(tested), names.index(trained)
            low, high = 100 * row["low"], 100 * row["high"]
            text = f"{100 * row['difference']:+.1f}\n({low:+.1f} to {high:+.1f})"
            weight = "bold" if trained == tested else "normal"
            axes.text(*at, text, ha="center", va="center", fontsize=9, weight=weight)
        axes.set_xticks(range(len(names)), names)
        axes.set_yticks(range(len(names)), names)
        axes.grid(visible=False)
        axes.set_title(str(group), fontsize=11)
        axes.set_xlabel("tested in")
        axes.set_ylabel("trained on")
    style.note(drawn, table)
    return drawn


def by_operations(table: pd.DataFrame, by: str = "arm", ax: Axes | None = None) -> Axes:
    """Pass rates against the number of operations of a task: ``operations, pass_at_k, low, high`` (0..1), a
    line for each ``by``."""
    style.need(table, "operations", "pass_at_k", "low", "high", by)
    ax = style.axes(ax)
    names = style.in_order(table[by])
    offsets = np.linspace(-0.12, 0.12, len(names)) if len(names) > 1 else [0.0]
    for (name, look), offset in zip(style.looks(names).items(), offsets, strict=True):
        rows = table[table[by] == name].sort_values("operations")
        width = (rows[["low", "high"]].to_numpy().T - rows["pass_at_k"].to_numpy()) * [[-1], [1]]
        ax.errorbar(
            rows["operations"] + offset, rows["pass_at_k"], yerr=width, ls=look.line,
            marker=look.marker, color=look.color, elinewidth=1, capsize=2, label=name,
        )  # fmt: skip
    ax.set_xticks(sorted(table["operations"].unique()))
    ax.set_ylim(bottom=0)
    ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    ax.set_xlabel("operations of a task")
    ax.set_ylabel("pass@1")
    style.legend_above(ax, len(names))
    chart = vega.curves(
        table, "operations", "pass_at_k", by, "operations of a task", "pass@1", percent=True
    )
    style.note(ax, table, chart)
    return ax
