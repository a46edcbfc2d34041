"""One look for a language and one for an arm, through the whole book; and what a figure was drawn from.

Colours are those of Okabe and Ito, safe for colour-blind readers, two of them darkened until they stand
out 3:1 from white (WCAG 2.2, 1.4.11). Arms of different families share colours, never marker and line as
well, and no figure shows both.
"""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Iterable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#2F8FC9", "#B07A00", "#555555")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1)), (0, (1, 1)), (0, (8, 2)))

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
    "format-only": Look(GREY, "s", ":"),
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
    "l2-matched": "L2 of matched strength",
}

_ALIASES = {
    "python": "Python", "java": "Java", "javascript": "JavaScript", "cpp": "C++",
    "nano base": "base", "LoRA on Python": "lora", "released": "fourier-released",
    "described": "fourier-described", "permuted basis": "fourier-permuted",
    "orthogonal basis": "fourier-orthogonal", "on the update": "fourier-delta", "L2": "l2-matched",
    "format only": "format-only", **{name: arm for arm, name in ARM_NAMES.items()},
}  # fmt: skip


def looks(names: Iterable[Hashable]) -> dict[Hashable, Look]:
    """The look of each series of a figure: its own if it is a language or an arm, by any name that the book
    has for it, else by its place. Names that are neither never get a colour that is taken in this figure
    while another is free."""
    names = list(names)
    own = {name: LANGUAGES.get(_key(name)) or _BY_ARM.get(_key(name)) for name in names}
    taken = {look.color for look in own.values() if look}
    free = itertools.cycle([i for i, color in enumerate(COLORS) if color not in taken] or range(7))
    for name, look in own.items():
        if look is None:
            i = next(free)
            own[name] = Look(COLORS[i], MARKERS[i], LINES[i])
    return own


def _key(name: Hashable) -> Hashable:
    return _ALIASES.get(name, name) if isinstance(name, str) else name


class Source(NamedTuple):
    """What a figure shows, as a table, and its Vega-Lite form (:mod:`flexlib.figures.vega`) if it has one."""

    table: pd.DataFrame
    chart: dict[str, Any] | None


def note(ax: Axes | np.ndarray, table: pd.DataFrame, chart: dict[str, Any] | None = None) -> None:
    """Remember what the figure of ``ax`` was drawn from; the last note stands."""
    figure = np.ravel(ax)[0].figure
    figure.flexlib_source = Source(table.copy(), chart)


def source(figure: Figure) -> Source | None:
    """What :func:`note` remembered of a figure."""
    return getattr(figure, "flexlib_source", None)
