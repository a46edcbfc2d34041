"""Figures that answer: the Vega-Lite form of the matplotlib figures, from the same tables.

The page shows matplotlib's SVG; where a reader points at it, `book/_static/book.js` puts this in its
place: pointing at a mark tells its numbers, every series can be switched off, and a figure over
a quantity that was varied has a slider. Series are switched by the parameter ``off`` (a list of their
names), the slider sets ``at``; what the page has to know of them stands in ``usermeta``.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import pandas as pd

from flexlib.figures.style import Look, in_order, looks

# Columns that a tooltip names, in its order, with their headings.
_SAYS = {
    "profile": "scale", "arm": "arm", "comparison": "comparison", "group": "tasks of", "label": "model",
    "language": "language", "benchmark": "benchmark", "seed": "seed", "seeds": "seeds",
    "tasks": "n (tasks)", "n": "n",
}  # fmt: skip
_SHAPES = {
    "o": "circle", "s": "square", "^": "triangle-up", "v": "triangle-down", "D": "diamond", "P": "cross",
    "X": "M-1,-1L1,1M-1,1L1,-1",
}  # fmt: skip
_DASHES = {"-": [1, 0], "--": [6, 4], "-.": [6, 3, 1, 3], ":": [1, 3]}
_CONFIG = {
    "background": "transparent",
    "font": "sans-serif",
    "view": {"stroke": None},
    "axis": {
        "labelFontSize": 13,
        "titleFontSize": 13,
        "titleFontWeight": "normal",
        "labelLimit": 320,
    },
}


def dots(
    table: pd.DataFrame,
    x: str,
    by: str,
    series: str | None,
    label: str,
    *,
    points: bool = False,
    band: float | None = None,
    by_seed: pd.DataFrame | None = None,
) -> dict[str, Any]:
    """Dots with intervals, ``x, low, high`` in 0..1: a line for each ``by``, ``series`` side by side.

    ``points``: differences, in points, against a line at no difference; ``band`` shades those that are too
    small to matter. ``by_seed`` has the same columns and ``seed`` for smaller dots, one a seed.
    """
    table = table.assign(**{x: table[x].astype(float)})
    names = in_order(table[series]) if series else []
    form = _points if points else _rates
    rows = [_row(r, x, by, series, label, form) for r in table.to_dict("records")]
    y = {
        "y": {
            "field": "by", "type": "nominal", "title": None, "sort": None,
            "scale": {"domain": [str(v) for v in in_order(table[by])]},
        },
        "yOffset": {"field": "series", "scale": {"domain": names, "paddingOuter": 0.6}},
    }  # fmt: skip
    if not series:
        del y["yOffset"]
    axis = {"format": "+.0f" if points else ".0%", "grid": True, "tickCount": 8}
    if points:  # in points from the start: an axis has no arithmetic
        rows = [r | {k: 100 * r[k] for k in ("x", "low", "high") if k in r} for r in rows]
    across = {"field": "x", "type": "quantitative", "title": label, "axis": axis}
    across["scale"] = {"zero": not points, "nice": True}
    colour = _colour(names)
    tooltip = _tooltip(rows)
    layers: list[dict[str, Any]] = []
    if points and band:
        layers.append({
            "data": {"values": [{"a": -100 * band, "b": 100 * band}]},
            "mark": {"type": "rect", "color": "#808080", "opacity": 0.2},
            "encoding": {"x": {"field": "a", "type": "quantitative"}, "x2": {"field": "b"}},
        })  # fmt: skip
    if points:
        layers.append({
            "data": {"values": [{}]}, "mark": {"type": "rule", "color": "#666666"},
            "encoding": {"x": {"datum": 0, "type": "quantitative"}},
        })  # fmt: skip
    if by_seed is not None and len(by_seed):
        seeds = [_row(r, x, by, series, label, form) for r in by_seed.to_dict("records")]
        layers.append({
            "data": {"values": seeds}, "transform": [_SHOWN],
            "mark": {"type": "tick", "orient": "vertical", "size": 5, "thickness": 1.5,
                     "yOffset": 8, "opacity": 0.6},
            "encoding": {"x": across, **y, **colour, "tooltip": _tooltip(seeds)},
        })  # fmt: skip
    ends = {"x": across | {"field": "low"}, "x2": {"field": "high"}}
    layers += [
        {"mark": {"type": "rule", "strokeWidth": 1.5}, "transform": [_SHOWN],
         "encoding": {**ends, **y, **colour, "tooltip": tooltip}},
        {"mark": {"type": "point", "filled": True, "size": 70, "opacity": 1}, "transform": [_SHOWN],
         "encoding": {"x": across, **y, **colour, **_shape(names), "tooltip": tooltip}},
    ]  # fmt: skip
    return {
        "data": {"values": rows},
        "width": "container",
        "height": {"step": 18 if len(names) > 1 else 30},
        "params": [{"name": "off", "value": []}],
        "layer": layers,
        "config": _CONFIG,
        "usermeta": {"series": _legend(names)},
    }


def curves(
    table: pd.DataFrame,
    x: str,
    y: str,
    by: str,
    xlabel: str,
    ylabel: str,
    *,
    log_x: bool = False,
    percent: bool = False,
    slider: str | None = None,
    apart: Collection[str] = (),
) -> dict[str, Any]:
    """A line for each ``by`` through the rows' ``x, y``, with ``low, high`` as a band where they are given;
    points alone for those in ``apart``.

    ``percent``: y in 0..1, shown in per cent. ``slider`` names the quantity on the x-axis: the page then has
    a slider over its values, which tells every series' number there.
    """
    names = in_order(table[by])
    numbers = [c for c in (x, y, "low", "high") if c in table]
    table = table.assign(**{c: table[c].astype(float) for c in numbers})
    form = _rates if percent else _plain
    rows = [
        _row(r, y, x, by, ylabel, form) | {"y": r[y], "x": r[x], xlabel: f"{r[x]:g}"}
        for r in table.dropna(subset=[x, y]).to_dict("records")
    ]
    across = {"field": "x", "type": "quantitative", "title": xlabel, "axis": {"grid": True}}
    across["scale"] = {"type": "log"} if log_x else {"zero": False}
    up = {
        "field": "y", "type": "quantitative", "title": ylabel, "scale": {"zero": False},
        "axis": {"grid": True} | ({"format": ".0%"} if percent else {}),
    }  # fmt: skip
    colour = _colour(names)
    own = looks(names)
    dash = {
        "strokeDash": {
            "field": "series", "legend": None,
            "scale": {"domain": names, "range": [_dash(own[n]) for n in names]},
        }
    }  # fmt: skip
    layers: list[dict[str, Any]] = [
        {"mark": {"type": "line", "strokeWidth": 2}, "encoding": {"x": across, "y": up, **colour, **dash}},
        {"mark": {"type": "point", "filled": True, "size": 36, "opacity": 1},
         "encoding": {"x": across, "y": up, **colour, **_shape(names),
                      "tooltip": [{"field": xlabel, "title": xlabel}, *_tooltip(rows)]}},
    ]  # fmt: skip
    if "low" in table:
        limits = {"y": up | {"field": "low"}, "y2": {"field": "high"}}
        band = {
            "mark": {"type": "area", "opacity": 0.2},
            "encoding": {"x": across, **limits, **colour},
        }
        layers.insert(0, band)
    if slider:
        layers.append({
            "mark": {"type": "rule", "color": "#666666", "strokeWidth": 1.5},
            "data": {"values": [{}]},
            "encoding": {"x": {"datum": {"expr": "at"}, "type": "quantitative"}},
        })  # fmt: skip
    for layer in layers:
        if "data" not in layer:
            layer["transform"] = [_SHOWN]
            if apart and layer["mark"]["type"] in ("line", "area"):
                layer["transform"].append(
                    {"filter": {"not": {"field": "series", "oneOf": [*apart]}}}
                )
    values = sorted(table[x].unique().tolist())
    meta: dict[str, Any] = {"series": _legend(names)}
    if slider:
        meta["slider"] = {
            "label": slider,
            "values": values,
            "says": [[_told(r) for r in rows if r["x"] == value] for value in values],
        }
    return {
        "data": {"values": rows},
        "width": "container",
        "height": 300,
        "params": [{"name": "off", "value": []}, {"name": "at", "value": values[0]}],
        "layer": layers,
        "config": _CONFIG,
        "usermeta": meta,
    }


_SHOWN = {"filter": "indexof(off, datum.series) < 0"}


def _rates(value: float) -> str:
    return f"{100 * value:.1f} %"


def _points(value: float) -> str:
    return f"{100 * value:+.1f} points"


def _plain(value: float) -> str:
    return f"{value:.4g}"


def _row(row: dict, x: str, by: str, series: str | None, label: str, form: Any) -> dict[str, Any]:
    """A mark: where it stands, and in words what its tooltip says."""
    said = {
        title: str(row[column])
        for column, title in _SAYS.items()
        if column in row and pd.notna(row[column]) and column != x
    }
    named = {c for c in _SAYS if c in row}
    for column in (series, by):
        if column and column not in named and isinstance(row[column], str):
            said = {column: row[column]} | said
    mark: dict[str, Any] = {
        "by": str(row[by]),
        "series": row[series] if series else "",
        "x": row[x],
    }
    short = label.split(" (", maxsplit=1)[0]
    mark |= said | {short: form(row[x])}
    if "low" in row and pd.notna(row["low"]):
        mark |= {"low": float(row["low"]), "high": float(row["high"])}
        mark["95 % interval"] = f"{form(row['low'])} to {form(row['high'])}"
    return mark


def _told(row: dict[str, Any]) -> str:
    hidden = {"by", "series", "x", "y", "low", "high"}
    return ", ".join(f"{k} {v}" for k, v in row.items() if k not in hidden)


def _tooltip(rows: Sequence[dict[str, Any]]) -> list[dict[str, str]]:
    hidden = {"by", "series", "x", "y", "low", "high"}
    fields = dict.fromkeys(k for row in rows for k in row if k not in hidden)
    return [{"field": f.replace(".", r"\.").replace("[", r"\["), "title": f} for f in fields]


def _colour(names: list) -> dict[str, Any]:
    if not names:
        return {"color": {"value": next(iter(looks([""]).values())).color}}
    own = looks(names)
    scale = {"domain": names, "range": [own[n].color for n in names]}
    return {"color": {"field": "series", "type": "nominal", "scale": scale, "legend": None}}


def _shape(names: list) -> dict[str, Any]:
    if not names:
        return {}
    own = looks(names)
    scale = {"domain": names, "range": [_SHAPES[own[n].marker] for n in names]}
    return {"shape": {"field": "series", "type": "nominal", "scale": scale, "legend": None}}


def _dash(look: Look) -> list[float]:
    dash = look.line[1] if isinstance(look.line, tuple) else _DASHES[look.line]
    return [float(part) for part in dash]


def _legend(names: list) -> list[dict[str, Any]]:
    own = looks(names)
    return [{"name": n, "color": own[n].color, "marker": own[n].marker} for n in names]
