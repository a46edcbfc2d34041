"""Figures show what the table says: what is drawn is read back from the axes."""

import itertools

import matplotlib
import numpy as np
import pandas as pd
import pytest

from flexlib import figures
from flexlib.errors import FlexError

matplotlib.use("Agg")
import matplotlib.pyplot as plt


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


RATES = pd.DataFrame(
    {
        "arm": ["base", "lora", "base", "lora"],
        "language": ["python", "python", "java", "java"],
        "pass_at_k": [0.2, 0.4, 0.3, 0.25],
        "low": [0.15, 0.35, 0.22, 0.2],
        "high": [0.26, 0.44, 0.4, 0.33],
    }
)


def errorbars(ax):
    """Centre, left and right end of every interval, by series."""
    for container in ax.containers:
        line, _, (bars,) = container.lines
        for x, y, segment in zip(*line.get_data(), bars.get_segments(), strict=True):
            yield container.get_label(), y, x, segment[0][0], segment[1][0]


def test_pass_rates_draw_every_row_at_its_place():
    ax = figures.pass_rates(RATES, series="language")
    drawn = {(label, round(y)): (x, low, high) for label, y, x, low, high in errorbars(ax)}
    for row in RATES.itertuples():
        place = (row.language, ["base", "lora"].index(row.arm))
        assert drawn.pop(place) == pytest.approx((row.pass_at_k, row.low, row.high))
    assert not drawn
    assert [t.get_text() for t in ax.get_yticklabels()] == ["base", "lora"]
    # Told apart without colour: each series has a marker of its own.
    assert len({c.lines[0].get_marker() for c in ax.containers}) == 2


def test_differences_mark_zero():
    table = pd.DataFrame({"comparison": ["a"], "difference": [0.1], "low": [-0.02], "high": [0.2]})
    ax = figures.differences(table, smallest_effect=0.02)
    assert any(np.allclose(line.get_xdata(), 0) for line in ax.lines)
    ((_, _, x, low, high),) = errorbars(ax)
    assert (x, low, high) == pytest.approx((0.1, -0.02, 0.2))


def test_convergence_is_the_mean_over_seeds_with_a_t_band():
    training = pd.DataFrame(
        {
            "arm": "lora",
            "seed": [0, 0, 0, 1, 1, 1, 2, 2, 2],
            "step": [0, 10, 20] * 3,
            "eval_loss": [2.0, 1.0, np.nan, 4.0, 2.0, np.nan, 3.0, 1.5, np.nan],
        }
    )
    ax = figures.convergence(training)
    (line,) = ax.lines
    assert line.get_xdata().tolist() == [0, 10] and line.get_ydata().tolist() == [3.0, 1.5]
    assert "3 seeds" in line.get_label()
    # Of 2, 3 and 4: mean +- t(0.975, 2) / sqrt(3), and t(0.975, 2) = 4.3027.
    band = ax.collections[0].get_paths()[0].vertices
    at_zero = band[band[:, 0] == 0, 1]
    half = 4.3027 / 3**0.5
    assert (at_zero.min(), at_zero.max()) == pytest.approx((3 - half, 3 + half), abs=1e-3)
    two = figures.convergence(training[training["seed"] < 2])
    drawn = [path.vertices for path in two.collections[0].get_paths()]
    assert not any(np.isfinite(vertices).all(axis=1).any() for vertices in drawn)


def test_verdict_bars_stack_to_one():
    table = pd.DataFrame(
        {
            "arm": ["base"] * 3 + ["lora"] * 2,
            "verdict": ["pass", "wrong", "timeout", "pass", "compile_error"],
            "share": [0.2, 0.7, 0.1, 0.6, 0.4],
        }
    )
    ax = figures.verdict_composition(table)
    ends = {}
    for bar in ax.patches:
        ends.setdefault(round(bar.get_y()), []).append((bar.get_x(), bar.get_width()))
    assert [sum(w for _, w in parts) for parts in ends.values()] == pytest.approx([1, 1])
    hatches = {c.get_label(): c.patches[0].get_hatch() for c in ax.containers}
    assert len(set(hatches.values())) == len(hatches) == 4
    with pytest.raises(FlexError, match="no colour for the verdicts odd"):
        figures.verdict_composition(table.assign(verdict="odd"))


def test_the_matrix_has_training_languages_down_and_its_numbers_in_points():
    cells = [("Python", "Java", 0.1), ("Java", "Python", -0.2), ("Java", "Java", 0.3)]
    table = pd.DataFrame(cells, columns=["trained", "tested", "difference"])
    table = table.assign(
        arm="lora", low=table["difference"] - 0.01, high=table["difference"] + 0.01
    )
    [ax] = figures.transfer(table)
    names = [label.get_text() for label in ax.get_yticklabels()]
    assert names == [label.get_text() for label in ax.get_xticklabels()] == ["Python", "Java"]
    texts = {t.get_position(): t.get_text() for t in ax.texts}
    assert texts == {
        (1, 0): "+10.0\n(+9.0 to +11.0)",
        (0, 1): "-20.0\n(-21.0 to -19.0)",
        (1, 1): "+30.0\n(+29.0 to +31.0)",
    }
    image = ax.images[0].get_array()
    assert image[0, 1] == 0.1 and image[1, 0] == -0.2 and np.isnan(image.filled(np.nan)[0, 0])
    both = pd.concat([table, table.assign(arm="other")])
    assert [ax.get_title() for ax in figures.transfer(both)] == ["lora", "other"]
    with pytest.raises(FlexError, match="nothing to draw"):
        figures.transfer(table.iloc[:0])


def test_maps_have_layers_across_and_languages_down():
    table = pd.DataFrame(
        [
            {"arm": arm, "pair": pair, "layer": layer, "value": value / 10}
            for value, (arm, pair, layer) in enumerate(
                itertools.product(["base", "lora"], ["Python and Java", "Java and C++"], [0, 1])
            )
        ]
    )
    first, second = figures.by_language(table)
    assert [ax.get_title() for ax in (first, second)] == ["base", "lora"]
    assert [t.get_text() for t in second.get_yticklabels()] == ["Python and Java", "Java and C++"]
    assert [t.get_text() for t in second.texts] == ["40", "50", "60", "70"]
    [image] = second.images
    np.testing.assert_allclose(image.get_array(), [[0.4, 0.5], [0.6, 0.7]])
    assert first.images[0].get_clim() == image.get_clim()  # one shade is one number in both
    many = pd.concat([table.assign(layer=table["layer"] + 2 * i) for i in range(10)])
    assert not figures.by_language(many)[0].texts
    with pytest.raises(FlexError, match="nothing to draw"):
        figures.by_language(table.iloc[:0])


def test_rates_by_operations_are_a_line_an_arm():
    table = pd.DataFrame(
        {"arm": ["base", "base", "lora"], "operations": [2, 7, 2], "pass_at_k": [0.4, 0.1, 0.6]}
    )
    table = table.assign(low=table["pass_at_k"] - 0.05, high=table["pass_at_k"] + 0.05)
    ax = figures.by_operations(table)
    assert [t for t in ax.get_xticks()] == [2, 7]
    drawn = {c.get_label(): c.lines[0].get_ydata().tolist() for c in ax.containers}
    assert drawn == {"base": [0.4, 0.1], "lora": [0.6]}
    with pytest.raises(FlexError, match="lacks operations"):
        figures.by_operations(table.drop(columns="operations"))


def test_power_and_selection_draw_their_curves():
    table = pd.DataFrame(
        {"difference": [0.0, 0.1] * 2, "power": [0.05, 0.4, 0.05, 0.9], "design": list("aabb")}
    )
    ax = figures.power(table, marks=[("published", 0.079)])
    curves = {line.get_label(): line for line in ax.lines}
    assert curves["b"].get_ydata().tolist() == [0.05, 0.9]
    assert curves["a"].get_linestyle() != curves["b"].get_linestyle()
    gain = pd.DataFrame(
        {
            "correlation": [0.0, 0.5],
            "median": [0.1, 0.05],
            "low": [0.0, 0.0],
            "high": [0.2, 0.1],
            "search": "best of 10",
        }
    )
    ax = figures.selection_gain(gain, published=0.079)
    assert ax.lines[0].get_ydata().tolist() == [0.1, 0.05]


def test_best_of_many_draws_the_share_of_searches_that_gain_at_least_so_much():
    table = pd.DataFrame({"gain": [0.0, 0.1, 0.1, 0.3], "reported": "best"})
    ax = figures.best_of_many(table, published=0.2)
    line = next(line for line in ax.lines if line.get_label() == "best")
    x, y = line.get_data()
    shares = {gain: y[x >= gain - 1e-9].max() for gain in (0.0, 0.1, 0.3)}
    assert shares == pytest.approx({0.0: 1.0, 0.1: 0.75, 0.3: 0.25})


def test_an_empty_or_short_table_is_refused():
    with pytest.raises(FlexError, match="lacks low"):
        figures.pass_rates(RATES.drop(columns="low"))
    with pytest.raises(FlexError, match="lacks rows"):
        figures.convergence(pd.DataFrame(columns=["step", "eval_loss", "arm", "seed"]))
