"""Hidden states: layers across, languages down."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from flexlib.figures import style

_WRITTEN = 12  # layers at most of which each cell has its number


def by_language(table: pd.DataFrame, by: str = "arm", ax: np.ndarray | None = None) -> np.ndarray:
    """A map for each ``by``, one below another: ``layer`` across, ``pair`` of languages down, shaded by
    ``value`` (0..1; written in per cent).

    Args:
        table: ``by, pair, layer, value``; pairs in the order in which they first occur.
        ax: as many Axes as there are maps.
    """
    style.need(table, by, "pair", "layer", "value")
    groups, pairs = style.in_order(table[by]), style.in_order(table["pair"])
    layers = sorted(table["layer"].unique())
    if ax is None:
        size = (7.0, len(groups) * (0.9 + 0.34 * len(pairs)))
        ax = plt.subplots(len(groups), 1, figsize=size, layout="constrained", squeeze=False)[1]
    drawn = np.ravel(ax)
    for axes, group in zip(drawn, groups, strict=True):
        grid = table[table[by] == group].pivot(index="pair", columns="layer", values="value")
        grid = grid.reindex(index=pairs, columns=layers)
        # Pale at the upper end, so that dark ink reads on every cell.
        axes.imshow(grid, cmap="Blues", vmin=0, vmax=1.8 * table["value"].max(), aspect="auto")
        if len(layers) <= _WRITTEN:
            for (row, column), value in np.ndenumerate(100 * grid.to_numpy()):
                if np.isfinite(value):
                    axes.text(
                        column,
                        row,
                        f"{value:.0f}",
                        ha="center",
                        va="center",
                        fontsize=9,
                        color="0.1",
                    )
        axes.set_xticks(range(len(layers)), layers)
        axes.set_yticks(range(len(pairs)), pairs)
        axes.grid(visible=False)
        axes.set_title(str(group), fontsize=11)
    drawn[-1].set_xlabel("layer")
    style.note(drawn, table)
    return drawn
