"""The figures of the book: one function a figure, a tidy table in, matplotlib Axes out.

Rates and differences are in 0..1 and drawn in per cent or points. Series differ in colour *and* in
marker, line style or hatching; the colours are those of Okabe and Ito, safe for colour-blind
readers. Dark ink on a transparent ground: `flexlib.book.use_book_style` and the style sheet make it
legible in both themes.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, PercentFormatter
from scipy.stats import t

from flexlib.errors import FlexError

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#555555")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1)), (0, (1, 1)), (0, (8, 2)))

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


def _axes(ax: Axes | None, height: float = 4.0) -> Axes:
    return ax if ax is not None else plt.subplots(figsize=(7.0, height), layout="constrained")[1]


def _need(table: pd.DataFrame, *columns: str) -> None:
    missing = [c for c in columns if c not in table]
    if missing or table.empty:
        raise FlexError(f"nothing to draw: the table lacks {', '.join(missing) or 'rows'}")


def _in_order(values: pd.Series) -> list[Hashable]:
    """Distinct values as they first occur, or in the order of a categorical."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        return [c for c in values.cat.categories if (values == c).any()]
    return list(dict.fromkeys(values))


def _dots(ax: Axes, table: pd.DataFrame, x: str, by: str, series: str | None) -> None:
    """A dot and its interval for every row: ``by`` down, ``series`` side by side within it."""
    _need(table, x, "low", "high", by, *([series] if series else []))
    labels = _in_order(table[by])
    names = _in_order(table[series]) if series else [None]
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
        _legend_above(ax, len(names))


def _legend_above(ax: Axes, columns: int) -> None:
    """Put the legend over the axes, where it hides no data."""
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=min(columns, 4), frameon=False)


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
    ax = _axes(ax, 1.3 + 0.42 * table[by].nunique() if by in table else 4.0)
    _dots(ax, table, x, by, series)
    ax.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    ax.set_xlabel(label)
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
    ax = _axes(ax, 1.3 + 0.42 * table[by].nunique() if by in table else 4.0)
    if smallest_effect:
        ax.axvspan(-smallest_effect, smallest_effect, color="0.5", alpha=0.2, lw=0)
    ax.axvline(0, color="0.4", lw=1)
    _dots(ax, table, "difference", by, series)
    ax.xaxis.set_major_formatter(FuncFormatter(lambda d, _: f"{100 * d:+.0f}"))
    ax.set_xlabel("difference in pass@1 (points)")
    return ax


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
    _need(training, x, y, by, "seed")
    ax = _axes(ax)
    training = training[training[y].notna()]
    for i, name in enumerate(_in_order(training[by])):
        curve = training[training[by] == name].groupby(x)[y].agg(["mean", "sem", "count"])
        half = curve["sem"] * t.ppf(0.5 + confidence / 2, (curve["count"] - 1).clip(lower=1))
        seeds = curve["count"].max()
        label = f"{name} ({seeds} {'seed' if seeds == 1 else 'seeds'})"
        ax.plot(curve.index, curve["mean"], ls=LINES[i % 7], color=COLORS[i % 7], label=label)
        low, high = curve["mean"] - half, curve["mean"] + half
        ax.fill_between(curve.index, low, high, color=COLORS[i % 7], alpha=0.2, lw=0)
    ax.set_xlabel(x)
    ax.set_ylabel(y.replace("_", " "))
    _legend_above(ax, training[by].nunique())
    return ax


def verdict_composition(table: pd.DataFrame, by: str = "arm", ax: Axes | None = None) -> Axes:
    """Stacked bars of what became of the programs: ``by, verdict, share`` (shares sum to 1)."""
    _need(table, by, "verdict", "share")
    unknown = set(table["verdict"]) - set(VERDICTS)
    if unknown:
        raise FlexError(f"no colour for the verdicts {', '.join(sorted(unknown))}")
    groups = _in_order(table[by])
    ax = _axes(ax, 1.4 + 0.45 * len(groups))
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
    _legend_above(ax, 4)
    return ax


def power(
    table: pd.DataFrame, marks: Sequence[tuple[str, float]] = (), ax: Axes | None = None
) -> Axes:
    """Power curves: ``difference`` (0..1), ``power``, a line for each ``design``.

    ``marks`` are (name, difference) of published effects, drawn as vertical lines.
    """
    _need(table, "difference", "power", "design")
    ax = _axes(ax)
    for i, name in enumerate(_in_order(table["design"])):
        rows = table[table["design"] == name]
        line = LINES[i % 7]
        ax.plot(100 * rows["difference"], rows["power"], ls=line, color=COLORS[i % 7], label=name)
    ax.axhline(0.8, color="0.4", lw=0.8)
    for name, difference in marks:
        ax.axvline(100 * difference, color="0.4", lw=0.8, ls=":")
        ax.annotate(name, (100 * difference, 1.0), rotation=90, ha="right", va="top", fontsize=9)
    ax.set_ylim(0, 1.02)
    ax.set_xlabel("true gain (points)")
    ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    ax.set_ylabel("power")
    _legend_above(ax, 2)
    return ax


def best_of_many(
    table: pd.DataFrame, published: float | None = None, ax: Axes | None = None
) -> Axes:
    """Share of simulated searches with at least a ``gain`` (0..1), a line for each ``reported``.

    A distribution function, since scores lie on the lattice k/n and would alias with bins.
    ``published`` marks the gain that was printed.
    """
    _need(table, "gain", "reported")
    ax = _axes(ax)
    for i, name in enumerate(_in_order(table["reported"])):
        gains = table.loc[table["reported"] == name, "gain"]
        style = {"ls": LINES[i % 7], "color": COLORS[i % 7], "lw": 1.8}
        ax.ecdf(gains, complementary=True, label=name, **style)
    if published is not None:
        ax.axvline(published, color="0.3", lw=1.2)
        ax.annotate("published", (published, 1.0), rotation=90, ha="right", va="top", fontsize=9)
    ax.xaxis.set_major_formatter(FuncFormatter(lambda d, _: f"{100 * d:+.0f}"))
    ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    ax.set_xlabel("observed gain over the baseline (points), no true gain")
    ax.set_ylabel("searches with at least this gain")
    _legend_above(ax, 2)
    return ax


def selection_gain(
    table: pd.DataFrame, published: float | None = None, ax: Axes | None = None
) -> Axes:
    """Gain by selection alone: ``correlation, median, low, high``, a line for each ``search``."""
    _need(table, "correlation", "median", "low", "high", "search")
    ax = _axes(ax)
    names = _in_order(table["search"])
    for i, name in enumerate(names):
        rows = table[table["search"] == name]
        # Side by side, so that the intervals can be told apart.
        x = rows["correlation"] + 0.015 * (i - (len(names) - 1) / 2)
        width = np.abs(rows[["low", "high"]].to_numpy().T - rows["median"].to_numpy())
        ax.errorbar(
            x, rows["median"], yerr=width, ls=LINES[i % 7], marker=MARKERS[i % 7],
            color=COLORS[i % 7], elinewidth=1, capsize=2, label=name,
        )  # fmt: skip
    if published is not None:
        ax.axhline(published, color="0.3", lw=1.2)
        right = table["correlation"].max() + 0.03
        ax.annotate("published", (right, published), ha="right", va="bottom", fontsize=9)
    ax.axhline(0, color="0.4", lw=0.8)
    ax.yaxis.set_major_formatter(FuncFormatter(lambda d, _: f"{100 * d:+.0f}"))
    ax.set_xlabel("correlation of two configurations' verdicts on a problem")
    ax.set_ylabel("observed gain (points), no true gain")
    _legend_above(ax, 2)
    return ax


def lines(
    table: pd.DataFrame, x: str, y: str, by: str, xlabel: str, ylabel: str, ax: Axes | None = None
) -> Axes:
    """A plain line for each ``by``, for the small figures of an argument."""
    _need(table, x, y, by)
    ax = _axes(ax, 3.0)
    for i, name in enumerate(_in_order(table[by])):
        rows = table[table[by] == name]
        ax.plot(rows[x], rows[y], ls=LINES[i % 7], color=COLORS[i % 7], lw=2, label=name)
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    _legend_above(ax, 2)
    return ax
