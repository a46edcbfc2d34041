"""One number a run of how alike twins are, and the claims on it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from flexlib.study import hidden, inference, paper

ARMS = {"base": [0], "lora": range(1, 11), "fourier-released": range(1, 11)}


def claims(**changes) -> pd.DataFrame:
    claim = {
        "id": "X",
        "treatment": "lora",
        "control": "base",
        "benchmark": hidden.benchmark("nano"),
    }
    return pd.DataFrame([claim | {"metric": "twin-retrieval"} | changes])


def numbers(values: dict[str, list[float]], metric: str = "twin-retrieval") -> pd.DataFrame:
    rows = [(a, s, v) for a, of in values.items() for s, v in zip(ARMS[a], of, strict=False)]
    table = pd.DataFrame(rows, columns=["arm", "seed", "value"])
    return table.assign(benchmark=hidden.benchmark("nano"), metric=metric)


def verdicts(passed: dict[int, int], arm: str = "lora") -> pd.DataFrame:
    """Of 20 tasks in Java so many pass, by seed; in Python none."""
    rows = [
        (arm, seed, "nanobench-java", f"t{i}", i < count, "pass" if i < count else "wrong")
        for seed, count in passed.items()
        for i in range(20)
    ]
    rows += [(arm, seed, "nanobench-python", "t0", False, "wrong") for seed in passed]
    return pd.DataFrame(rows, columns=["arm", "seed", "benchmark", "task_id", "passed", "verdict"])


NONE = verdicts({})


@pytest.mark.parametrize(("depth", "expected"), [(5, [2, 3]), (24, list(range(9, 16))), (3, [])])
def test_the_middle_is_the_second_third_of_the_depth(depth, expected):
    rows = pd.DataFrame({"layer": range(depth + 1)})
    assert hidden.middle(rows)["layer"].tolist() == expected


def test_the_numbers_of_a_run_are_means_over_its_middle_layers(monkeypatch):
    rows = pd.DataFrame(
        [
            (
                "lora",
                1,
                state,
                layer,
                quantity,
                layer + 10 * (quantity == "cka") + 100 * (state == "mean"),
            )
            for state in ("last", "mean")
            for layer in range(6)
            for quantity in ("cka", "retrieval", "probe")
        ],
        columns=["arm", "seed", "state", "layer", "quantity", "value"],
    )
    monkeypatch.setattr(hidden.analysis, "read", lambda name, folder, profile: rows)
    table = hidden.table(profile="nano")
    assert table.set_index("metric")["value"].to_dict() == {"twin-retrieval": 2.5, "twin-cka": 12.5}


def test_an_arm_is_compared_with_the_one_run_of_the_base_seed_by_seed():
    table = numbers({"base": [0.3], "lora": [0.5 + 0.01 * i for i in range(10)]})
    [found] = hidden.by_claim(claims(), table, NONE, seed=0).values()
    assert found.estimate == pytest.approx(0.245) and found.seeds == (10,)
    assert 0.2 < found.bound(0.025, 1) < 0.245 < found.bound(0.025, -1) < 0.3


def test_two_trained_arms_are_paired_by_seed():
    noise = [0.05 * (-1) ** i for i in range(10)]
    table = numbers({"lora": [0.5 + v for v in noise], "fourier-released": noise[:7]})
    pair = claims(treatment="fourier-released", control="lora")
    [found] = hidden.by_claim(pair, table, NONE, seed=0).values()
    assert found.estimate == pytest.approx(-0.5) and found.seeds == (7,)
    assert found.bound(0.001, -1) == pytest.approx(-0.5)  # without noise once paired
    assert hidden.by_claim(claims(control="l2-norm"), table, NONE, seed=0) == {}
    assert hidden.by_claim(claims(metric="update-norm"), table, NONE, seed=0) == {}


def test_transfer_goes_with_retrieval_by_ranks_over_the_seeds():
    counts = [3, 4, 2, 9, 8, 10, 12, 11, 20, 5]
    retrieved = [0.1, 0.3, 0.2, 0.5, 0.4, 0.9, 0.7, 0.8, 0.6, 0.35]
    table = numbers({"base": [0.3], "lora": retrieved})
    asked = claims(metric=hidden.CORRELATION)
    judged = verdicts(dict(zip(ARMS["lora"], counts, strict=True)))
    [found] = hidden.by_claim(asked, table, judged, seed=0).values()
    assert found.estimate == pytest.approx(spearmanr(counts, retrieved).statistic)
    assert found.seeds == (10, 10)
    assert found.tail(0.0, 1) < 0.01 < found.tail(0.9, 1)
    with_base = {"control": "base", "kind": "prediction", "direction": "greater", "test": "x"}
    claim = asked.assign(**with_base, smallest_effect=0.3, alpha=0.05, family="f", minimum_n=10)
    row = inference.assess(claim, judged, seed=0, measured={"X": found}).iloc[0]
    assert row["verdict"] == "confirmed" and row["seeds"] == 10
    flat = numbers({"base": [0.3], "lora": [0.5] * 10})
    assert hidden.by_claim(asked, flat, judged, seed=0) == {}
    assert hidden.by_claim(asked, table, NONE, seed=0) == {}


def test_the_interval_of_a_rank_correlation_holds_what_it_should():
    """Of normal pairs, whose rank correlation is known (Kruskal 1958), at the level that it claims."""
    rng = np.random.default_rng(0)
    for r in (0.0, 0.6):
        true = 6 / np.pi * np.arcsin(r / 2)
        inside = 0
        for _ in range(600):
            x = rng.normal(size=20)
            y = r * x + np.sqrt(1 - r * r) * rng.normal(size=20)
            found = hidden.correlated(pd.Series(x), pd.Series(y))
            inside += found.bound(0.025, 1) < true < found.bound(0.025, -1)
        assert 0.92 < inside / 600 < 0.98


@pytest.mark.parametrize("level", [0.001, 0.025, 0.3])
@pytest.mark.parametrize("estimate", [-1.0, -0.2, 0.7, 1.0])
def test_its_bounds_and_tails_agree(estimate, level):
    found = hidden.RankCorrelation(estimate, 12)
    for side in (1, -1):
        bound = found.bound(level, side)
        assert (
            found.tail(bound, side) == pytest.approx(level, rel=1e-2, abs=1e-6)
            or abs(bound) > 0.999
        )
        assert side * bound < side * estimate + 1e-9


def test_few_seeds_have_no_normal_correlation():
    few = pd.Series(range(9), dtype=float)
    assert hidden.correlated(few, few) is None
    assert hidden.correlated(pd.Series(range(10)), pd.Series(range(10))).n == 10


def test_languages_are_compared_on_the_seeds_that_all_trained_arms_have(monkeypatch):
    rows = pd.DataFrame(
        [
            {"arm": arm, "seed": seed, "first": "python", "second": "java", "layer": 1,
             "quantity": quantity, "value": seed / 10}
            for arm, seeds in (("fourier-released", (2, 3)), ("lora", (1, 2, 3)), ("base", (0,)), ("l2", (2,)))
            for seed in seeds
            for quantity in ("retrieval", "cka")
        ]
    )  # fmt: skip
    monkeypatch.setattr(hidden.analysis, "read", lambda name, folder, profile: rows)
    arms = ["base", "lora", "fourier-released"]
    found = hidden.by_languages(profile="nano", arms=arms)
    assert list(found["arm"]) == arms
    assert list(found["value"]) == pytest.approx([0, 0.25, 0.25])
    assert list(found["seeds"]) == [1, 2, 2]
    alone = hidden.by_languages(profile="nano", arms=["base", "lora"])
    assert list(alone["value"]) == pytest.approx([0, 0.2])
    rows = rows.query("arm == 'base'")
    assert list(hidden.by_languages(profile="nano", arms=arms)["arm"]) == ["base"]
    rows = rows.iloc[:0]
    assert hidden.by_languages(profile="nano", arms=arms).empty


def test_the_registered_claims_are_on_metrics_that_there_are():
    for profile in ("nano", "small"):
        of = paper.claims(profile).query("family.str.contains('hidden')")
        assert len(of) and (of["benchmark"] == hidden.benchmark(profile)).all()
        assert set(of["metric"]) <= set(hidden.METRICS)
    assert hidden.benchmark("nano") != hidden.benchmark("small") == hidden.benchmark("paper")


def test_the_correlation_within_arms_is_not_that_between_them():
    """Within each arm both fall together against each other; between arms both rise."""
    index = pd.MultiIndex.from_product([["a", "b"], range(8)], names=["arm", "seed"])
    rng = np.random.default_rng(0)
    noise = rng.normal(size=16)
    level = np.repeat([0.0, 100.0], 8)
    first = pd.Series(level + noise, index)
    second = pd.Series(level - noise + 0.8 * rng.normal(size=16), index)
    assert spearmanr(first, second).statistic > 0.3
    each = [spearmanr(first[arm], second[arm]).statistic for arm in "ab"]
    found = hidden.within_arms(first, second, seed=0)
    assert found.estimate == pytest.approx(np.mean(each)) and found.estimate < -0.3
    assert found.low < found.estimate < found.high and found.seeds == (8,)
    fewer = hidden.within_arms(first[:-3], second, seed=0)  # an arm with other seeds counts as much
    shorter = spearmanr(first["b"][:-3], second["b"][:-3]).statistic
    assert fewer.estimate == pytest.approx((each[0] + shorter) / 2)
    assert hidden.within_arms(first.loc[["a"]][:3], second, seed=0) is None
    assert hidden.within_arms(first * 0, second, seed=0) is None
    alone = pd.concat(
        [first, pd.Series([7.0], pd.MultiIndex.from_tuples([("base", 0)], names=["arm", "seed"]))]
    )
    assert hidden.within_arms(alone, alone * 0 + second, seed=0).estimate == found.estimate
