"""The Vega-Lite form of a figure holds the numbers of its table, and says them in words."""

from __future__ import annotations

import matplotlib as mpl
import pandas as pd
import pytest

from flexlib import figures
from flexlib.figures import hero, style, vega

mpl.use("Agg")

RATES = pd.DataFrame(
    {
        "arm": ["base", "base", "lora", "lora"],
        "language": ["Python", "Java"] * 2,
        "tasks": 500,
        "seeds": [1, 1, 10, 10],
        "pass_at_k": [0.364, 0.328, 0.581, 0.496],
        "low": [0.322, 0.288, 0.538, 0.456],
        "high": [0.406, 0.370, 0.625, 0.537],
    }
)


def test_a_mark_says_arm_language_n_seeds_rate_and_interval():
    chart = style.source(figures.pass_rates(RATES, series="language").figure).chart
    row = next(r for r in chart["data"]["values"] if (r["by"], r["series"]) == ("lora", "Java"))
    assert (row["x"], row["low"], row["high"]) == (0.496, 0.456, 0.537)
    said = {
        field["title"]: row[field["title"]] for field in chart["layer"][-1]["encoding"]["tooltip"]
    }
    assert said == {
        "arm": "lora", "language": "Java", "n (tasks)": "500", "seeds": "10", "pass@1": "49.6 %",
        "95 % interval": "45.6 % to 53.7 %",
    }  # fmt: skip


def test_series_are_told_to_the_page_with_their_own_colours():
    chart = style.source(figures.pass_rates(RATES, series="language").figure).chart
    assert chart["usermeta"]["series"] == [
        {"name": name, "color": look.color, "marker": look.marker}
        for name, look in ((name, style.LANGUAGES[name]) for name in ("Python", "Java"))
    ]
    drawn = [layer for layer in chart["layer"] if layer.get("data") is None]
    assert all(
        layer["transform"] == [{"filter": "indexof(off, datum.series) < 0"}] for layer in drawn
    )


def test_differences_are_in_points():
    table = RATES.rename(columns={"pass_at_k": "difference"}).assign(comparison="a")
    chart = style.source(
        figures.differences(table, series="language", smallest_effect=0.02).figure
    ).chart
    assert [r["x"] for r in chart["data"]["values"]] == pytest.approx([36.4, 32.8, 58.1, 49.6])
    assert chart["layer"][0]["data"]["values"] == [{"a": -2.0, "b": 2.0}]


def test_a_language_and_an_arm_keep_their_look_whatever_the_order_and_the_name():
    assert style.looks(["Java", "Python"])["Java"] == style.looks(["Python", "java"])["java"]
    assert style.looks(["plain LoRA", "x"])["plain LoRA"] == style.looks(["lora"])["lora"]
    parts = style.looks(["plain LoRA, A", "plain LoRA, B", "released, A"])
    assert parts["plain LoRA, A"] == style.looks(["lora"])["lora"]
    assert parts["plain LoRA, B"].color == parts["plain LoRA, A"].color
    assert parts["plain LoRA, B"].line != parts["plain LoRA, A"].line
    for arm in ("released", "described", "units renumbered"):
        both = style.looks([f"{arm}, A", f"{arm}, B"])
        assert len({look.marker for look in both.values()}) == 2
    assert (
        style.looks(["Fourier, as released, seed 1"]).popitem()[1]
        == style.looks(["released"])["released"]
    )
    benchmarks = style.looks(["HumanEval", "MultiPL-E Java", "MBPP Java"])
    assert benchmarks["HumanEval"] == style.LANGUAGES["Python"]
    assert benchmarks["MultiPL-E Java"] == style.LANGUAGES["Java"]
    assert benchmarks["MBPP Java"].color == style.LANGUAGES["Java"].color
    assert benchmarks["MBPP Java"].marker != style.LANGUAGES["Java"].marker
    others = style.looks(["Python", "first", "second"])
    assert len({look.color for look in others.values()}) == 3


def test_series_that_stand_apart_are_not_joined():
    table = pd.DataFrame({"x": [1.0, 2.0] * 2, "p": [0.1, 0.2] * 2, "arm": ["a", "a", "b", "b"]})
    table = table.assign(low=table["p"] - 0.05, high=table["p"] + 0.05)
    ax = figures.sweep(table, "x", "p", "arm", "size", "pass@1", apart=["b"])
    drawn = {bars.get_label(): bars.lines[0].get_linestyle() for bars in ax.containers}
    assert drawn["a"] != "None" and drawn["b"] == "None"
    layers = style.source(ax.figure).chart["layer"]
    filtered = {
        layer["mark"]["type"]: any("'oneOf': ['b']" in str(step) for step in layer["transform"])
        for layer in layers
        if "data" not in layer
    }
    assert filtered == {"area": True, "line": True, "point": False}


def test_a_sweep_tells_every_series_at_each_value_of_the_slider():
    table = pd.DataFrame(
        {"lambda": [0.1, 0.001, 0.1, 0.001], "arm": ["a", "a", "b", "b"], "p": [0.2, 0.4, 0.1, 0.3],
         "low": [0.1, 0.3, 0.0, 0.2], "high": [0.3, 0.5, 0.2, 0.4], "seeds": 3}
    )  # fmt: skip
    ax = figures.sweep(table, "lambda", "p", "arm", "strength", "pass@1")
    assert ax.get_xscale() == "log"
    assert [list(c.lines[0].get_ydata()) for c in ax.containers] == [[0.4, 0.2], [0.3, 0.1]]
    slider = style.source(ax.figure).chart["usermeta"]["slider"]
    assert (slider["label"], slider["values"]) == ("lambda", [0.001, 0.1])
    at_first, at_second = slider["says"]
    assert len(at_first) == len(at_second) == 2
    assert "40.0 %" in at_first[0] and "30.0 % to 50.0 %" in at_first[0] and "arm a" in at_first[0]
    assert "10.0 %" in at_second[1]


def test_the_hero_has_a_panel_a_scale_and_all_numbers_in_its_table():
    rates = pd.concat([RATES.assign(scale=s) for s in ("nano", "small")], ignore_index=True)
    by_seed = rates[["scale", "arm", "language", "pass_at_k"]].assign(seed=1, tasks=500)
    axes = hero.pass_by_scale(rates, by_seed)
    assert [ax.get_title(loc="left") for ax in axes[:, 0]] == ["nano", "small"]
    source = style.source(axes[0, 0].figure)
    assert len(source.table) == len(rates) + len(by_seed)
    assert [part["title"]["text"] for part in source.chart["vconcat"]] == ["nano", "small"]
    assert source.chart["params"] == [{"name": "off", "value": []}]


@pytest.mark.parametrize("log", [False, True])
def test_curves_keep_missing_points_out(log):
    table = pd.DataFrame({"x": [1, 10, 100], "y": [0.5, None, 0.25], "by": "a"})
    chart = vega.curves(table, "x", "y", "by", "steps", "loss", log_x=log)
    assert [(r["x"], r["y"]) for r in chart["data"]["values"]] == [(1, 0.5), (100, 0.25)]
