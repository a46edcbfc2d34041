"""The contract of inference, against enumeration, closed forms and simulation."""

from dataclasses import dataclass
from itertools import chain, combinations
from statistics import NormalDist

import numpy as np
import pandas as pd
import pytest
from scipy.stats import beta, binomtest, norm, ttest_1samp

from flexlib.errors import FlexError
from flexlib.study import inference, metrics, paper, stats

STANDARD = NormalDist()  # many times as quick as scipy's


@dataclass(frozen=True)
class Normal:
    """An effect whose estimate is normal with a known standard error."""

    estimate: float
    se: float = 1.0
    tasks: int = 1
    seeds: tuple[int, ...] = (10,)
    bases: int = 1
    floor: float = 0.0

    def tail(self, null, side):
        return STANDARD.cdf(side * (null - self.estimate) / self.se)

    def bound(self, level, side):
        return self.estimate + side * STANDARD.inv_cdf(level) * self.se


CLAIM = {
    "kind": "claim",
    "minimum_n": 5,
    "alpha": 0.05,
    "smallest_effect": 0.02,
    "direction": "greater",
}


# --- families -----------------------------------------------------------------------------------


def closed(p_values):
    """Adjusted p-values by closed testing with Bonferroni on every intersection (Marcus et al. 1976)."""
    ids = list(p_values)
    subsets = list(chain.from_iterable(combinations(ids, n) for n in range(1, len(ids) + 1)))
    return {
        i: max(min(1, len(s) * min(p_values[j] for j in s)) for s in subsets if i in s) for i in ids
    }


def test_adjusted_p_values_are_those_of_closed_testing_on_either_side():
    rng = np.random.default_rng(1)
    for _ in range(40):
        effects = {f"c{i}": Normal(e) for i, e in enumerate(rng.normal(0.5, 2, 5))}
        table = inference.simultaneous(effects)
        sides = [closed({i: e.tail(0, s) for i, e in effects.items()}) for s in (1, -1)]
        for i in effects:
            expected = min(1, 2 * min(side[i] for side in sides))
            assert table.loc[i, "adjusted_p"] == pytest.approx(expected)


def test_never_less_strict_than_holm_on_two_sided_p_values():
    rng = np.random.default_rng(2)
    for _ in range(15):
        effects = {f"c{i}": Normal(e) for i, e in enumerate(rng.normal(0, 3, 6))}
        table = inference.simultaneous(effects)
        pooled = stats.holm(table["p_value"].to_dict())
        assert (table["adjusted_p"] >= pd.Series(pooled) - 1e-12).all()


def random_effects(rng, m):
    """Effects of every kind that the study has."""
    effects = {}
    for i in range(m):
        kind = rng.integers(4)
        if kind == 0:
            effects[f"c{i}"] = Normal(rng.normal(0, 3))
        elif kind == 1:
            n = int(rng.integers(4, 60))
            effects[f"c{i}"] = inference.seeds_that(rng.random(n) < rng.random())
        elif kind == 2:
            block = rng.normal(rng.normal(0, 0.5), 1, (int(rng.integers(1, 4)), 8))
            made = stats.paired_bootstrap(block, seed=i, n_resamples=1999)
            effects[f"c{i}"] = made
        else:
            effects[f"c{i}"] = inference.NoneDiffers(int(rng.integers(5, 400)))
    return effects


def test_interval_p_value_and_verdict_say_the_same():
    rng = np.random.default_rng(3)
    held = 0
    for _ in range(150):
        effects = random_effects(rng, int(rng.integers(1, 7)))
        kinds = ["greater", "less", "two-sided", "equivalent"]
        asked = {i: (str(rng.choice(kinds)), float(rng.choice([0.3, 2.0]))) for i in effects}
        table = inference.simultaneous(effects, asked)
        for i, row in table.iterrows():
            direction, margin = asked[i]
            significant = row["adjusted_p"] <= 0.05
            held += significant
            if direction == "equivalent":
                assert significant == (-margin < row["low"] and row["high"] < margin)
            else:
                assert significant == (row["low"] > 0 or row["high"] < 0)
            claim = CLAIM | {"direction": direction, "smallest_effect": margin}
            verdict = inference.decide(row["low"], row["high"], 10, claim=claim)
            right_way = direction in ("two-sided", "equivalent") or (
                effects[i].estimate > 0 if direction == "greater" else effects[i].estimate < 0
            )
            assert (verdict == "reproduced") == (significant and right_way)
    assert held > 50


TRUTHS = [
    # What is true of each claim, in standard errors: at the boundaries, where errors are likeliest.
    ([0.0] * 6, ["greater", "less", "two-sided"] * 2),
    ([2.0, -2.0, 2.0, 0.0, 6.0, 2.0], ["equivalent", "equivalent", "greater", "two-sided"] * 2),
    ([9.0, 9.0, 9.0, 0.0, 0.0, 2.0], ["greater", "two-sided", "equivalent"] * 2),
    ([2.0] * 6, ["equivalent"] * 3 + ["greater"] * 3),
]
MARGIN = 2.0  # the smallest effect of them all


def wrong(truth, direction, low, high):
    """Whether the verdict on a claim is wrong: what it says is not so."""
    claim = CLAIM | {"direction": direction, "smallest_effect": MARGIN, "minimum_n": 2}
    verdict = inference.decide(low, high, 10, claim=claim)
    way = -truth if direction == "less" else truth
    so = {
        "greater": {"reproduced": way > 0, "not reproduced": way < MARGIN},
        "less": {"reproduced": way > 0, "not reproduced": way < MARGIN},
        "two-sided": {"reproduced": way != 0, "not reproduced": abs(way) < MARGIN},
        "equivalent": {"reproduced": abs(way) < MARGIN, "not reproduced": abs(way) > MARGIN},
    }[direction]
    return not so.get(verdict, True)


def error_rates(truth, directions, adjusted, trials=1500, correlation=0.3):
    """In how many families is any verdict wrong, or any bound that shows nothing?"""
    rng = np.random.default_rng(5)
    asked = {str(i): (d, MARGIN) for i, d in enumerate(directions)}
    verdicts = bounds = 0
    for _ in range(trials):
        noise = np.sqrt(correlation) * rng.standard_normal()
        estimates = truth + noise + np.sqrt(1 - correlation) * rng.standard_normal(len(truth))
        effects = {i: Normal(e) for i, e in zip(asked, estimates, strict=True)}
        if adjusted:
            table = inference.simultaneous(effects, asked)
        else:
            alone = [inference.simultaneous({i: e}, asked) for i, e in effects.items()]
            table = pd.concat(alone)
        rows = list(zip(truth, directions, table["low"], table["high"], strict=True))
        verdicts += any(wrong(*row) for row in rows)
        # A bound that lies beyond its last null has shown what it could.
        last = {d: inference.nulls(d, MARGIN)[1][-1] for d in set(directions)}
        bounds += any(
            (low <= last[d] and low > t) or (high >= -last[d] and high < t)
            for t, d, low, high in rows
        )
    return verdicts, bounds, trials


@pytest.mark.parametrize(("truth", "directions"), TRUTHS)
def test_no_verdict_and_no_bound_of_a_family_is_wrong_in_95_of_100(truth, directions):
    truth, directions = np.array(truth), directions[:6]
    for count in error_rates(truth, directions, adjusted=True)[:2]:
        assert binomtest(count, 1500, 0.05, alternative="greater").pvalue > 0.01


def test_the_simulation_would_find_intervals_that_are_not_adjusted():
    nothing, margin = (np.array(truth) for truth, _ in (TRUTHS[0], TRUTHS[3]))
    verdicts = error_rates(nothing, TRUTHS[0][1], adjusted=False, trials=400)[0]
    bounds = error_rates(margin, TRUTHS[3][1], adjusted=False, trials=400)[1]
    for count in (verdicts, bounds):
        assert binomtest(count, 400, 0.05, alternative="greater").pvalue < 1e-3
    # And the adjusted ones spend what they may, where the tests are independent.
    count = error_rates(nothing, TRUTHS[0][1], adjusted=True, correlation=0.0)[0]
    assert binomtest(count, 1500, 0.035, alternative="less").pvalue > 0.01


@pytest.mark.parametrize("estimate", [-0.9, 0.0, 0.4, 1.6])
def test_equivalence_is_two_one_sided_tests(estimate):
    """Closed form of a normal estimate: p = 1 - Phi((margin - |estimate|) / se), at alpha / 2 a side."""
    margin, se = 1.5, 0.4
    table = inference.simultaneous({"a": Normal(estimate, se)}, {"a": ("equivalent", margin)})
    expected = 2 * norm.sf((margin - abs(estimate)) / se)
    assert table.loc["a", "adjusted_p"] == pytest.approx(min(1, expected))
    half = norm.ppf(0.975) * se
    assert (table.loc["a", "low"], table.loc["a", "high"]) == pytest.approx(
        (estimate - half, estimate + half)
    )
    holds = inference.decide(*table.loc["a", ["low", "high"]], 10, claim=CLAIM | {
        "direction": "equivalent", "smallest_effect": margin})  # fmt: skip
    assert (holds == "reproduced") == (abs(estimate) + half < margin)


def test_bootstrapped_equivalence_is_students():
    rng = np.random.default_rng(8)
    block = rng.normal(0.1, 1, (1, 40))
    effect = stats.paired_bootstrap(block, seed=1, n_resamples=40_000)
    table = inference.simultaneous({"a": effect}, {"a": ("equivalent", 0.6)})
    sides = (ttest_1samp(block[0], -0.6, alternative="greater").pvalue,
             ttest_1samp(block[0], 0.6, alternative="less").pvalue)  # fmt: skip
    assert table.loc["a", "adjusted_p"] == pytest.approx(2 * max(sides), rel=0.3)


def test_an_equivalence_and_a_superiority_share_a_family():
    """By hand: on the low side 0.01 (against 0) and 0.02 (against -1), so times 2 and times 1; on the high
    side .02 (against 1) and 1 - .01, so times 2 and times 1."""
    z = norm.isf
    equal, better = Normal(0.0, 1 / z(0.02)), Normal(z(0.01))
    asked = {"equal": ("equivalent", 1.0), "better": ("greater", 1.0)}
    table = inference.simultaneous({"equal": equal, "better": better}, asked)
    assert table.loc["better", "adjusted_p"] == pytest.approx(2 * 0.01 * 2)
    assert table.loc["equal", "adjusted_p"] == pytest.approx(2 * 0.02 * 2)


def test_an_equivalence_counts_until_it_is_shown_to_lie_beyond_a_margin():
    """`far` has shown all that it can and leaves; `near` is equivalent, and could still be beyond the margin, so
    two remain: 7 is 2 standard errors beyond, short of the 2.24 that it takes."""
    effects = {"near": Normal(0.0, 0.1), "far": Normal(20.0, 0.1), "middle": Normal(7.0, 1.0)}
    asked = dict.fromkeys(effects, ("equivalent", 5.0))
    table = inference.simultaneous(effects, asked)
    assert table["level_low"].tolist() == pytest.approx([0.025 / 2, 0.025 / 3, 0.025 / 2])
    claim = CLAIM | {"direction": "equivalent", "smallest_effect": 5.0}
    verdicts = [inference.decide(r.low, r.high, 10, claim=claim) for r in table.itertuples()]
    assert verdicts == ["reproduced", "not reproduced", "cannot tell"]


def test_a_claim_that_was_not_run_counts():
    table = inference.simultaneous({"a": Normal(3.0), "b": None})
    assert table.loc["a", "adjusted_p"] == pytest.approx(2 * 2 * norm.sf(3.0))
    assert table.loc["a", "level_low"] == pytest.approx(0.0125)
    assert np.isnan(table.loc["b", "low"]) and table.loc["b", "adjusted_p"] == 1


def test_a_bound_is_at_the_level_at_which_its_statement_was_tested():
    effects = {"first": Normal(5.0), "second": Normal(2.1), "third": Normal(0.5)}
    table = inference.simultaneous(effects)
    # Two are shown: at .025 / 3 and not at .025 / 2 (2.1 is short of 2.24), so both rest are at / 2.
    assert table["level_low"].tolist() == pytest.approx([0.025 / 3, 0.025 / 2, 0.025 / 2])
    assert table["level_high"].tolist() == pytest.approx([0.025 / 3] * 3)
    # Of equal p-values none is put first.
    equal = inference.simultaneous({"a": Normal(5.0), "b": Normal(5.0), "c": Normal(0.0)})
    assert equal["level_low"].tolist() == pytest.approx([0.025 / 3, 0.025 / 3, 0.025])


# --- verdicts -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("direction", "low", "high", "n", "verdict"),
    [
        ("greater", 0.05, 0.15, 5, "reproduced"),
        ("greater", 0.05, 0.15, 4, "cannot tell"),
        ("greater", -0.01, 0.21, 5, "cannot tell"),
        ("greater", -0.01, 0.01, 5, "not reproduced"),
        ("greater", -0.15, -0.05, 5, "not reproduced"),
        ("less", -0.15, -0.05, 5, "reproduced"),
        ("less", 0.05, 0.15, 5, "not reproduced"),
        ("less", -0.01, 0.30, 5, "not reproduced"),
        ("two-sided", -0.15, -0.05, 5, "reproduced"),
        ("two-sided", -0.01, 0.01, 5, "not reproduced"),
        ("two-sided", -0.03, 0.05, 5, "cannot tell"),
        ("equivalent", 0.005, 0.015, 5, "reproduced"),
        ("equivalent", -0.02, 0.01, 5, "cannot tell"),
        ("equivalent", -0.02, 0.04, 5, "cannot tell"),
        ("equivalent", 0.03, 0.07, 5, "not reproduced"),
        ("equivalent", -0.07, -0.03, 5, "not reproduced"),
    ],
)
def test_verdicts_by_the_registered_rule(direction, low, high, n, verdict):
    assert inference.decide(low, high, n, claim=CLAIM | {"direction": direction}) == verdict


def test_a_question_is_answered_and_a_prediction_confirmed():
    for kind, words in (
        ("question", ["yes", "no"]),
        ("prediction", ["confirmed", "not confirmed"]),
    ):
        claim = CLAIM | {"kind": kind}
        told = [inference.decide(*at, 5, claim=claim) for at in ((0.05, 0.15), (-0.01, 0.01))]
        assert told == words


# --- pairing ------------------------------------------------------------------------------------


def simulated_verdicts(rates, n_tasks=300, seeds=6, benchmark="nanobench-java", bases=None):
    """A verdict table in which each arm passes each task with a rate of its own."""
    rng = np.random.default_rng(5)
    difficulty = rng.random(n_tasks)
    rows = []
    for base in bases or [None]:
        for arm, rate in rates.items():
            for seed in range(1 if arm == "base" else seeds):
                passed = difficulty + 0.1 * rng.standard_normal(n_tasks) < rate
                rows.append(
                    pd.DataFrame(
                        {"task_id": [f"t{i:03}" for i in range(n_tasks)], "passed": passed}
                    ).assign(arm=arm, seed=seed, **({"base": base} if bases else {}))
                )
    table = pd.concat(rows, ignore_index=True)
    verdict = np.where(table["passed"], "pass", "wrong")
    return table.assign(
        verdict=verdict, sample=0, run_id="r", detail="", language="java", benchmark=benchmark
    )


def registered(**changes):
    fields = CLAIM | {
        "id": "A",
        "treatment": "lora",
        "control": "base",
        "family": "f",
        "metric": "pass@1",
        "benchmark": "nanobench-java",
    }
    return [fields | change for change in ({}, changes)]


@pytest.mark.parametrize(
    ("treatment", "control", "seeds"),
    [
        ("fourier", "lora", 2),  # those that both have
        ("lora", "base", 6),  # one run, with a seed that the other arm has too: with every seed
        ("base", "lora", 1),
        ("apart", "lora", 2),  # none in common: by task alone
    ],
)
def test_one_rule_of_pairing(treatment, control, seeds):
    verdicts = simulated_verdicts({"base": 0.3, "lora": 0.5, "fourier": 0.4, "apart": 0.4})
    few = verdicts["arm"].isin(["fourier", "apart"]) & ~verdicts["seed"].isin([1, 2])
    verdicts = verdicts[~few]
    verdicts = verdicts.assign(seed=verdicts["seed"] + 10 * (verdicts["arm"] == "apart"))

    first, second = (
        metrics.solve_matrix(verdicts, arm, "nanobench-java") for arm in (treatment, control)
    )
    if "base" in (treatment, control):  # paired with every seed: subtracted from each column
        block = first.to_numpy() - second.to_numpy()
    elif treatment == "fourier":
        block = (first - second)[[1, 2]].to_numpy()
    expected = (
        stats.paired_bootstrap(first, second, seed=3)
        if treatment == "apart"
        else stats.paired_bootstrap(block, seed=3)
    )
    interval = pytest.approx((expected.estimate, expected.low, expected.high))

    [contrast] = inference.contrasts(verdicts, [(treatment, control)], seed=3).to_dict("records")
    claims = pd.DataFrame(registered(treatment=treatment, control=control)[1:])
    [assessed] = inference.assess(claims, verdicts, seed=3).to_dict("records")
    every = pd.Series("all", index=first.index)
    grouped = inference.contrasts(verdicts, [(treatment, control)], seed=3, groups=every)
    for found in (contrast, assessed, grouped.iloc[1]):
        assert (found["difference"], found["low"], found["high"]) == interval
    assert contrast["seeds"] == seeds


def test_one_seed_in_common_pairs_by_task_alone():
    verdicts = simulated_verdicts({"lora": 0.3, "l2": 0.5}, n_tasks=20)
    last = verdicts["seed"].max() - verdicts["seed"].min()
    apart = verdicts.assign(seed=verdicts["seed"] + last * (verdicts["arm"] == "l2"))
    first, second = (metrics.solve_matrix(apart, arm, "nanobench-java") for arm in ("l2", "lora"))
    assert len(first.columns.intersection(second.columns)) == 1
    found = inference.contrast(apart, "l2", "lora", "nanobench-java", seed=3)
    expected = stats.paired_bootstrap(first, second, seed=3)
    assert found.seeds == (last + 1,) * 2 and found.draws.tolist() == expected.draws.tolist()


def test_arms_on_unlike_problems_are_refused():
    verdicts = simulated_verdicts({"base": 0.3, "lora": 0.5}, n_tasks=20)
    pairs = [("lora", "base"), ("l2", "lora")]  # l2 was not run
    assert inference.contrasts(verdicts, pairs, seed=3)["treatment"].tolist() == ["lora"]
    fewer = verdicts[(verdicts["arm"] == "base") | (verdicts["task_id"] != "t003")]
    claims = pd.DataFrame(registered()[:1])
    for found in (inference.contrasts, inference.assess):
        with pytest.raises(FlexError, match="different problems of nanobench-java"):
            arguments = (fewer, pairs) if found is inference.contrasts else (claims, fewer)
            found(*arguments, seed=3)
    with pytest.raises(FlexError, match="no verdicts of arm l2"):
        inference.contrast(verdicts, "l2", "lora", "nanobench-java", seed=3)


def test_one_number_a_run_is_paired_by_the_seeds_that_both_arms_have():
    treatment = pd.Series({4: 9.0, 1: 3.0, 2: 5.0, 6: np.nan, 7: 50.0})
    control = pd.Series({1: 1.0, 2: 2.0, 3: 100.0, 4: 3.0, 6: 8.0})
    found = inference.paired_by_seed(treatment, control, seed=0)
    assert found.estimate == pytest.approx((2 + 3 + 6) / 3) and found.seeds == (3,)
    direct = stats.paired_bootstrap([[2.0, 3.0, 6.0]], seed=0)  # of seeds 1, 2 and 4
    assert found.draws.tolist() == direct.draws.tolist()
    constant = inference.paired_by_seed(control + 0.5, control, seed=0)
    assert (constant.low, constant.high) == pytest.approx(
        (0.5, 0.5)
    )  # what all seeds share is gone
    single = inference.paired_by_seed(treatment, 2.0, seed=0)  # one run, with every seed
    assert single.estimate == pytest.approx((7 + 1 + 3 + 48) / 4) and single.seeds == (4,)
    assert inference.paired_by_seed(treatment[[4]], control, seed=0) is None
    assert inference.paired_by_seed(treatment[[7]], control, seed=0) is None
    assert inference.paired_by_seed(treatment, np.nan, seed=0) is None


def test_bases_are_a_third_factor():
    verdicts = simulated_verdicts({"base": 0.3, "lora": 0.5}, n_tasks=80, bases=["a", "b", "c"])
    effect = inference.contrast(verdicts, "lora", "base", "nanobench-java", seed=3)
    assert (effect.tasks, effect.seeds, effect.bases) == (80, (6, 1), 3)
    by_base = [
        inference.contrast(verdicts[verdicts["base"] == name], "lora", "base", "nanobench-java", seed=3)
        for name in "abc"
    ]  # fmt: skip
    assert effect.estimate == pytest.approx(np.mean([e.estimate for e in by_base]))
    assert {e.bases for e in by_base} == {1}
    # An arm is compared with its control on the same base, and on bases that both have.
    shift = pd.Series({"a": 0.3, "b": 0.0, "c": -0.3})
    rows = [
        {"arm": arm, "base": base, "seed": seed, "task_id": f"t{task}", "sample": sample,
         "passed": sample < 10 * (0.4 + shift[base] + 0.1 * (arm == "lora")) - 1e-9,
         "verdict": "pass", "benchmark": "b", "language": "java", "run_id": "r"}
        for arm in ("base", "lora") for base in "abc" for task in range(4)
        for seed in range(3 if arm == "lora" else 1) for sample in range(10)
        if arm == "base" or base != "c"
    ]  # fmt: skip
    exact = inference.contrast(pd.DataFrame(rows), "lora", "base", "b", seed=3)
    assert (exact.estimate, exact.low, exact.high) == pytest.approx((0.1, 0.1, 0.1))
    assert exact.bases == 2
    apart = pd.DataFrame(rows)
    apart = apart[(apart["arm"] == "base") == (apart["base"] == "c")]
    with pytest.raises(FlexError, match="no base model in common"):
        inference.contrast(apart, "lora", "base", "b", seed=3)


def test_seeds_that_only_some_bases_have_do_not_count():
    verdicts = simulated_verdicts({"base": 0.3, "lora": 0.5}, n_tasks=30, bases=["a", "b"])
    fewer = verdicts[(verdicts["base"] == "a") | verdicts["seed"].isin([0, 2])]
    effect = inference.contrast(fewer, "lora", "base", "nanobench-java", seed=3)
    assert effect.seeds == (2, 1)
    none = verdicts[(verdicts["base"] == "a") == verdicts["seed"].isin([0, 2])]
    none = pd.concat([none[none["arm"] == "lora"], verdicts[verdicts["arm"] == "base"]])
    with pytest.raises(FlexError, match="lora has no seed that was run on every base"):
        inference.contrast(none, "lora", "base", "nanobench-java", seed=3)


# --- one run each -------------------------------------------------------------------------------


def test_two_runs_are_compared_by_the_exact_mcnemar_test():
    verdicts = simulated_verdicts({"base": 0.5, "base chat": 0.55}, n_tasks=200, seeds=1)
    effect = inference.contrast(verdicts, "base chat", "base", "nanobench-java", seed=0)
    first, second = (
        metrics.solve_matrix(verdicts, arm, "nanobench-java").to_numpy().ravel()
        for arm in ("base chat", "base")
    )
    won, lost = int((first > second).sum()), int((first < second).sum())
    assert won and lost
    exact = binomtest(won, won + lost)  # McNemar's test is the sign test of the discordant
    assert effect.estimate == pytest.approx(first.mean() - second.mean())
    table = inference.simultaneous({"a": effect})
    assert table.loc["a", "adjusted_p"] == pytest.approx(exact.pvalue)
    assert table.loc["a", "low"] <= effect.estimate <= table.loc["a", "high"]
    # Two runs with several samples a problem have rates, no verdicts, and are bootstrapped.
    twice = pd.concat([verdicts, verdicts.assign(sample=1, passed=~verdicts["passed"])])
    again = inference.contrast(twice, "base chat", "base", "nanobench-java", seed=0)
    assert isinstance(again, stats.Bootstrap)


def test_two_runs_that_differ_on_few_problems_may_differ_by_more_than_these():
    """Given the discordance alone, three differing problems of 164 would bound the difference by 3 / 164."""
    rows = simulated_verdicts({"base": 0.5, "base chat": 0.5}, n_tasks=164, seeds=1)
    base = rows[rows["arm"] == "base"]
    tasks = base["task_id"].unique()
    solved = base["task_id"].isin(tasks[:100])
    other = base["task_id"].isin(tasks[2:101])  # two lost, one won
    pair = pd.concat([base.assign(passed=solved), base.assign(arm="base chat", passed=other)])
    effect = inference.contrast(pair, "base chat", "base", "nanobench-java", seed=0)
    assert (effect.won, effect.lost, effect.tasks) == (1, 2, 164)
    assert effect.bound(0.025, 1) < -4 / 164 and effect.bound(0.025, -1) > 2 / 164


def test_exact_tails_are_those_of_enumeration():
    for k, n in ((0, 10), (3, 10), (10, 10)):
        effect = inference.seeds_that([True] * k + [False] * (n - k))
        for null in (-0.5, -0.2, 0.0, 0.3, 0.5):
            for side, way in ((1, "greater"), (-1, "less")):
                expected = binomtest(k, n, null + 0.5, alternative=way).pvalue
                assert effect.tail(null, side) == pytest.approx(expected)
        share = binomtest(k, n).proportion_ci(0.95, method="exact")
        assert effect.bound(0.025, 1) == pytest.approx(share.low - 0.5)
        assert effect.bound(0.025, -1) == pytest.approx(share.high - 0.5)


def test_runs_that_agree_everywhere_are_no_proof_of_equality():
    verdicts = simulated_verdicts({"base": 0.5, "other": 0.5}, n_tasks=40, seeds=1)
    same = verdicts.assign(passed=verdicts["task_id"] < "t020")
    effect = inference.contrast(same, "other", "base", "nanobench-java", seed=0)
    assert effect.estimate == 0 and effect.tail(0, 1) == 1
    # The chance of no problem in 40 that one alone solves, if 5 % were such.
    assert effect.tail(-0.05, 1) == pytest.approx(0.95**40)
    assert effect.bound(0.025, -1) == pytest.approx(1 - 0.025 ** (1 / 40))
    assert effect.bound(0.025, 1) == -effect.bound(0.025, -1)


# --- claims -------------------------------------------------------------------------------------


def test_assess_tests_what_was_run_and_says_what_was_not():
    claims = pd.DataFrame(registered(id="B", treatment="fourier")).set_index("id", drop=False)
    table = inference.assess(claims, simulated_verdicts({"base": 0.3, "lora": 0.5}), seed=1)
    table = table.set_index("id")
    assert table.loc["A", "verdict"] == "reproduced" and table.loc["B", "verdict"] == "not run"
    assert table.loc["A", "difference"] == pytest.approx(0.2, abs=0.05)
    assert table.loc["A", ["tasks", "seeds"]].tolist() == [300, 6]
    # Two claims in the family: the one not run still counts in the adjustment.
    assert table.loc["A", "adjusted_p"] == pytest.approx(2 * table.loc["A", "p_value"])


def test_assess_without_an_effect_claims_none():
    claims = pd.DataFrame(registered(id="B", control="fourier")).set_index("id", drop=False)
    verdicts = simulated_verdicts({"base": 0.4, "lora": 0.4, "fourier": 0.4}, n_tasks=3000)
    table = inference.assess(claims, verdicts, seed=1).set_index("id")
    assert table.loc["B", "verdict"] == "not reproduced"
    assert (table["low"] < 0.02).all() and (table["detectable"] > 0).all()


def test_a_claim_on_two_benchmarks_is_tested_once_both_have_runs():
    one = simulated_verdicts({"base": 0.3, "lora": 0.5}, n_tasks=40)
    two = one.assign(benchmark="more", task_id="m" + one["task_id"])
    benchmark = f"{one['benchmark'].iloc[0]} + more"
    _, claim = registered(id="B", benchmark=benchmark)
    claims = pd.DataFrame([claim])
    both = inference.assess(claims, pd.concat([one, two]), seed=1).iloc[0]
    assert both["tasks"] == 80 and both["verdict"] != "not run"
    assert set(inference.assess(claims, one, seed=1)["verdict"]) == {"not run"}


def test_assess_of_an_empty_store_and_of_unequal_alphas():
    verdicts = simulated_verdicts({"base": 0.4, "lora": 0.4}, n_tasks=20)
    claims = pd.DataFrame(registered(id="B"))
    assert set(inference.assess(claims, verdicts.iloc[:0], seed=1)["verdict"]) == {"not run"}
    unequal = pd.DataFrame(registered(id="B", alpha=0.01))
    with pytest.raises(FlexError, match="family f have different alphas"):
        inference.assess(unequal, verdicts, seed=1)


def test_contrasts_of_one_table_are_on_the_same_problems():
    verdicts = simulated_verdicts({"base": 0.3, "lora": 0.5, "fourier": 0.4})
    broken = (verdicts["arm"] == "fourier") & (verdicts["task_id"] == "t003")
    verdicts.loc[broken, ["verdict", "passed"]] = ["harness_error", False]
    table = inference.contrasts(verdicts, [("lora", "base"), ("fourier", "base")], seed=1)
    assert table["tasks"].tolist() == [299, 299]
    assert inference.contrasts(verdicts, [("lora", "base")], seed=1)["tasks"].tolist() == [300]


def test_a_registered_contrast_has_one_interval_on_every_page():
    verdicts = simulated_verdicts({"base": 0.3, "lora": 0.5, "fourier": 0.4})
    claims = pd.DataFrame(registered(id="B", treatment="fourier", control="lora"))
    state = inference.assess(claims, verdicts, seed=1)
    pairs = [("lora", "base"), ("fourier", "base")]
    groups = pd.Series({f"t{i:03}": "even" if i % 2 == 0 else "odd" for i in range(300)})
    table = inference.contrasts(verdicts, pairs, seed=1, state=state, groups=groups)
    assert table["group"].tolist() == ["all tasks", "even", "odd"] * 2
    assert table["tasks"].tolist() == [300, 150, 150] * 2
    assert table["claim"].tolist() == ["A", *[""] * 5]
    of_claim = state.set_index("id").loc["A"]
    assert tuple(table.loc[0, ["low", "high"]]) == (of_claim["low"], of_claim["high"])
    own = inference.contrasts(verdicts, pairs, seed=1).loc[0]
    assert of_claim["low"] < own["low"]  # at .0125, not at .025
    assert table.loc[0, "difference"] == pytest.approx(table.loc[1:2, "difference"].mean())
    [back] = inference.contrasts(verdicts, [("base", "lora")], seed=1, state=state).to_dict(
        "records"
    )
    assert back["claim"] == "A" and (back["low"], back["high"]) == (
        -of_claim["high"],
        -of_claim["low"],
    )


# --- what is shown ------------------------------------------------------------------------------


def test_p_values_at_the_floor_are_printed_as_bounds():
    block = np.full((1, 10), 1.0) + 0.01 * np.arange(10)
    effects = {str(i): stats.paired_bootstrap(block, seed=i, n_resamples=999) for i in range(3)}
    table = inference.simultaneous(effects)
    assert table["adjusted_p"].tolist() == pytest.approx([2 * 3 / 1000] * 3)
    assert table["at_floor"].all()
    assert inference.p_text(table["adjusted_p"].iloc[0], at_floor=True) == "≤ 0.0060"
    assert (
        inference.p_text(0.00159984, at_floor=True) == "≤ 0.0016"
    )  # rounded up, so that it is true
    assert inference.p_text(0.0123) == "0.0123" and inference.p_text(1e-9) == "< 0.0001"
    assert inference.p_text(float("nan")) == "–"
    # Enough in the tail: a p-value like any other. Too few replicates for a level: refused.
    middling = stats.paired_bootstrap(block - 1.04, seed=1, n_resamples=999)
    assert not inference.simultaneous({"a": middling})["at_floor"].any()
    with pytest.raises(FlexError, match=r"999 replicates have no bound at level 0\.0005"):
        middling.bound(0.0005, 1)


def test_the_published_figures_are_those_of_the_claims_own_contrast():
    claims = pd.concat([paper.claims(), paper.claims("small")])
    assert inference.published(claims.loc["C3-lora"]).difference == pytest.approx(0.421 - 0.315)
    assert inference.published(claims.loc["C3-base"]).difference == pytest.approx(0.421 - 0.342)
    assert inference.published(claims.loc["L1"]) is None
    table = paper.published()
    of_arm = {"lora": "LoRA", "fourier-released": "FLeX unmerged", "python-broad": "Python 7B"}
    of_arm |= {"fourier-released merged": "FLeX merged", "base": "Code Llama 7B"}
    for claim in claims[claims["published"].map(len) == 2].itertuples():
        for arm, figure in zip((claim.treatment, claim.control), claim.published, strict=True):
            assert of_arm[arm] in table.loc[figure, "model"], (claim.id, arm)
        [benchmark] = set(table.loc[claim.published, "benchmark"])
        assert ("java" in claim.benchmark) == (benchmark == "MultiPL-E Java")


def test_arms_with_few_seeds_are_exploratory():
    rows = [("base", 1), ("lora", 10), ("l2", 3), ("lion", 5)]
    table = pd.DataFrame([(arm, seed) for arm, n in rows for seed in range(n)])
    table.columns = ["arm", "seed"]
    arms = ["base", "lora", "l2", "lion", "sophia"]
    found = inference.exploratory(table, arms, "nano")
    assert found.to_numpy().tolist() == [["l2", 3, 10], ["lion", 5, 10], ["sophia", 0, 10]]
    assert inference.exploratory(table, arms, "small")["arm"].tolist() == ["l2", "sophia"]
    note = inference.exploratory_note(table, arms, "nano", {"l2": "L2"})
    assert note == "Exploratory, with fewer than 10 seeds: L2 (3), lion (5), sophia (0)."
    assert inference.exploratory_note(table, ["base", "lora"], "nano") == ""


@pytest.mark.parametrize("won", [16, 40, 100])
def test_no_gain_is_larger_than_what_one_run_alone_solves(won):
    """Its bound is Clopper and Pearson's at most, on either side."""
    low = beta.ppf(0.025, won, 320 - won + 1)
    assert inference.TwoRuns(won, 0, 320).bound(0.025, 1) <= low + 1e-12
    assert inference.TwoRuns(0, won, 320).bound(0.025, -1) >= -low - 1e-12
