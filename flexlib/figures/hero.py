"""The figure of the landing page: pass@1 of the arms that matter, language by language, at each scale."""

from __future__ import annotations

import textwrap

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from flexlib.figures import style, vega

LABEL = "pass@1 (95 % interval over tasks and seeds)"


def pass_by_scale(rates: pd.DataFrame, by_seed: pd.DataFrame) -> np.ndarray:
    """A panel for each ``scale``: ``arm`` down, ``language`` side by side, with ``pass_at_k, low,
    high`` (0..1) and a small dot for every seed of ``by_seed`` (``scale, arm, language, seed,
    pass_at_k``)."""
    scales = list(dict.fromkeys(rates["scale"]))
    counts = [rates.loc[rates["scale"] == scale, "arm"].nunique() for scale in scales]
    # One scale has room; more stay in sight together with the sentence above them.
    heights = [(0.62 if len(scales) == 1 else 0.37) * n + 0.55 for n in counts]
    _, axes = plt.subplots(
        len(scales), 1, squeeze=False, layout="constrained", figsize=(7.0, 0.6 + sum(heights)),
        height_ratios=heights,
    )  # fmt: skip
    charts = []
    for scale, ax in zip(scales, axes[:, 0], strict=True):
        of, seeds = (t[t["scale"] == scale] for t in (rates, by_seed))
        style.dots(ax, of, "pass_at_k", "arm", "language")
        _seeds(ax, of, seeds)
        ax.set_xlim(left=0)
        ax.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        if len(scales) > 1:
            first = ax is axes[0, 0]  # whose legend stands between its title and the axes
            ax.set_title(scale, loc="left", fontsize=11, pad=28 if first else None)
            if not first:
                ax.get_legend().remove()
        chart = vega.dots(of, "pass_at_k", "arm", "language", LABEL, by_seed=seeds)
        charts.append(
            chart | ({"title": {"text": scale, "anchor": "start"}} if len(scales) > 1 else {})
        )
    axes[-1, 0].set_xlabel(LABEL)
    style.note(axes, pd.concat([rates, by_seed.assign(seeds=1)], ignore_index=True), _below(charts))
    return axes


def card(rates: pd.DataFrame, title: str, sentence: str) -> Figure:
    """The picture of a link's preview, 1200 by 630 pixels at 100 dots an inch: title, finding,
    first scale."""
    figure = plt.figure(figsize=(12, 6.3), facecolor="white")
    figure.text(0.05, 0.9, title, fontsize=30, va="center")
    figure.text(0.05, 0.83, textwrap.fill(sentence, 84), fontsize=17, va="top", color="#333333")
    ax = figure.add_axes((0.26, 0.1, 0.68, 0.4))
    with mpl.rc_context({"font.size": 14}):
        style.dots(
            ax, rates[rates["scale"] == rates["scale"].iloc[0]], "pass_at_k", "arm", "language"
        )
    ax.tick_params(labelsize=14)
    ax.set_xlim(left=0)
    ax.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    return figure


def _seeds(ax: Axes, rates: pd.DataFrame, seeds: pd.DataFrame) -> None:
    arms, names = (list(dict.fromkeys(rates[c])) for c in ("arm", "language"))
    offsets = dict(zip(names, np.linspace(-0.22, 0.22, len(names)), strict=True))
    for language, of in seeds.groupby("language"):
        # One broken line: with a marker a seed the SVG is larger.
        y = of["arm"].map(arms.index) + offsets[language] + 0.13
        x = np.repeat(of["pass_at_k"].to_numpy(), 3)
        ends = np.column_stack([y - 0.06, y + 0.06, np.full(len(y), np.nan)]).ravel()
        ax.plot(x, ends, color=style.LANGUAGES[language].color, alpha=0.5, lw=1, zorder=1)


def _below(charts: list[dict]) -> dict:
    """Charts under each other, whose series are switched together."""
    if len(charts) == 1:
        return charts[0]
    shared = {key: charts[0][key] for key in ("params", "config", "usermeta")}
    parts = [{k: v for k, v in chart.items() if k not in shared} for chart in charts]
    return {"vconcat": parts, **shared}
