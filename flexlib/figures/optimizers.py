"""Figures of the optimiser study."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from flexlib.figures import style, vega
from flexlib.figures.curves import convergence
from flexlib.study.convergence import HEALTHY

AXES = {
    "step": "optimiser step",
    "tokens": "training tokens (thousands)",
    "passes": "forward and backward passes",
    "seconds": "time (s)",
}


def loss_by_cost(curves: pd.DataFrame, by: str = "arm") -> np.ndarray:
    """Validation loss against each cost that ``curves`` has: a panel each for ``step``, ``tokens``,
    ``passes`` and ``seconds``; mean over seeds with its 95 % interval. Returns the Axes."""
    costs = [name for name in AXES if name in curves and curves[name].notna().all()]
    rows = -(-len(costs) // 2)
    figure, axes = plt.subplots(
        rows, 2, figsize=(7.0, 3.0 * rows), sharey=True, layout="constrained", squeeze=False
    )
    for name, ax in zip(costs, axes.flat, strict=False):
        table = curves.assign(tokens=curves["tokens"] / 1000)
        convergence(table, x=name, by=by, ax=ax)
        ax.get_legend().remove()
        ax.set_xlabel(AXES[name])
        ax.set_ylabel("validation loss")
    style.note(axes, curves)
    for ax in axes.flat[len(costs) :]:
        ax.set_axis_off()
    # The base's loss lies far above all that tells the arms apart.
    later = curves[curves["step"] > 0]["eval_loss"]
    margin = 0.05 * (later.quantile(0.9) - later.min())
    axes.flat[0].set_ylim(later.min() - margin, later.quantile(0.9) + margin)
    figure.legend(
        *axes.flat[0].get_legend_handles_labels(), loc="outside upper left", ncols=2, frameon=False
    )
    return axes


def unclipped(training: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Share of unclipped coordinates against the step: ``arm, seed, step, unclipped`` (0..1), a line
    each arm; shaded where Sophia's authors want it."""
    style.need(training, "arm", "seed", "step", "unclipped")
    ax = style.axes(ax)
    ax.axhspan(*HEALTHY, color="0.5", alpha=0.2, lw=0)
    convergence(training, y="unclipped", ax=ax)
    ax.set_ylim(0, max(0.6, 1.05 * training["unclipped"].max()))
    ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    ax.set_xlabel("optimiser step")
    ax.set_ylabel("coordinates not clipped")
    style.legend_above(ax, 2)
    style.note(ax, training[["arm", "seed", "step", "unclipped"]])
    return ax


def steps_to_target(table: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Steps to a loss that both reach, minus the control's own, as a share of its steps:
    ``arm, difference, low, high``."""
    ax = style.axes(ax, 1.3 + 0.42 * table["arm"].nunique() if "arm" in table else 4.0)
    ax.axvline(0, color="0.4", lw=1)
    style.dots(ax, table, "difference", "arm", None)
    ax.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    label = "steps to a loss that both reach, minus AdamW's own (share of the steps)"
    ax.set_xlabel(label)
    style.note(ax, table, vega.dots(table, "difference", "arm", None, label))
    return ax
