"""Java against the size of the update: which settings are drawn, and what is said of their distance from L2."""

from __future__ import annotations

import pandas as pd
import pytest
import verdict_tables

from flexlib.book import one_curve

NAMES = {
    "lora": "plain LoRA", "l2-matched": "L2", "nuclear-norm": "nuclear norm", "fourier-rank": "rank renumbered in B",
}  # fmt: skip


def away(*rows):
    return pd.DataFrame(rows, columns=["setting", "difference", "low", "high"])


@pytest.mark.parametrize(
    ("rows", "counted", "said"),
    [
        ([("nuclear-norm", 0.0, -0.01, 0.01)], "1 lie within 2 points", "The size of the update explains"),
        ([("nuclear-norm", 0.0, -0.01, 0.03)], "0 above, and 1 cannot be told", "1 are not shown to lie on it"),
        ([("nuclear-norm", -0.05, -0.07, -0.03)], "1 lie below it", "Below the curve, in points: nuclear norm −5.0 (−7.0 to −3.0). By"),
        ([("nuclear-norm", 0.05, 0.03, 0.07), ("fourier-rank", 0.0, -0.01, 0.01)],
         "Of 2 penalties with updates in the range of L2's, 1 lie within 2 points", "Above the curve, in points: nuclear norm"),
        # Off the curve, but by less than matters: both are said.
        ([("nuclear-norm", 0.01, 0.005, 0.015)], "1 lie within 2 points of L2's curve with their whole interval, 0 lie below it, 1 above, and 0",
         "does not explain all"),
    ],
)  # fmt: skip
def test_what_is_said_follows_from_the_intervals(rows, counted, said):
    finding, off = one_curve.told(away(*rows), 0.02, NAMES)
    assert counted in finding and said in off


def test_every_setting_with_an_update_is_drawn_once():
    swept = pd.DataFrame(
        [("l2-matched", "l2-matched regularizer.strength=0.1", "L2", 0.3, 0.2, 0.4, 5.0),
         ("l2-matched", "l2-matched regularizer.strength=1.0", "L2", 0.3, 0.2, 0.4, 0.01)],
        columns=["setting", "label", "arm", "rate", "low", "high", "size"])  # fmt: skip
    verdicts = verdict_tables.table(
        (arm, seed, "nanobench-java", "java", f"{task}", task % 2 == 0)
        for arm in ("lora", "l2-norm", "nuclear-norm", "sophia", "fourier-rank")
        for seed in (1, 2)
        for task in range(20)
    )
    sizes = pd.Series({"lora": 15.0, "l2-norm": 5.2, "nuclear-norm": 5.1, "sophia": 9.0})
    drawn = one_curve.points(swept, verdicts, sizes, NAMES, seed=0).set_index("label")
    # Vanished: the second of L2. No penalty and not plain LoRA: Sophia. No size: fourier-rank.
    assert list(drawn.index) == [
        "l2-matched regularizer.strength=0.1",
        "nuclear-norm",
        "l2-norm",
        "lora",
    ]
    assert list(drawn["arm"]) == ["L2", "other penalties", "L2", "plain LoRA"]
    assert list(drawn["setting"]) == ["l2-matched", "nuclear-norm", "l2-matched", "lora"]
    assert drawn.loc["lora", "rate"] == pytest.approx(0.5) and drawn.loc["lora", "size"] == 15.0


def test_predictions_of_equal_size_are_told_as_far_as_they_ran():
    ids = list(one_curve.EQUAL)
    claims = pd.DataFrame(
        {"statement": ["L2 of equal norm gives the same Java.", "s gives", "t gives"]}, index=ids
    )
    state = pd.DataFrame(
        {"difference": 0.012, "low": -0.01, "high": 0.03, "verdict": ["cannot tell", "not run", "not run"]}, index=ids
    )  # fmt: skip
    assert one_curve.at_equal_size(claims, state).endswith(
        "as follows: L2 of equal norm: +1.2 points (−1.0 to +3.0), cannot tell."
    )
    state["verdict"] = "not run"
    assert (
        one_curve.at_equal_size(claims, state) == "The penalties of equal size have not been run."
    )
