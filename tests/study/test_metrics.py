"""Rates and intervals against enumeration, other libraries, and refusals."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, binomtest

from flexlib.errors import FlexError
from flexlib.study import metrics


@given(
    st.integers(1, 8).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(1, n)))
)
def test_pass_at_k_is_the_chance_that_k_of_the_samples_hold_a_correct_one(case):
    n, c, k = case
    samples = [i < c for i in range(n)]
    subsets = list(combinations(samples, k))
    enumerated = sum(any(s) for s in subsets) / len(subsets)
    assert metrics.pass_at_k(n, c, k) == pytest.approx(enumerated, abs=1e-12)


def test_pass_at_k_is_unbiased_for_the_chance_that_k_draws_hold_a_correct_one():
    n, k, p = 10, 4, 0.3
    c = np.arange(n + 1)
    expectation = (binom.pmf(c, n, p) * metrics.pass_at_k(np.full(n + 1, n), c, k)).sum()
    assert expectation == pytest.approx(1 - (1 - p) ** k, abs=1e-12)


@pytest.mark.parametrize(
    ("n", "c", "k", "message"),
    [
        (3, 1, 5, "needs at least 5 samples"),
        ([10, 9], [1, 1], 10, "found 9"),
        (3, 1, 0, "not defined"),
        (3, 4, 1, "corrupt"),
        ([], [], 1, "no problems"),
    ],
)
def test_pass_at_k_refuses(n, c, k, message):
    with pytest.raises(FlexError, match=message):
        metrics.pass_at_k(n, c, k)


@pytest.mark.parametrize(
    ("successes", "trials"), [(0, 5), (3, 7), (54, 158), (63, 164), (164, 164)]
)
def test_intervals_agree_with_scipy(successes, trials):
    for ours, method in (
        (metrics.wilson_interval, "wilson"),
        (metrics.clopper_pearson_interval, "exact"),
    ):
        theirs = binomtest(successes, trials).proportion_ci(0.95, method=method)
        assert ours(successes, trials) == pytest.approx((theirs.low, theirs.high), abs=1e-9)


def test_wilson_solves_the_score_equation():
    # The definition, independent of any library: |p_hat - p| = z sqrt(p (1 - p) / n) at the bounds.
    p_hat, n, z = 54 / 158, 158, 1.959963984540054
    for bound in metrics.wilson_interval(54, 158):
        assert abs(p_hat - bound) == pytest.approx(z * np.sqrt(bound * (1 - bound) / n), abs=1e-9)


def test_intervals_refuse_impossible_counts():
    for successes, trials in ((5, 3), (-1, 3), (0, 0)):
        with pytest.raises(FlexError, match="interval needs"):
            metrics.wilson_interval(successes, trials)


def verdict_table(cells):
    """Rows (arm, seed, task, sample, verdict) to the store's tidy table."""
    table = pd.DataFrame(cells, columns=["arm", "seed", "task_id", "sample", "verdict"])
    return table.assign(
        run_id="r",
        benchmark="nanobench-java",
        language="java",
        detail="",
        passed=table["verdict"] == "pass",
    )


GOOD = verdict_table(
    [
        ("lora", 0, "a", 0, "pass"),
        ("lora", 0, "a", 1, "wrong"),
        ("lora", 0, "b", 0, "timeout"),
        ("lora", 0, "b", 1, "wrong"),
        ("lora", 1, "a", 0, "pass"),
        ("lora", 1, "a", 1, "pass"),
        ("lora", 1, "b", 0, "pass"),
        ("lora", 1, "b", 1, "wrong"),
    ]
)


def test_counts_by_run():
    table = metrics.counts(GOOD).set_index("seed")
    assert table.loc[0, ["tasks", "samples", "passed"]].tolist() == [2, 4, 1]
    assert table["pass_at_k"].tolist() == [0.25, 0.75]
    assert (table["low"] < table["pass_at_k"]).all() and (table["pass_at_k"] < table["high"]).all()
    assert metrics.counts(GOOD, k=2).set_index("seed")["pass_at_k"].tolist() == [0.5, 1.0]


def test_counts_refuse_what_would_flatter():
    with pytest.raises(FlexError, match="needs at least 3 samples"):
        metrics.counts(GOOD, k=3)
    with pytest.raises(FlexError, match="seed 1: 1 of 2 problems have no verdict"):
        metrics.counts(GOOD[~((GOOD.seed == 1) & (GOOD.task_id == "b"))])
    with pytest.raises(FlexError, match=r"1 of 3 problems have no verdict .first: c"):
        metrics.counts(GOOD, expected={"nanobench-java": ["a", "b", "c"]})
    with pytest.raises(FlexError, match="counted twice"):
        metrics.counts(pd.concat([GOOD, GOOD]))
    with pytest.raises(FlexError, match="no verdicts to count"):
        metrics.counts(GOOD.iloc[:0])


def unjudged(table: pd.DataFrame, **where) -> pd.DataFrame:
    """The table with a harness error in the first row of some seed and task."""
    row = table.index[(table[list(where)] == pd.Series(where)).all(axis=1)][0]
    changed = table.copy()
    changed.loc[row, ["verdict", "passed"]] = ["harness_error", False]
    return changed


def test_a_problem_with_a_harness_error_is_left_out_of_every_run():
    broken = unjudged(GOOD, seed=1, task_id="b")
    table = metrics.counts(broken, expected={"nanobench-java": ["a", "b"]}).set_index("seed")
    assert table["tasks"].tolist() == [1, 1]
    assert table["pass_at_k"].tolist() == [0.5, 1.0]  # of problem a
    other = broken.assign(arm="other")
    both = pd.concat([GOOD, other])
    for arm in ("lora", "other"):  # also of the arm that was judged whole
        assert metrics.solve_matrix(both, arm, "nanobench-java").index.tolist() == ["a"]
    elsewhere = pd.concat([GOOD, other.assign(benchmark="nanobench-cpp")])
    assert len(metrics.solve_matrix(elsewhere, "lora", "nanobench-java")) == 2


def test_many_harness_errors_are_no_rate():
    every = pd.concat([GOOD.assign(task_id=GOOD["task_id"] + str(i)) for i in range(100)])
    every = every.reset_index(drop=True)
    for i in range(2):  # of 200 problems
        every = unjudged(every, seed=0, task_id=f"a{i}")
    assert metrics.counts(every)["tasks"].tolist() == [198, 198]
    with pytest.raises(FlexError, match=r"3 of 200 problems .* not failures; `flexlib regrade r`"):
        metrics.counts(unjudged(every, seed=1, task_id="a7"))
    with pytest.raises(FlexError, match="1 of 1 problems"):
        metrics.counts(unjudged(GOOD[GOOD["task_id"] == "a"], seed=0, task_id="a"))


def test_solve_matrix_is_tasks_by_seeds():
    matrix = metrics.solve_matrix(GOOD, "lora", "nanobench-java")
    assert matrix.index.tolist() == ["a", "b"] and matrix.columns.tolist() == [0, 1]
    assert matrix.to_numpy().tolist() == [[0.5, 1.0], [0.0, 0.5]]
    with pytest.raises(FlexError, match="no verdicts of arm base"):
        metrics.solve_matrix(GOOD, "base", "nanobench-java")


def test_composition_shares_sum_to_one():
    table = metrics.composition(GOOD, by="seed")
    assert table.groupby("seed")["share"].sum().tolist() == pytest.approx([1, 1])
    assert table.set_index(["seed", "verdict"])["count"].to_dict() == {
        (0, "pass"): 1,
        (0, "timeout"): 1,
        (0, "wrong"): 2,
        (1, "pass"): 3,
        (1, "wrong"): 1,
    }


def test_benchmarks_that_share_a_task_are_not_pooled():
    other = GOOD.assign(benchmark="nanobench-cpp")
    pool = "nanobench-java + nanobench-cpp"
    apart = pd.concat([GOOD, other.assign(task_id=other["task_id"].map({"a": "c", "b": "d"}))])
    assert metrics.solve_matrix(apart, "lora", pool).index.tolist() == ["a", "b", "c", "d"]
    one = pd.concat([GOOD, other.assign(task_id=other["task_id"].map({"a": "c", "b": "b"}))])
    with pytest.raises(FlexError, match=r"nanobench-cpp cannot be pooled: both have the task b"):
        metrics.solve_matrix(one, "lora", pool)
