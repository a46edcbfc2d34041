"""The numbers of the abstract are those of the published table and of the stored runs."""

from __future__ import annotations

import pandas as pd
import pytest
import verdict_tables

from flexlib.book import abstract, landing
from flexlib.study import claims, paper

RUNS = verdict_tables.table(
    (arm, seed, "nanobench-java", "java", f"{task}", task % 10 < share)
    for arm, share, seeds in (("base", 4, (0,)), ("lora", 8, (1, 2)))
    for seed in seeds
    for task in range(40)
).assign(profile="nano")


@pytest.fixture(scope="module")
def states():
    return {"nano": (paper.claims("nano"), claims.state("nano", seed=0))}


def test_published_gains_are_those_of_the_published_table(states):
    said = abstract.values(RUNS, states, "nano", seed=0)
    assert said["c3-base-gain"] == pytest.approx(42.1 - 34.2)
    assert said["c3-lora-gain"] == pytest.approx(42.1 - 31.5)
    best = states["nano"][1].loc["C3-best-lora", "verdict"]
    assert said["best"].endswith(best if best == "not run yet" else f"verdict: {best}")
    assert said["real-penalty"] == "not run yet"  # the real model has no state here
    assert said["control"] == "renumbered" and said["control-java"].endswith("(not run)")
    assert said["lora-java"].startswith("by +40.0 points (")
    assert said["penalty-java"].endswith("(not run)")


def test_the_control_is_the_better_of_those_that_ran(states):
    lora = RUNS[RUNS["arm"] == "lora"]
    permuted, units = (lora.assign(arm=arm) for arm in ("fourier-permuted", "fourier-units"))
    said = abstract.values(pd.concat([RUNS, permuted]), states, "nano", seed=0)
    assert said["control"] == landing.CONTROLS["fourier-permuted"]
    said = abstract.values(pd.concat([RUNS, permuted, units]), states, "nano", seed=0)
    assert said["control"] == landing.CONTROLS["fourier-units"]


def test_what_an_arm_changes_in_a_sentence(states):
    _, state = states["nano"]
    told = abstract.changes(RUNS, state, "lora", "base", seed=0)
    assert told.startswith("by +40.0 points (")
    assert told.endswith("), n = 40 tasks and 2 seeds")  # of a registered claim
    other = abstract.changes(RUNS.replace("lora", "dora"), state, "dora", "base", seed=0)
    assert other.endswith(" seeds, exploratory")
    assert abstract.changes(RUNS, state, "dora", "base", seed=0).endswith("(not run)")
