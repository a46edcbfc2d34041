"""A figure that is lighter to load is the same figure."""

from __future__ import annotations

import io
import re

import matplotlib.pyplot as plt

from flexlib.book import lighter

NUMBER = re.compile(r"-?\d+\.?\d*")


def test_nothing_moves_by_more_than_a_hundredth_of_a_point():
    figure, ax = plt.subplots()
    ax.plot([1, 2, 3], [0.1, 1 / 3, 1e-3], marker="o", label="a curve")
    ax.legend()
    text = io.StringIO()
    figure.savefig(text, format="svg")
    plt.close(figure)
    before, after = text.getvalue(), lighter(text.getvalue())
    assert len(after) < 0.9 * len(before)
    named = set(re.findall(r' id="(.*?)"', before)) - set(re.findall(r' id="(.*?)"', after))
    assert named and not any(f"#{name}" in before for name in named)
    for name in named:
        before = before.replace(f' id="{name}"', "")
    assert NUMBER.sub("", after).split() == NUMBER.sub("", before).split()
    for old, new in zip(NUMBER.findall(before), NUMBER.findall(after), strict=True):
        assert abs(float(old) - float(new)) < 0.01
        if abs(float(old)) < 1:
            assert old == new
