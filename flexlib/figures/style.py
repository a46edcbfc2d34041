"""What all figures share: one look for a language and one for an arm, the axes, and what was drawn.

Series differ in colour *and* in marker, line style or hatching. The colours are those of Okabe and Ito, safe
for colour-blind readers, two of them darkened until they stand out 3:1 from white (WCAG 2.2, 1.4.11). Arms of
different families share colours, never marker and line as well, and no figure shows both. Dark ink on a
transparent ground: the book's style sheet makes it legible in both themes. A figure remembers the
table that it was drawn from, which the page offers as CSV.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from flexlib.errors import FlexError

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#2F8FC9", "#B07A00", "#555555")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LINES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (5, 1, 1, 1)), (0, (1, 1)), (0, (8, 2)))

BLUE, VERMILION, GREEN, PURPLE, SKY, AMBER, GREY = COLORS
INK = "#222222"


class Look(NamedTuple):
    """How a series is drawn: as dots or as a line."""

    color: str
    marker: str
    line: Any


LANGUAGES = {
    "Python": Look(BLUE, "o", "-"),
    "Java": Look(VERMILION, "s", "--"),
    "JavaScript": Look(AMBER, "^", "-."),
    "C++": Look(PURPLE, "D", ":"),
}

_BY_ARM = {
    "base": Look(GREY, "X", (0, (1, 1))),
    "lora": Look(INK, "o", "-"),
    "fourier-released": Look(GREEN, "^", "--"),
    "fourier-described": Look(PURPLE, "D", "-."),
    "fourier-units": Look(SKY, "v", ":"),
    "fourier-permuted": Look(SKY, "s", (0, (5, 1, 1, 1))),
    "fourier-orthogonal": Look(AMBER, "X", (0, (1, 1))),
    "fourier-delta": Look(VERMILION, "D", (0, (8, 2))),
    "l2-matched": Look(AMBER, "P", (0, (8, 2))),
    "l2-norm": Look(AMBER, "D", "--"),
    "format-only": Look(GREY, "s", ":"),
    "shuffled": Look(GREY, "v", "-."),
    "adamw": Look(INK, "s", "-"),
    "sophia": Look(GREEN, "o", "--"),
    "sophia-corrected": Look(PURPLE, "^", "-."),
    "sophia-released": Look(SKY, "D", ":"),
    "lion": Look(AMBER, "v", (0, (5, 1, 1, 1))),
}

#: What the book calls an arm, where it does not use the arm's own name.
ARM_NAMES = {
    "base": "base",
    "lora": "plain LoRA",
    "fourier-released": "Fourier, as released",
    "fourier-units": "Fourier, units renumbered",
    "fourier-permuted": "Fourier, index permuted",
    "l2-norm": "L2 of equal norm",
    "l2-matched": "L2 of matched strength",
}

_ALIASES = {
    "python": "Python", "java": "Java", "javascript": "JavaScript", "cpp": "C++",
    "HumanEval": "Python", "MultiPL-E Java": "Java", "MBPP Java": "Java",
    "MultiPL-E JavaScript": "JavaScript", "MultiPL-E C++": "C++",
    "nano base": "base", "LoRA on Python": "lora", "released": "fourier-released",
    "described": "fourier-described",
    "as released": "fourier-released", "as the text describes": "fourier-described",
    "permuted basis": "fourier-permuted",
    "orthogonal basis": "fourier-orthogonal", "on the update": "fourier-delta", "L2": "l2-matched",
    "units renumbered": "fourier-units",
    "format only": "format-only", "shuffled answers": "shuffled",
    **{name: arm for arm, name in ARM_NAMES.items()},
}  # fmt: skip


def looks(names: Iterable[Any]) -> dict[Any, Look]:
    """The look of each series of a figure: its own if it is a language or an arm, by any name that the book
    has for it, else by its place. ``"ARM, PART"`` has the arm's colour and, after the first, its own line.
    Names that are neither never get a colour that is taken in this figure while another is free."""
    names = list(dict.fromkeys(names))
    known = LANGUAGES | _BY_ARM
    own: dict[Any, Look] = {}
    parts: Counter[Any] = Counter()
    for name in names:
        arm = _key(name) if _key(name) in known else _key(str(name).rsplit(", ", 1)[0])
        if arm in known:
            place = (LINES.index(known[arm].line) + parts[arm]) % len(LINES)
            mark = (MARKERS.index(known[arm].marker) + parts[arm]) % len(MARKERS)
            again = {"line": LINES[place], "marker": MARKERS[mark]} if parts[arm] else {}
            own[name] = known[arm]._replace(**again)
            parts[arm] += 1
    taken = {look.color for look in own.values()}
    free = itertools.cycle([i for i, color in enumerate(COLORS) if color not in taken] or range(7))
    found = {}
    for name in names:
        i = 0 if name in own else next(free)
        found[name] = own.get(name, Look(COLORS[i], MARKERS[i], LINES[i]))
    return found


def _key(name: Any) -> Any:
    return _ALIASES.get(name, name) if isinstance(name, str) else name


# matplotlib's settings.
STYLE: Any = {
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
    """The Axes given, or new ones of the book's width; ``height`` in inches."""
    return ax if ax is not None else plt.subplots(figsize=(7.0, height), layout="constrained")[1]


def need(table: pd.DataFrame, *columns: str) -> None:
    """Raises FlexError if the table lacks a column or has no rows."""
    missing = [c for c in columns if c not in table]
    if missing or table.empty:
        raise FlexError(f"nothing to draw: the table lacks {', '.join(missing) or 'rows'}")


def in_order(values: pd.Series) -> list[Any]:
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
    for (name, look), offset in zip(looks(names).items(), offsets, strict=True):
        rows = table if name is None else table[table[series] == name]
        y = rows[by].map(labels.index).to_numpy(dtype=float) + offset
        width = np.abs(rows[["low", "high"]].to_numpy().T - rows[x].to_numpy())
        ax.errorbar(
            rows[x], y, xerr=width, fmt=look.marker, color=look.color, capsize=3, label=name
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


class Source(NamedTuple):
    """What a figure shows, as a table, and its Vega-Lite form (:mod:`flexlib.figures.vega`) if it has one."""

    table: pd.DataFrame
    chart: dict[str, Any] | None


def note(ax: Axes | np.ndarray, table: pd.DataFrame, chart: dict[str, Any] | None = None) -> None:
    """Remember what the figure of ``ax`` was drawn from; the last note stands."""
    figure: Any = (ax if isinstance(ax, Axes) else np.ravel(ax)[0]).figure
    figure.flexlib_source = Source(table.copy(), chart)


def source(figure: Figure) -> Source | None:
    """What :func:`note` remembered of a figure."""
    return getattr(figure, "flexlib_source", None)
