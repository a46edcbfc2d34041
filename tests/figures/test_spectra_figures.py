"""Figures of spectra show what the table says."""

import matplotlib
import pandas as pd
import pytest

from flexlib.errors import FlexError
from flexlib.figures import spectra, style

matplotlib.use("Agg")
import matplotlib.pyplot as plt

RATIOS = pd.DataFrame(
    {
        "arm": ["lora", "lora", "lora", "lora", "released", "released"],
        "seed": [1, 1, 2, 2, 1, 1],
        "x": [0.5, 1.0] * 3,
        "ratio": [1.0, 1.2, 1.4, 0.8, 0.5, 1.5],
        "null_low": [0.8, 0.9, 0.7, 0.9, 0.8, 0.9],
        "null_high": [1.2, 1.1, 1.3, 1.1, 1.2, 1.1],
    }
)


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def curves(ax):
    return {line.get_label(): line for line in ax.lines if not line.get_label().startswith("_")}


def test_ratios_are_means_over_seeds_with_their_range_on_the_widest_null():
    ax = spectra.against_null(RATIOS)
    drawn = curves(ax)
    assert drawn["lora"].get_xydata().tolist() == [[0.5, 1.2], [1.0, 1.0]]
    assert drawn["released"].get_ydata().tolist() == [0.5, 1.5]
    assert drawn["lora"].get_linestyle() != drawn["released"].get_linestyle()
    null, *ranges = ax.collections
    at_half = [y for x, y in null.get_paths()[0].vertices if x == 0.5]
    assert (min(at_half), max(at_half)) == (0.7, 1.3)
    assert ranges[0].get_segments()[0].tolist() == [[0.5, 1.0], [0.5, 1.4]]


def test_layers_are_the_x_axis():
    ax = spectra.by_layer(RATIOS.assign(layer=[0, 1] * 3).drop(columns="x"))
    assert curves(ax)["released"].get_xydata().tolist() == [[0, 0.5], [1, 1.5]]
    assert list(ax.get_xticks()) == [0, 1]


def test_singular_values_stand_against_random_factors():
    table = pd.DataFrame(
        {"arm": "lora", "x": [1, 2], "value": [0.9, 0.3], "random_mean": 0.7, "random_sd": 0.1}
    )
    ax = spectra.singular_values(table)
    assert curves(ax)["lora"].get_ydata().tolist() == [0.9, 0.3]
    heights = [y for _, y in ax.collections[0].get_paths()[0].vertices]
    assert (min(heights), max(heights)) == pytest.approx((0.7 - 0.196, 0.7 + 0.196))


def test_what_was_not_run_is_said():
    ax = style.not_run("not run: no adapter")
    assert [t.get_text() for t in ax.texts] == ["not run: no adapter"]
    with pytest.raises(FlexError, match="lacks rows"):
        spectra.against_null(RATIOS.iloc[:0])
