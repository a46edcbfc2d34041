"""What all figures share: colours, markers, lines, and the axes that they are drawn on.

Series differ in colour *and* in marker, line style or hatching; the colours are those of Okabe and Ito,
safe for colour-blind readers. Dark ink on a transparent ground: the book's style sheet makes it legible
in both themes.
"""

from __future__ import annotations

from collections.abc import Hashable

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from flexlib.errors import FlexError

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#555555")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1)), (0, (1, 1)), (0, (8, 2)))

# matplotlib's settings.
STYLE = {
    "figure.figsize": (7.0, 4.0),
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "savefig.transparent": True,
    "legend.framealpha": 0.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.alpha": 0.3,
    "font.size": 11.0,
    # The same figure gives the same bytes, so that a rebuilt site differs only where results do.
    "svg.hashsalt": "flexlib",
}


def axes(ax: Axes | None, height: float = 4.0) -> Axes:
    return ax if ax is not None else plt.subplots(figsize=(7.0, height), layout="constrained")[1]


def need(table: pd.DataFrame, *columns: str) -> None:
    missing = [c for c in columns if c not in table]
    if missing or table.empty:
        raise FlexError(f"nothing to draw: the table lacks {', '.join(missing) or 'rows'}")


def in_order(values: pd.Series) -> list[Hashable]:
    """Distinct values as they first occur, or in the order of a categorical."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        return [c for c in values.cat.categories if (values == c).any()]
    return list(dict.fromkeys(values))


def dots(ax: Axes, table: pd.DataFrame, x: str, by: str, series: str | None) -> None:
    """A dot and its interval for every row: ``by`` down, ``series`` side by side within it."""
    need(table, x, "low", "high", by, *([series] if series else []))
    labels = in_order(table[by])
    names = in_order(table[series]) if series else [None]
    offsets = np.linspace(-0.22, 0.22, len(names)) if len(names) > 1 else [0.0]
    for i, (name, offset) in enumerate(zip(names, offsets, strict=True)):
        rows = table if name is None else table[table[series] == name]
        y = rows[by].map(labels.index).to_numpy(dtype=float) + offset
        width = np.abs(rows[["low", "high"]].to_numpy().T - rows[x].to_numpy())
        ax.errorbar(
            rows[x], y, xerr=width, fmt=MARKERS[i % 7], color=COLORS[i % 7], capsize=3, label=name
        )
    ax.set_yticks(range(len(labels)), labels)
    ax.set_ylim(len(labels) - 0.5, -0.5)
    ax.grid(axis="y", visible=False)
    if series:
        legend_above(ax, len(names))


def legend_above(ax: Axes, columns: int) -> None:
    """Put the legend over the axes, where it hides no data."""
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=min(columns, 4), frameon=False)


def not_run(message: str, ax: Axes | None = None) -> Axes:
    """An empty figure that says what is missing, for pages that are built before their runs."""
    ax = axes(ax, 1.2)
    ax.set_axis_off()
    ax.text(0.5, 0.5, message, ha="center", va="center", transform=ax.transAxes)
    return ax
