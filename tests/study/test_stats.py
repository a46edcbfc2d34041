"""Every statistic against an independent reference: enumeration, simulation, or scipy."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom, binomtest, multinomial, multivariate_normal, norm

from flexlib.errors import FlexError
from flexlib.study import metrics, stats


def test_two_proportions_is_the_textbook_formula():
    result = stats.two_proportions((54, 63), (158, 164))
    p1, p2, pooled = 54 / 158, 63 / 164, (54 + 63) / (158 + 164)
    z = (p1 - p2) / np.sqrt(pooled * (1 - pooled) * (1 / 158 + 1 / 164))
    assert result.statistic == pytest.approx(z, abs=1e-12)
    assert result.p_value == pytest.approx(2 * norm.sf(abs(z)), abs=1e-12)
    assert result.low < result.difference < result.high


def test_two_proportions_newcombe_published_example():
    # Newcombe 1998, table II, example (a), method 10: 56/70 - 48/80 is 0.0524 to 0.3339.
    result = stats.two_proportions((56, 48), (70, 80))
    assert (result.low, result.high) == pytest.approx((0.0524, 0.3339), abs=5e-5)


def test_two_proportions_refuses():
    for successes, trials in (((5, 1), (3, 3)), ((0, 0), (3, 3)), ((3, 3), (3, 3))):
        with pytest.raises(FlexError):
            stats.two_proportions(successes, trials)


@pytest.mark.parametrize("b, c", [(0, 5), (3, 9), (7, 7), (12, 1)])
def test_mcnemar_is_the_sign_test_of_the_discordant(b, c):
    first = [1] * b + [0] * c + [1] * 4 + [0] * 6
    second = [0] * b + [1] * c + [1] * 4 + [0] * 6
    result = stats.mcnemar_exact(first, second)
    # By enumeration: all outcomes of m fair coins no likelier than the one seen.
    pmf = binom.pmf(np.arange(b + c + 1), b + c, 0.5)
    assert result.p_value == pytest.approx(min(1, pmf[pmf <= pmf[b] * (1 + 1e-9)].sum()))
    assert (result.only_first, result.only_second, result.n) == (b, c, b + c + 10)
    share = binomtest(b, b + c).proportion_ci(method="exact")
    assert result.low == pytest.approx(share.low / (1 - share.low))
    assert result.low <= result.odds_ratio <= result.high


def test_mcnemar_of_equal_runs_says_nothing():
    result = stats.mcnemar_exact([1, 0, 1], [1, 0, 1])
    assert result.p_value == 1 and np.isnan(result.odds_ratio)


@pytest.mark.parametrize("first, second", [([1, 0], [1]), ([], []), ([0.5, 1], [0, 1])])
def test_mcnemar_refuses(first, second):
    with pytest.raises(FlexError):
        stats.mcnemar_exact(first, second)


def exact_bootstrap(block):
    """All equally likely replicates of a tasks x seeds bootstrap, seeds stretched as documented."""
    tasks, seeds = block.shape
    centre = block.mean(axis=1, keepdims=True)
    block = centre + (block - centre) * np.sqrt(seeds / max(seeds - 1, 1))
    return np.array(
        [
            block[np.ix_(rows, columns)].mean()
            for rows in product(range(tasks), repeat=tasks)
            for columns in product(range(seeds), repeat=seeds)
        ]
    )


def test_bootstrap_draws_have_the_enumerated_distribution():
    block = np.array([[1.0, 0.0], [0.5, 0.25], [0.0, 0.0]])
    replicates = exact_bootstrap(block)
    result = stats.paired_bootstrap(block, seed=1, n_resamples=40_000)
    assert result.draws.mean() == pytest.approx(replicates.mean(), abs=5 * 0.4 / 200)
    assert result.draws.var() == pytest.approx(replicates.var(), rel=0.05)
    for point in (0.1, 0.3, 0.6):
        share = (replicates <= point + 1e-9).mean()
        error = 4.5 * np.sqrt(share * (1 - share) / 40_000)
        assert (result.draws <= point + 1e-9).mean() == pytest.approx(share, abs=error)


def test_bootstrap_pairs_tasks_and_seeds():
    rng = np.random.default_rng(0)
    control = rng.random((60, 4))
    treatment = control + 0.1
    paired = stats.paired_bootstrap(treatment, control, seed=1, paired_seeds=True)
    assert paired.low == pytest.approx(0.1) and paired.high == pytest.approx(0.1)
    unpaired_seeds = stats.paired_bootstrap(treatment, control, seed=1)
    assert unpaired_seeds.low < 0.1 < unpaired_seeds.high
    assert unpaired_seeds.seeds == (4, 4) and unpaired_seeds.tasks == 60


def test_bootstrap_agrees_with_scipy_where_scipy_can():
    from scipy.stats import bootstrap

    x = np.random.default_rng(3).exponential(size=80)
    for method in ("percentile", "bca"):
        ours = stats.paired_bootstrap(x, seed=4, n_resamples=40_000, method=method)
        theirs = bootstrap((x,), np.mean, n_resamples=40_000, method=method, random_state=5)
        interval = theirs.confidence_interval
        assert (ours.low, ours.high) == pytest.approx((interval.low, interval.high), abs=0.01)


def test_bootstrap_is_reproducible_and_p_agrees_with_the_interval():
    rng = np.random.default_rng(7)
    base, tuned = rng.random((100, 1)) < 0.3, rng.random((100, 5)) < 0.5
    first, second = (stats.paired_bootstrap(tuned, base, seed=9) for _ in range(2))
    assert (first.draws == second.draws).all()
    assert first.estimate == pytest.approx(tuned.mean() - base.mean())
    assert (first.p_value < 0.05) == (first.low > 0 or first.high < 0)
    null = stats.paired_bootstrap(base, base, seed=9, paired_seeds=True)
    assert null.p_value == 1 and null.low == null.high == 0


@pytest.mark.parametrize("seed_sd, n_seeds", [(0.0, 5), (0.3, 5)])
def test_bootstrap_interval_covers_the_truth(seed_sd, n_seeds):
    """Coverage over new tasks *and* new seeds; a binomial bound tells whether 90 % is refuted."""
    trials, n_tasks, covered, truth = 400, 120, 0, 0.4
    rng = np.random.default_rng(11)
    for trial in range(trials):
        difficulty = 1.2 * rng.standard_normal((n_tasks, 1))
        own = seed_sd * rng.standard_normal((1, n_seeds))
        noise = rng.standard_normal((n_tasks, n_seeds))
        scale = np.sqrt(1.2**2 + seed_sd**2 + 1)
        passed = difficulty + own + noise < norm.ppf(truth) * scale
        result = stats.paired_bootstrap(passed, seed=trial, n_resamples=400)
        covered += result.low <= truth <= result.high
    assert binomtest(covered, trials, 0.90, alternative="less").pvalue > 0.001


@pytest.mark.parametrize(
    "treatment, control, options",
    [
        ([[1.0]], [[1.0], [0.0]], {}),
        ([[1.0, 0.0]], [[1.0]], {"paired_seeds": True}),
        ([[np.nan]], [[1.0]], {}),
        ([], None, {}),
        ([[1.0]], None, {"method": "basic"}),
    ],
)
def test_bootstrap_refuses(treatment, control, options):
    with pytest.raises(FlexError):
        stats.paired_bootstrap(treatment, control, seed=0, **options)


def test_holm_by_hand():
    # Smallest times 3, next times 2, largest times 1, kept monotone.
    assert stats.holm({"a": 0.04, "b": 0.01, "c": 0.03}) == pytest.approx(
        {"a": 0.06, "b": 0.03, "c": 0.06}
    )
    with pytest.raises(FlexError):
        stats.holm({})


def test_unpaired_power_against_enumeration():
    """Rejection probability of the z test summed over every pair of outcomes."""
    p0, d, n = 0.342, 0.12, 158
    k = np.arange(n + 1)
    first, second = np.meshgrid(k, k, indexing="ij")
    pooled = (first + second) / (2 * n)
    with np.errstate(divide="ignore", invalid="ignore"):
        z = (first - second) / n / np.sqrt(2 * pooled * (1 - pooled) / n)
    weight = np.outer(binom.pmf(k, n, p0 + d), binom.pmf(k, n, p0))
    exact = weight[np.abs(z) > norm.ppf(0.975)].sum()
    assert stats.power_unpaired(p0, d, n) == pytest.approx(exact, abs=0.01)


def test_paired_power_against_enumeration():
    """Rejection probability of McNemar's z test over every (only first, only second)."""
    n, discordant, d = 158, 0.25, 0.10
    b, c = np.meshgrid(np.arange(n + 1), np.arange(n + 1), indexing="ij")
    keep = b + c <= n
    b, c = b[keep], c[keep]
    p = [(discordant + d) / 2, (discordant - d) / 2, 1 - discordant]
    weight = multinomial.pmf(np.stack([b, c, n - b - c], axis=1), n, p)
    with np.errstate(invalid="ignore"):
        rejected = np.abs(b - c) / np.sqrt(b + c) > norm.ppf(0.975)
    exact = weight[rejected].sum()
    assert stats.power_paired(d, discordant, n) == pytest.approx(exact, abs=0.015)


def test_power_at_no_effect_is_alpha():
    assert stats.power_unpaired(0.3, 0.0, 164) == pytest.approx(0.05)
    assert stats.power_paired(0.0, 0.2, 164) == pytest.approx(0.05)


def test_detectable_effects_have_the_power_asked_for():
    for n in (158, 164):
        d = stats.detectable_unpaired(0.342, n)
        assert stats.power_unpaired(0.342, d, n) == pytest.approx(0.8)
        paired = stats.detectable_paired(0.2, n)
        assert stats.power_paired(paired, 0.2, n) == pytest.approx(0.8)
        assert paired < d
    with pytest.raises(FlexError, match="no difference reaches"):
        stats.detectable_unpaired(0.9, 5)
    with pytest.raises(FlexError):
        stats.power_paired(0.3, 0.2, 158)
    with pytest.raises(FlexError):
        stats.power_unpaired(0.9, 0.2, 158)


def test_best_of_independent_draws_is_the_binomial_maximum():
    p, n, m, runs = 0.342, 158, 30, 2000
    table = stats.best_of_many(p, n, m, correlation=0.0, n_simulations=runs, seed=1)
    k = np.arange(n + 1)
    cdf = binom.cdf(k, n, p) ** m
    pmf = np.diff(cdf, prepend=0)
    mean, second = (pmf * k / n).sum(), (pmf * (k / n) ** 2).sum()
    error = 5 * np.sqrt((second - mean**2) / runs)
    assert table["best"].mean() == pytest.approx(mean, abs=error)
    assert table["typical"].std() == pytest.approx(np.sqrt(p * (1 - p) / n), rel=0.08)


def test_correlation_is_the_tetrachoric_one():
    # One problem, two adapters: the chance that both pass is a bivariate normal orthant.
    p, correlation, runs = 0.4, 0.6, 40_000
    table = stats.best_of_many(p, 1, 1, correlation=correlation, n_simulations=runs, seed=2)
    both = ((table["baseline"] == 1) & (table["best"] == 1)).mean()
    t = norm.ppf(p)
    expected = multivariate_normal([0, 0], [[1, correlation], [correlation, 1]]).cdf([t, t])
    assert both == pytest.approx(expected, abs=4.5 * np.sqrt(expected * (1 - expected) / runs))


def test_full_correlation_leaves_nothing_to_choose():
    table = stats.best_of_many(0.4, 50, 5, 3, correlation=1.0, n_simulations=20, seed=3)
    assert (table["best"] == table["baseline"]).all()
    shared = stats.best_of_many(
        0.4, 50, 1, 6, correlation=0.2, adapter_share=1.0, n_simulations=20, seed=3
    )
    assert (shared["best"] == shared["typical"]).all()


def test_more_samples_leave_less_to_select():
    one, ten = (
        stats.best_of_many(0.4, 158, 10, n_samples=s, n_simulations=300, seed=4) for s in (1, 10)
    )
    assert (ten["best"] - ten["baseline"]).mean() < (one["best"] - one["baseline"]).mean()


@pytest.mark.parametrize(
    "change",
    [{"p": 0.0}, {"p": 1.0}, {"correlation": 1.5}, {"adapter_share": -0.1}, {"n_problems": 0}],
)
def test_best_of_many_refuses(change):
    arguments = {"p": 0.4, "n_problems": 10, "n_adapters": 2, "seed": 0} | change
    with pytest.raises(FlexError):
        stats.best_of_many(**arguments)


CLAIM = {
    "kind": "claim",
    "minimum_n": 5,
    "alpha": 0.05,
    "smallest_effect": 0.02,
    "direction": "greater",
}


@pytest.mark.parametrize(
    "direction, estimate, low, high, p, n, verdict",
    [
        ("greater", 0.10, 0.05, 0.15, 0.01, 5, "reproduced"),
        ("greater", 0.10, 0.05, 0.15, 0.01, 4, "cannot tell"),
        ("greater", 0.10, -0.01, 0.21, 0.08, 5, "cannot tell"),
        ("greater", 0.00, -0.01, 0.01, 0.90, 5, "not reproduced"),
        ("greater", -0.10, -0.15, -0.05, 0.01, 5, "not reproduced"),
        ("less", -0.10, -0.15, -0.05, 0.01, 5, "reproduced"),
        ("less", 0.10, 0.05, 0.15, 0.01, 5, "not reproduced"),
        ("two-sided", -0.10, -0.15, -0.05, 0.01, 5, "reproduced"),
        ("two-sided", 0.00, -0.01, 0.01, 0.90, 5, "not reproduced"),
        ("two-sided", 0.01, -0.03, 0.05, 0.60, 5, "cannot tell"),
        ("equivalent", 0.01, 0.005, 0.015, 0.01, 5, "reproduced"),
        ("equivalent", 0.01, -0.02, 0.04, 0.60, 5, "cannot tell"),
        ("equivalent", 0.05, 0.03, 0.07, 0.01, 5, "not reproduced"),
    ],
)
def test_decide_by_the_registered_rule(direction, estimate, low, high, p, n, verdict):
    claim = CLAIM | {"direction": direction}
    assert stats.decide(estimate, low, high, p, n, claim=claim) == verdict


def test_a_question_is_answered_yes_or_no():
    claim = CLAIM | {"kind": "question"}
    assert stats.decide(0.10, 0.05, 0.15, 0.01, 5, claim=claim) == "yes"
    assert stats.decide(0.00, -0.01, 0.01, 0.90, 5, claim=claim) == "no"


def simulated_verdicts(rates, n_tasks=300, seeds=6, benchmark="nanobench-java"):
    """A verdict table in which each arm passes each task with a rate of its own."""
    rng = np.random.default_rng(5)
    difficulty = rng.random(n_tasks)
    rows = []
    for arm, rate in rates.items():
        for seed in range(1 if arm == "base" else seeds):
            passed = difficulty + 0.1 * rng.standard_normal(n_tasks) < rate
            rows.append(
                pd.DataFrame(
                    {"task_id": [f"t{i}" for i in range(n_tasks)], "passed": passed}
                ).assign(arm=arm, seed=seed)
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


def test_assess_tests_what_was_run_and_says_what_was_not():
    claims = pd.DataFrame(registered(id="B", treatment="fourier")).set_index("id", drop=False)
    table = stats.assess(claims, simulated_verdicts({"base": 0.3, "lora": 0.5}), seed=1)
    table = table.set_index("id")
    assert table.loc["A", "verdict"] == "reproduced" and table.loc["B", "verdict"] == "not run"
    assert table.loc["A", "difference"] == pytest.approx(0.2, abs=0.05)
    assert table.loc["A", ["tasks", "seeds"]].tolist() == [300, 6]
    # Two claims in the family: the one not run still counts in the adjustment.
    assert table.loc["A", "adjusted_p"] == pytest.approx(2 * table.loc["A", "p_value"])


def test_contrasts_pair_the_seeds_that_both_arms_have():
    verdicts = simulated_verdicts({"base": 0.3, "lora": 0.5, "fourier": 0.4})
    fewer = verdicts[(verdicts["arm"] != "fourier") | verdicts["seed"].isin([1, 2])]
    pairs = [("fourier", "lora"), ("lora", "base"), ("l2", "lora")]
    table = stats.contrasts(fewer, pairs, seed=3).set_index("treatment")
    assert table["seeds"].to_dict() == {"fourier": 2, "lora": 6}  # l2 was not run
    of = verdicts[verdicts["seed"].isin([1, 2])]
    first, second = (metrics.solve_matrix(of, arm, "nanobench-java") for arm in ("fourier", "lora"))
    direct = stats.paired_bootstrap(first, second, seed=3, paired_seeds=True)
    assert table.loc["fourier", ["difference", "low", "high"]].tolist() == [
        direct.estimate, direct.low, direct.high]  # fmt: skip
    assert table.loc["lora", "low"] > 0
    other = verdicts.assign(task_id=verdicts["task_id"] + "x")[verdicts["arm"] == "base"]
    mixed = pd.concat([verdicts[verdicts["arm"] != "base"], other])
    with pytest.raises(FlexError, match="different problems"):
        stats.contrasts(mixed, pairs, seed=3)


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

    [contrast] = stats.contrasts(verdicts, [(treatment, control)], seed=3).to_dict("records")
    claims = pd.DataFrame(registered(treatment=treatment, control=control)[1:])
    [assessed] = stats.assess(claims, verdicts, seed=3).to_dict("records")
    every = pd.Series("all", index=first.index)
    gain = stats.gains(verdicts, treatment, control, every, seed=3).iloc[1]
    for found in (contrast, assessed, gain):
        assert (found["difference"], found["low"], found["high"]) == interval
    assert contrast["seeds"] == seeds


def test_assess_without_an_effect_claims_none():
    claims = pd.DataFrame(registered(id="B", control="fourier")).set_index("id", drop=False)
    verdicts = simulated_verdicts({"base": 0.4, "lora": 0.4, "fourier": 0.4}, n_tasks=3000)
    table = stats.assess(claims, verdicts, seed=1).set_index("id")
    assert table.loc["B", "verdict"] == "not reproduced"
    assert (table["low"] < 0.02).all() and (table["detectable"] > 0).all()


def test_assess_of_an_empty_store_and_of_unlike_problems():
    claims = pd.DataFrame(registered(id="B")).set_index("id", drop=False)
    verdicts = simulated_verdicts({"base": 0.4, "lora": 0.4}, n_tasks=20)
    assert set(stats.assess(claims, verdicts.iloc[:0], seed=1)["verdict"]) == {"not run"}
    fewer = verdicts[(verdicts["arm"] == "base") | (verdicts["task_id"] != "t3")]
    with pytest.raises(FlexError, match="different problems"):
        stats.assess(claims, fewer, seed=1)


def test_arm_rates_and_gains_are_means_over_tasks_and_seeds():
    verdicts = simulated_verdicts({"base": 0.3, "lora": 0.5})
    rates = stats.arm_rates(verdicts, seed=1, n_resamples=500).set_index("arm")
    by_hand = verdicts.groupby("arm")["passed"].mean()
    assert rates["pass_at_k"].to_dict() == pytest.approx(by_hand.to_dict())
    assert rates.loc["lora", ["tasks", "seeds"]].tolist() == [300, 6]

    groups = pd.Series({f"t{i}": "even" if i % 2 == 0 else "odd" for i in range(300)})
    gains = stats.gains(verdicts, "lora", "base", groups, seed=1, n_resamples=500)
    gains = gains.set_index("group")
    assert gains["tasks"].to_dict() == {"all tasks": 300, "even": 150, "odd": 150}
    evens = verdicts[verdicts["task_id"].map(groups) == "even"].groupby("arm")["passed"].mean()
    assert gains.loc["even", "difference"] == pytest.approx(evens["lora"] - evens["base"])
    assert gains.loc["all tasks", "difference"] == pytest.approx(
        (gains.loc["even", "difference"] + gains.loc["odd", "difference"]) / 2
    )
    assert (gains["low"] <= gains["difference"]).all()
    assert (gains["difference"] <= gains["high"]).all()
