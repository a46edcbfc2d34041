"""Rates by the number of operations."""

from __future__ import annotations

import pandas as pd
import pytest

from flexlib.nanobench.benchmark import load_split
from flexlib.study import harder


def made_up() -> pd.DataFrame:
    """Of the base nothing passes; of LoRA's two seeds the second passes what has 2, 4 or 8 operations."""
    rows = [
        (
            arm,
            seed,
            benchmark,
            "python",
            r["task_id"],
            seed == 2 and len(r["operations"]) in (2, 4, 8),
        )
        for split, benchmark, tail in (
            ("test", "nanobench-python", ""),
            ("hard", "nanobench-hard-python", " harder-tasks"),
        )
        for arm, seed in ((f"base{tail}", 0), (f"lora{tail}", 1), (f"lora{tail}", 2))
        for r in load_split(split)
    ]
    columns = ["arm", "seed", "benchmark", "language", "task_id", "passed"]
    table = pd.DataFrame(rows, columns=columns)
    return table.assign(
        sample=0, run_id="r", verdict=table["passed"].map({True: "pass", False: "wrong"})
    )


def test_rates_by_operations_join_the_test_split_and_the_harder_tasks():
    table = harder.by_operations(made_up(), ["base", "lora"], "python", seed=0, n_resamples=200)
    lora = table[table["arm"] == "lora"].set_index("operations")
    assert lora["pass_at_k"].to_dict() == {2: 0.5, 3: 0.0, 4: 0.5, 7: 0.0, 8: 0.5}
    assert lora["tasks"].tolist() == [266, 171, 60, 100, 100] and set(lora["seeds"]) == {2}
    assert (lora["low"] <= lora["pass_at_k"]).all() and (lora["pass_at_k"] <= lora["high"]).all()
    base = table[table["arm"] == "base"]
    assert set(base["seeds"]) == {1} and base["pass_at_k"].max() == 0


def test_what_was_not_run_is_left_out():
    verdicts = made_up()
    test_only = verdicts[~verdicts["arm"].str.contains("harder")]
    table = harder.by_operations(test_only, ["lora", "lion"], "python", seed=0, n_resamples=50)
    assert table["operations"].tolist() == pytest.approx([2, 3, 4])
    assert harder.by_operations(verdicts, ["lora"], "java", seed=0).empty


def test_the_highest_rate_is_that_of_an_arm_over_its_seeds_on_the_hard_tasks_alone():
    assert harder.highest(made_up()) == pytest.approx(0.25)  # one level of two, in one seed of two
    only_easy = made_up().query("benchmark == 'nanobench-python'")
    assert harder.highest(only_easy) != harder.highest(only_easy)
