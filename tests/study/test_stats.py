"""Every statistic against an independent reference: enumeration, simulation, or scipy."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import (
    binom,
    binomtest,
    chi2,
    kstest,
    multinomial,
    multivariate_normal,
    norm,
)

from flexlib.errors import FlexError
from flexlib.study import stats


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


def test_weights_shared_by_contrasts_change_no_draw():
    rates = np.random.default_rng(0).random((12, 3))
    stats._shared_weights.cache_clear()
    alone = stats.paired_bootstrap(rates, seed=1, n_resamples=100).draws
    for other, seed in ((rates[:, :2], 1), (rates[1:], 1), (rates, 2)):
        assert (
            stats.paired_bootstrap(other, seed=seed, n_resamples=100).draws.tolist()
            != alone.tolist()
        )
    again = stats.paired_bootstrap(rates, seed=1, n_resamples=100).draws
    assert again.tolist() == alone.tolist()
    tasks, *_ = stats._shared_weights(1, 12, 1, 100)
    with pytest.raises(ValueError, match="read-only"):
        tasks[0, 0] = 0.5


def test_bootstrap_weights_are_resampled_levels_stretched_to_students_t():
    """Undo the stretch: what is left is a count of each level, n in all, as resampling gives it."""
    n, runs = 4, 20_000
    weights = stats._weights(np.random.default_rng(1), n, runs)
    assert weights.sum(axis=1) == pytest.approx(1)
    counts = np.random.default_rng(1).multinomial(n, [1 / n] * n, runs)
    moved = (counts != 1).any(axis=1)
    stretch = np.linalg.norm(weights[moved] - 1 / n, axis=1) / np.linalg.norm(
        counts[moved] / n - 1 / n, axis=1
    )
    assert weights[moved] - 1 / n == pytest.approx((counts[moved] / n - 1 / n) * stretch[:, None])
    assert kstest(n / stretch**2, chi2(n - 1).cdf).pvalue > 0.01
    assert (stats._weights(np.random.default_rng(1), 1, 5) == 1).all()


def missed(resample, n, level, trials=1200, replicates=2000):
    """How often the lower bound of the mean of n normal values lies above the true mean."""
    count = 0
    for trial in range(trials):
        values = np.random.default_rng([n, trial]).standard_normal(n)
        draws = np.sort(resample(values, trial, replicates))
        count += draws[int(level * (replicates + 1)) - 1] > 0
    return binomtest(count, trials, level, alternative="greater").pvalue


@pytest.mark.parametrize("n", [5, 10])
def test_bounds_over_few_seeds_hold_at_the_levels_of_a_family(n):
    def ours(values, trial, replicates):
        return stats.paired_bootstrap(values[None], seed=trial, n_resamples=replicates).draws

    def plain(values, trial, replicates):
        rng = np.random.default_rng(trial)
        deviations = values - values.mean()
        drawn = rng.choice(deviations, (replicates, n)).mean(axis=1)
        return values.mean() + drawn * np.sqrt(n / (n - 1))

    level = 0.025 / 5
    assert missed(ours, n, level) > 0.01
    assert missed(plain, n, level) < 1e-3


def test_bootstrap_over_three_factors_adds_up_their_variances():
    """An additive table: the spread of the draws is that of three independent Student's t, scaled."""
    rng = np.random.default_rng(2)
    parts = [rng.standard_normal(n) for n in (200, 12, 9)]
    block = parts[0][:, None, None] + parts[1][:, None] + parts[2]
    result = stats.paired_bootstrap(block, seed=1, n_resamples=40_000)
    assert (result.tasks, result.seeds, result.bases) == (200, (12,), 9)
    assert result.estimate == pytest.approx(sum(part.mean() for part in parts))
    expected = result.estimate + sum(
        part.std(ddof=1) / np.sqrt(len(part)) * rng.standard_t(len(part) - 1, 40_000)
        for part in parts
    )
    for quantile in (0.05, 0.25, 0.75, 0.95):
        width = np.quantile(expected, 0.95) - np.quantile(expected, 0.05)
        difference = np.quantile(result.draws, quantile) - np.quantile(expected, quantile)
        assert abs(difference) < 0.05 * width


def test_bootstrap_pairs_tasks_and_seeds():
    rng = np.random.default_rng(0)
    control = rng.random((60, 4))
    treatment = control + 0.1
    paired = stats.paired_bootstrap(treatment, control, seed=1, paired_seeds=True)
    assert paired.low == pytest.approx(0.1) and paired.high == pytest.approx(0.1)
    unpaired_seeds = stats.paired_bootstrap(treatment, control, seed=1)
    assert unpaired_seeds.low < 0.1 < unpaired_seeds.high
    assert unpaired_seeds.seeds == (4, 4) and unpaired_seeds.tasks == 60


def test_bootstrap_over_many_tasks_agrees_with_scipy():
    from scipy.stats import bootstrap

    x = np.random.default_rng(3).exponential(size=300)
    ours = stats.paired_bootstrap(x, seed=4, n_resamples=40_000)
    theirs = bootstrap((x,), np.mean, n_resamples=40_000, method="percentile", random_state=5)
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


@pytest.mark.parametrize(("seed_sd", "n_seeds"), [(0.0, 5), (0.3, 10)])
def test_bootstrap_interval_covers_the_truth(seed_sd, n_seeds):
    """Coverage of pass or fail over new tasks *and* new seeds: not below 95 %, within simulation error
    (400 trials: 91 % would fail). It may be above, as the crossed bootstrap errs towards wide."""
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
    assert binomtest(covered, trials, 0.95, alternative="less").pvalue > 0.001


@pytest.mark.parametrize(
    ("tasks", "seeds", "task_sd", "seed_sd"), [(40, 1, 1, 0), (1, 6, 0, 1), (40, 20, 1, 0.4)]
)
def test_bootstrap_coverage_is_the_nominal_one(tasks, seeds, task_sd, seed_sd):
    """Of normal task and seed effects without interaction, few seeds or none: not below 95 %, and not
    above 98 %. 1500 trials tell two points (3.3 standard errors are 1.9)."""
    trials, n_resamples, covered = 1500, 400, 0
    rng = np.random.default_rng(12)
    for trial in range(trials):
        rates = task_sd * rng.standard_normal((tasks, 1)) + seed_sd * rng.standard_normal(seeds)
        result = stats.paired_bootstrap(rates, seed=trial, n_resamples=n_resamples)
        covered += result.low <= 0 <= result.high
    assert binomtest(covered, trials, 0.95, alternative="less").pvalue > 0.001, covered / trials
    assert binomtest(covered, trials, 0.98, alternative="greater").pvalue > 0.001, covered / trials


@pytest.mark.parametrize(
    ("treatment", "control", "options"),
    [
        ([[1.0]], [[1.0], [0.0]], {}),
        ([[1.0, 0.0]], [[1.0]], {"paired_seeds": True}),
        ([[np.nan]], [[1.0]], {}),
        ([], None, {}),
        (np.ones((2, 3, 2)), np.ones((2, 3, 1)), {}),
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


def test_arm_rates_are_means_over_tasks_and_seeds():
    rng = np.random.default_rng(5)
    rows = [
        {"arm": arm, "seed": seed, "task_id": f"t{task}", "passed": rng.random() < rate}
        for arm, rate, seeds in (("base", 0.3, 1), ("lora", 0.5, 6))
        for seed in range(seeds) for task in range(100)
    ]  # fmt: skip
    verdicts = pd.DataFrame(rows).assign(
        verdict="pass", sample=0, run_id="r", detail="", language="java", benchmark="nanobench-java"
    )
    rates = stats.arm_rates(verdicts, seed=1, n_resamples=500).set_index("arm")
    by_hand = verdicts.groupby("arm")["passed"].mean()
    assert rates["pass_at_k"].to_dict() == pytest.approx(by_hand.to_dict())
    assert rates.loc["lora", ["tasks", "seeds"]].tolist() == [100, 6]
    assert (rates["low"] <= rates["pass_at_k"]).all() and (
        rates["pass_at_k"] <= rates["high"]
    ).all()
