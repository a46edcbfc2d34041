"""What a chapter needs to show a result: inline numbers, numbered figures, numbered tables.

A chapter computes a result in a code cell, glues it under a name, and the prose refers to the
name; no number is typed. The recipes are in CONTRIBUTING.md. Figures and tables are displayed by
their cell as well, so that the notebook shows them when it is run by itself; on the page, where they
stand with their caption, the tag ``remove-output`` drops this copy.

Figures are legible in both themes by one rule: they are drawn with dark ink on a transparent
ground (`use_book_style`), and in the dark theme the style sheet inverts their lightness and turns
the hue back (``filter: invert(1) hue-rotate(180deg)``), so that black ink becomes white and a
colour keeps its name. Draw nothing that relies on white paper, and no photographs.

With each figure and table goes the table that it shows: the site offers it as CSV, and what can be pointed
at (:mod:`flexlib.figures.vega`) answers. Both travel in the metadata of the cell's output, under
`SOURCE`, so that they are kept with a cached execution.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import matplotlib as mpl
import pandas as pd
from IPython import get_ipython
from IPython.core.formatters import format_display_data
from IPython.display import Markdown
from matplotlib.figure import Figure
from matplotlib_inline.backend_inline import set_matplotlib_formats
from myst_nb import glue

from flexlib.figures import style

# In an output's metadata: {"csv": text or None, "vega": specification or None, "cell": its execution
# count or None}.
SOURCE = "flexlib"
SVG = "image/svg+xml"

__all__ = [
    "glue_figure",
    "glue_table",
    "glue_value",
    "lighter",
    "span",
    "use_book_style",
    "verdict_badge",
]


def use_book_style() -> None:
    """Set matplotlib to the book's style and notebooks to SVG output."""
    mpl.rcParams.update(style.STYLE)
    set_matplotlib_formats("svg", bbox_inches="tight", metadata={"Date": None})


def glue_value(name: str, value: Any) -> None:
    """Name a number or a text for use in prose: ``{glue:text}`name``` or ``{glue:text}`name:.1f```.

    A number keeps its precision; the format in the role rounds it where it is read.
    """
    glue(name, value.item() if hasattr(value, "item") else value, display=False)


def span(counts: Iterable[int]) -> str:
    """``"3 to 10"`` for counts that differ, ``"3"`` for equal ones."""
    counts = list(counts)
    low, high = min(counts), max(counts)
    return str(low) if low == high else f"{low} to {high}"


def lighter(svg: str) -> str:
    """matplotlib's SVG without its indentation, comments, metadata and the names of its groups, to which
    nothing refers, with shifts written as coordinates, and coordinates cut to hundredths of a point: a
    fifth less to load. Numbers below 1, as the scale of a glyph, stay whole."""
    svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r"(?m)^\s+", "", re.sub(r' id="[A-Za-z0-9.]+_\d+"', "", svg))
    svg = re.sub(
        r'(<use [^>]*)transform="translate\(([-\d.]+) ([-\d.]+)\)"', r'\1x="\2" y="\3"', svg
    )
    svg = svg.replace(' y="0"/>', "/>")
    return re.sub(r"\b(\d*[1-9]\d*\.\d\d)\d+", r"\1", svg)


class _WithSource:
    """What is shown, with its data in the metadata of the output."""

    def __init__(self, shown: Any, table: pd.DataFrame | None, chart: dict | None = None) -> None:
        self.shown, self.table, self.chart = shown, table, chart

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        data, metadata = format_display_data(self.shown)
        if SVG in data:
            data[SVG] = lighter(data[SVG])
        shell = get_ipython()
        source = {
            "csv": None if self.table is None else self.table.to_csv(index=False),
            "vega": self.chart,
            # The list of inputs ends with this cell's; IPython's own counter may be at the next.
            "cell": len(shell.user_ns["In"]) - 1 if shell else None,
        }
        return data, metadata | {SOURCE: source}


def verdict_badge(verdict: str) -> str:
    """A verdict for a table or a card, told by colour and in words: HTML, which Markdown lets through."""
    return f'<span class="verdict verdict-{verdict.replace(" ", "-")}">{verdict}</span>'


def glue_figure(name: str, figure: Figure, table: pd.DataFrame | None = None) -> None:
    """Display a figure, name it for a ``{glue:figure}`` directive, and close it.

    ``table`` is what it shows, for the reader who wants the numbers. The functions of
    :mod:`flexlib.figures` remember theirs, so only a figure that the page draws itself needs one.
    """
    import matplotlib.pyplot as plt

    known = style.source(figure)
    if table is not None:
        shown = _WithSource(figure, table)
    else:
        shown = _WithSource(figure, *(known or (None,)))
    glue(name, shown, display=True)
    plt.close(figure)


def glue_table(name: str, table: pd.DataFrame, formats: Mapping[str, str] | None = None) -> None:
    """Display a table and name it for a ``{table}`` directive that holds ``{glue:md}``.

    Args:
        name: the name to glue under.
        table: the rows as they are to be read; the index is not shown, text may hold Markdown.
        formats: a format specification for a column, as in ``{"pass_at_1": ".1%"}``. Missing
            values are shown as a dash.

    Raises:
        KeyError: a format names a column that the table lacks.
    """
    formats = dict(formats or {})
    if unknown := set(formats) - set(table.columns):
        raise KeyError(f"no such column: {', '.join(sorted(map(str, unknown)))}")
    cells = {
        column: [
            "–" if pd.isna(v) else format(v, formats.get(column, "")).replace("|", r"\|")
            for v in table[column]
        ]
        for column in table.columns
    }
    numeric = [pd.api.types.is_numeric_dtype(table[column]) for column in table.columns]
    markdown = pd.DataFrame(cells).to_markdown(
        index=False, disable_numparse=True, colalign=["right" if n else "left" for n in numeric]
    )
    plain = table.map(lambda v: re.sub(r"<[^>]*>|\*\*|`", "", v) if isinstance(v, str) else v)
    glue(name, _WithSource(Markdown(markdown), plain), display=True)
