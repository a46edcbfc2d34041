"""The statistics of the study: tests, intervals, power, and the price of choosing the best.

Two designs occur. The published figures are single proportions on a small benchmark, so they get
two-proportion and power calculations. Our own runs are *tasks x seeds* matrices of pass rates, so
differences between arms are paired by task and by seed (`difference` has the rule) and
bootstrapped over both, since both are samples of what might have been drawn.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.stats import norm
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import confint_proportions_2indep, proportions_ztest

from flexlib.errors import FlexError
from flexlib.study.metrics import clopper_pearson_interval, solve_matrix


@dataclass(frozen=True)
class Comparison:
    """A difference of two pass rates (first minus second, in 0..1), its interval and p-value."""

    difference: float
    low: float
    high: float
    p_value: float
    statistic: float
    n: tuple[int, int]


def two_proportions(
    successes: tuple[float, float], trials: tuple[int, int], confidence: float = 0.95
) -> Comparison:
    """Unpaired two-sided z test with pooled variance, and Newcombe's hybrid score interval.

    This is all that can be done with two published rates: the pairing by problem is lost.
    Successes may be fractional (a rate times n), as some published rates are no k/n.
    """
    for count, n in zip(successes, trials, strict=True):
        if n < 1 or not 0 <= count <= n:
            raise FlexError("a proportion needs 0 <= successes <= trials and at least one trial")
    if sum(successes) in (0, sum(trials)):
        raise FlexError("both proportions are 0, or both 1: the z test is not defined")
    z, p_value = proportions_ztest(np.asarray(successes), np.asarray(trials))
    low, high = confint_proportions_2indep(
        successes[0], trials[0], successes[1], trials[1], method="newcomb", alpha=1 - confidence
    )
    difference = successes[0] / trials[0] - successes[1] / trials[1]
    return Comparison(difference, float(low), float(high), float(p_value), float(z), trials)


@dataclass(frozen=True)
class McNemar:
    """Discordant counts of two runs on the same problems, and what they say.

    ``odds_ratio`` is only_first / only_second (infinite when only_second is 0), with the exact
    conditional interval low..high.
    """

    only_first: int
    only_second: int
    odds_ratio: float
    low: float
    high: float
    p_value: float
    n: int


def mcnemar_exact(first: ArrayLike, second: ArrayLike, confidence: float = 0.95) -> McNemar:
    """Exact McNemar test of two runs: did each problem pass in the first, in the second?

    Given the discordant problems, the number won by the first is Binomial(m, 1/2) under the null
    (McNemar 1947); the interval of the odds ratio is Clopper-Pearson's of that share, as odds.

    Raises FlexError unless both are equally long, non-empty vectors of booleans or 0/1.
    """
    first, second = np.asarray(first), np.asarray(second)
    if first.shape != second.shape or first.ndim != 1 or first.size == 0:
        raise FlexError("McNemar's test needs two verdict vectors over the same problems")
    if not (np.isin(first, (0, 1)).all() and np.isin(second, (0, 1)).all()):
        raise FlexError("McNemar's test needs one pass-or-fail verdict a problem, not a rate")
    first, second = first.astype(bool), second.astype(bool)
    b, c = int((first & ~second).sum()), int((~first & second).sum())
    both, neither = int((first & second).sum()), int((~first & ~second).sum())
    p_value = float(mcnemar([[both, b], [c, neither]], exact=True).pvalue)
    if b + c == 0:
        return McNemar(0, 0, float("nan"), 0.0, float("inf"), 1.0, first.size)
    share = clopper_pearson_interval(b, b + c, confidence)
    low, high = (float(s / (1 - s)) if s < 1 else float("inf") for s in share)
    odds_ratio = b / c if c else float("inf")
    return McNemar(b, c, odds_ratio, low, high, p_value, first.size)


@dataclass(frozen=True)
class Bootstrap:
    """A bootstrapped mean or difference of means; ``draws`` holds the replicates for plotting."""

    estimate: float
    low: float
    high: float
    p_value: float
    tasks: int
    seeds: tuple[int, ...]
    draws: np.ndarray


def paired_bootstrap(
    treatment: ArrayLike,
    control: ArrayLike | None = None,
    *,
    seed: int,
    paired_seeds: bool = False,
    n_resamples: int = 10_000,
    confidence: float = 0.95,
    method: str = "percentile",
) -> Bootstrap:
    """Bootstrap of mean(treatment) - mean(control) over tasks and seeds at once.

    ``treatment`` and ``control`` are pass rates of shape (tasks, seeds), rows in the same task
    order; a vector counts as one seed. A base model, decoded greedily, has one column. Without a
    control the mean of ``treatment`` itself is bootstrapped.

    Every replicate draws tasks with replacement, the same for both arms, and training seeds with
    replacement: the same for both if ``paired_seeds``, else independently. Tasks and seeds are
    crossed, so this is the pigeonhole bootstrap (Owen 2007), which errs towards wide intervals.
    Resampling S seeds shrinks their variance by (S - 1)/S, a fifth for five seeds; deviations
    between seeds are therefore stretched by sqrt(S/(S - 1)) (Rao and Wu 1988).

    ``method`` is 'percentile' or 'bca' (bias-corrected and accelerated; the acceleration comes from
    jackknives over tasks and over seeds). ``p_value`` is two-sided: twice the smaller share of
    replicates on either side of 0, the observed one included, hence never 0.

    Raises FlexError on shapes that do not pair, missing values, or an unknown method.
    """
    a = _tasks_by_seeds(treatment)
    b = np.zeros((len(a), 1)) if control is None else _tasks_by_seeds(control)
    if len(a) != len(b):
        raise FlexError(f"arms do not pair: {len(a)} and {len(b)} tasks")
    if paired_seeds and a.shape != b.shape:
        raise FlexError(f"seeds do not pair: {a.shape[1]} and {b.shape[1]}")
    if method not in ("percentile", "bca"):
        raise FlexError(f"unknown bootstrap method '{method}'; use percentile or bca")
    blocks = [a - b] if paired_seeds else [a, -b]

    rng = np.random.default_rng(seed)
    n_tasks = len(a)
    tasks = rng.multinomial(n_tasks, np.full(n_tasks, 1 / n_tasks), n_resamples) / n_tasks
    draws = np.zeros(n_resamples)
    for block in blocks:
        n_seeds = block.shape[1]
        centre = block.mean(axis=1, keepdims=True)
        block = centre + (block - centre) * np.sqrt(n_seeds / max(n_seeds - 1, 1))
        seeds = rng.multinomial(n_seeds, np.full(n_seeds, 1 / n_seeds), n_resamples) / n_seeds
        draws += np.einsum("rs,rs->r", tasks @ block, seeds)

    estimate = float(sum(block.mean() for block in blocks))
    tail = (1 - confidence) / 2
    levels = np.array([tail, 1 - tail])
    if method == "bca":
        levels = _bca_levels(levels, draws, estimate, blocks)
    low, high = np.quantile(draws, levels)
    side = min((draws <= 0).sum(), (draws >= 0).sum())
    p_value = min(1.0, 2 * (side + 1) / (n_resamples + 1))
    seeds = tuple(m.shape[1] for m in ((a,) if control is None else (a, b)))
    return Bootstrap(estimate, float(low), float(high), float(p_value), n_tasks, seeds, draws)


def _tasks_by_seeds(rates: ArrayLike) -> np.ndarray:
    matrix = np.asarray(rates, dtype=float)
    matrix = matrix[:, None] if matrix.ndim == 1 else matrix
    if matrix.ndim != 2 or matrix.size == 0:
        raise FlexError("the bootstrap needs a non-empty table of tasks x seeds")
    if not np.isfinite(matrix).all():
        raise FlexError("the bootstrap found missing values; every seed must cover every task")
    return matrix


def _bca_levels(levels, draws, estimate, blocks):
    """Quantile levels of the BCa interval (Efron 1987), several resampled factors pooled."""
    below = np.mean(draws < estimate) + 0.5 * np.mean(draws == estimate)
    if not 0 < below < 1:
        return levels
    z0 = norm.ppf(below)
    cubes = squares = 0.0
    task_means = sum(block.mean(axis=1) for block in blocks)
    for values in [task_means] + [block.mean(axis=0) for block in blocks]:
        if len(values) > 1:
            influence = (values - values.mean()) / (len(values) - 1)
            cubes += (influence**3).sum()
            squares += (influence**2).sum()
    acceleration = cubes / (6 * squares**1.5) if squares else 0.0
    z = z0 + norm.ppf(levels)
    return norm.cdf(z0 + z / (1 - acceleration * z))


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """p-values adjusted for all comparisons made (Holm 1979): reject where adjusted <= alpha."""
    if not p_values:
        raise FlexError("Holm's procedure needs at least one p-value")
    adjusted = multipletests(list(p_values.values()), method="holm")[1]
    return {name: float(p) for name, p in zip(p_values, adjusted, strict=True)}


def power_unpaired(p_control: float, difference: ArrayLike, n: int, alpha: float = 0.05):
    """Power of the two-sided two-proportion z test, n problems an arm (normal approximation)."""
    p1 = np.asarray(difference, dtype=float) + p_control
    if ((p1 <= 0) | (p1 >= 1)).any() or not 0 < p_control < 1:
        raise FlexError("power needs both pass rates strictly between 0 and 1")
    pooled = (p1 + p_control) / 2
    null_sd = np.sqrt(2 * pooled * (1 - pooled) / n)
    true_sd = np.sqrt((p1 * (1 - p1) + p_control * (1 - p_control)) / n)
    return _two_sided_power(p1 - p_control, null_sd, true_sd, alpha)


def power_paired(difference: ArrayLike, discordant: float, n: int, alpha: float = 0.05):
    """Power of the two-sided McNemar test on n problems (Miettinen 1968, normal approximation).

    ``discordant`` is the share of problems on which the two runs differ; it is at least
    |difference|. Pairing pays because runs agree on most problems.
    """
    d = np.asarray(difference, dtype=float)
    if (np.abs(d) > discordant).any() or not 0 < discordant <= 1:
        raise FlexError("the discordant share must lie between |difference| and 1")
    null_sd = np.sqrt(discordant / n) * np.ones_like(d)
    true_sd = np.sqrt((discordant - d**2) / n)
    return _two_sided_power(d, null_sd, true_sd, alpha)


def _two_sided_power(difference, null_sd, true_sd, alpha):
    critical = norm.ppf(1 - alpha / 2) * null_sd
    with np.errstate(divide="ignore"):
        upper = norm.sf((critical - difference) / true_sd)
        lower = norm.cdf((-critical - difference) / true_sd)
    return upper + lower


def detectable_unpaired(p_control: float, n: int, power: float = 0.8, alpha: float = 0.05) -> float:
    """Smallest gain over ``p_control`` that an unpaired test on n problems sees with this power."""
    top = 1 - p_control - 1e-9
    return _smallest(lambda d: power_unpaired(p_control, d, n, alpha), top, power)


def detectable_paired(discordant: float, n: int, power: float = 0.8, alpha: float = 0.05) -> float:
    """Smallest gain that a paired test on n problems sees, given the share that is discordant."""
    return _smallest(lambda d: power_paired(d, discordant, n, alpha), discordant - 1e-9, power)


def _smallest(power_of, largest, power):
    if power_of(largest) < power:
        raise FlexError("no difference reaches this power with so few problems; use more")
    return float(brentq(lambda d: power_of(d) - power, 0.0, largest))


def best_of_many(
    p: float,
    n_problems: int,
    n_adapters: int,
    n_decodings: int = 1,
    *,
    n_samples: int = 1,
    correlation: float = 0.5,
    adapter_share: float = 0.0,
    n_simulations: int = 1000,
    seed: int,
) -> pd.DataFrame:
    """What reporting the best of many equally good configurations yields on one small benchmark.

    No configuration is better than another: each has true pass rate ``p``. Problem i has a latent
    difficulty z_i shared by all, adapter j a deviation a_ij from it, and a draw passes when
    ``sqrt(correlation) z_i + sqrt((1 - correlation) adapter_share) a_ij + noise`` is below the
    p-quantile of the standard normal. So ``correlation`` is the tetrachoric correlation of two
    adapters' verdicts on a problem, ``adapter_share`` the part of the rest that the decodings of
    one adapter have in common. Each configuration is scored by ``n_samples`` draws a problem.

    Returns one row a simulation: ``baseline`` (one more configuration, as the published baseline
    is), ``typical`` (the first of the searched ones), ``best``; all pass rates in 0..1.

    Raises FlexError on a rate or correlation outside its range or a count below 1.
    """
    if not 0 < p < 1:
        raise FlexError("the true pass rate must lie strictly between 0 and 1")
    if not (0 <= correlation <= 1 and 0 <= adapter_share <= 1):
        raise FlexError("correlation and adapter_share must lie in 0..1")
    if min(n_problems, n_adapters, n_decodings, n_samples, n_simulations) < 1:
        raise FlexError("problems, adapters, decodings, samples and simulations must be >= 1")
    rng = np.random.default_rng(seed)
    rest = 1 - correlation
    noise_sd = np.sqrt(rest * (1 - adapter_share))
    rows = np.empty((n_simulations, 3))
    for simulation in range(n_simulations):
        shared = np.sqrt(correlation) * rng.standard_normal(n_problems)
        # Row 0 is the baseline's adapter; the searched adapters follow.
        own = np.sqrt(rest * adapter_share) * rng.standard_normal((n_adapters + 1, n_problems))
        margin = norm.ppf(p) - shared - own
        rate = norm.cdf(margin / noise_sd) if noise_sd > 0 else (margin > 0).astype(float)
        base = rng.binomial(n_samples, rate[0]).mean() / n_samples
        draws = rng.binomial(n_samples, rate[1:, None, :], (n_adapters, n_decodings, n_problems))
        scores = draws.mean(axis=2) / n_samples
        rows[simulation] = base, scores[0, 0], scores.max()
    return pd.DataFrame(rows, columns=["baseline", "typical", "best"])


_ANSWERS = {"claim": ("reproduced", "not reproduced"), "question": ("yes", "no")}


def arm_rates(verdicts: pd.DataFrame, *, seed: int, n_resamples: int = 10_000) -> pd.DataFrame:
    """pass@1 of every arm on every benchmark, its interval over tasks and seeds at once.

    ``verdicts`` comes from `flexlib.runs.store.verdicts`. Returns ``arm, benchmark, language, tasks,
    seeds, pass_at_k, low, high``.
    """
    rows = []
    keys = ["arm", "benchmark", "language"]
    for (arm, benchmark, language), _ in verdicts.groupby(keys, sort=False, observed=True):
        matrix = solve_matrix(verdicts, arm, benchmark)
        result = paired_bootstrap(matrix, seed=seed, n_resamples=n_resamples)
        rows.append((arm, benchmark, language, *matrix.shape, *_interval(result)))
    return pd.DataFrame(rows, columns=[*keys, "tasks", "seeds", "pass_at_k", "low", "high"])


def difference(
    verdicts: pd.DataFrame,
    treatment: str,
    control: str,
    benchmark: str,
    *,
    seed: int,
    tasks: Collection[str] | None = None,
    n_resamples: int = 10_000,
) -> Bootstrap:
    """pass@1 of one arm minus that of another, by the one rule of pairing of this study.

    Arms are paired by task, and by seed where both have it: only those seeds count. An arm that has
    one run, as a base decoded greedily has, is paired with every seed of the other. Arms without a
    common seed are paired by task alone. ``tasks``: these only.

    Raises:
        FlexError: an arm has no verdicts there, or they were graded on different problems.
    """
    first, second = (solve_matrix(verdicts, arm, benchmark) for arm in (treatment, control))
    if not first.index.equals(second.index):
        raise FlexError(
            f"{treatment} and {control} were graded on different problems of {benchmark}; regrade one"
        )
    if tasks is not None:
        first, second = (rates[rates.index.isin(tasks)] for rates in (first, second))
    common = first.columns.intersection(second.columns)
    paired = len(common) > 0 and min(first.shape[1], second.shape[1]) > 1
    if paired:
        first, second = first[common], second[common]
    return paired_bootstrap(first, second, seed=seed, paired_seeds=paired, n_resamples=n_resamples)


def contrasts(
    verdicts: pd.DataFrame,
    pairs: Sequence[tuple[str, str]],
    *,
    seed: int,
    n_resamples: int = 10_000,
) -> pd.DataFrame:
    """Differences in pass@1, first arm minus second, of pairs of arms on every benchmark.

    ``verdicts`` comes from `flexlib.runs.store.verdicts`. Returns ``treatment, control, benchmark, language,
    tasks, seeds, difference, low, high`` (0..1, 95 % intervals; ``seeds`` of the treatment that
    count), without the pairs of which an arm was not run.

    Raises:
        FlexError: as `difference`.
    """
    rows, keys = [], ["benchmark", "language"]
    for treatment, control in pairs:
        for (benchmark, language), of in verdicts.groupby(keys, sort=False, observed=True):
            if {treatment, control} <= set(of["arm"]):
                result = difference(
                    of, treatment, control, benchmark, seed=seed, n_resamples=n_resamples
                )
                size = (result.tasks, result.seeds[0])
                rows.append((treatment, control, benchmark, language, *size, *_interval(result)))
    columns = ["treatment", "control", *keys, "tasks", "seeds", "difference", "low", "high"]
    return pd.DataFrame(rows, columns=columns)


def gains(
    verdicts: pd.DataFrame,
    treatment: str,
    control: str,
    groups: pd.Series,
    *,
    seed: int,
    n_resamples: int = 10_000,
) -> pd.DataFrame:
    """Paired differences, treatment minus control, on each benchmark: all tasks, then by group.

    ``groups`` maps task_id (its index) to a group. Returns ``benchmark, language, group, tasks,
    difference, low, high``; the first group is "all tasks".
    """
    rows = []
    of_group = {name: tasks.index for name, tasks in groups.groupby(groups)}
    for (benchmark, language), _ in verdicts.groupby(["benchmark", "language"], sort=False):
        for group, tasks in {"all tasks": None, **of_group}.items():
            result = difference(
                verdicts,
                treatment,
                control,
                benchmark,
                seed=seed,
                tasks=tasks,
                n_resamples=n_resamples,
            )
            rows.append((benchmark, language, group, result.tasks, *_interval(result)))
    columns = ["benchmark", "language", "group", "tasks", "difference", "low", "high"]
    return pd.DataFrame(rows, columns=columns)


def _interval(result: Bootstrap) -> tuple[float, float, float]:
    return result.estimate, result.low, result.high


def decide(
    estimate: float, low: float, high: float, adjusted_p: float, n: int, *, claim: Mapping
) -> str:
    """The pre-registered verdict: 'reproduced', 'not reproduced' or 'cannot tell' of a claim,
    'yes', 'no' or 'cannot tell' of a question.

    ``claim`` is an entry of data/claims.yml; estimate and interval are in the units of its metric.
    It holds if the adjusted p-value is at most alpha and the estimate points the claimed way
    (either way for a two-sided claim). It fails if the interval excludes every effect of at least
    ``smallest_effect`` the claimed way, or if the effect is significant the other way. An
    *equivalent* claim holds if the interval lies within +-smallest_effect and fails if it lies
    outside. Anything else, and n < ``minimum_n``, cannot be told.
    """
    holds, fails = _ANSWERS[claim["kind"]]
    smallest, direction = claim["smallest_effect"], claim["direction"]
    significant = adjusted_p <= claim["alpha"]
    within = -smallest < low and high < smallest
    if n < claim["minimum_n"]:
        return "cannot tell"
    if direction == "equivalent":
        outside = low >= smallest or high <= -smallest
        return holds if within else fails if outside else "cannot tell"
    if direction == "two-sided":
        return holds if significant else fails if within else "cannot tell"
    if direction == "less":
        estimate, low, high = -estimate, -high, -low
    if significant:
        return holds if estimate > 0 else fails
    return fails if high < smallest else "cannot tell"


def assess(
    claims: pd.DataFrame,
    verdicts: pd.DataFrame,
    *,
    seed: int,
    n_resamples: int = 10_000,
    measured: Mapping[str, Bootstrap] | None = None,
) -> pd.DataFrame:
    """The state of every registered claim, given what is in the store.

    ``claims`` comes from `flexlib.study.paper.claims`, ``verdicts`` from `flexlib.runs.store.verdicts` for one
    profile, ``measured`` the results of claims with another metric, by id. A claim on pass@1 is
    tested if both arms have runs on its benchmark; p-values are adjusted by Holm's procedure over
    the whole family, those of claims not yet run counting as 1. The pairing is that of `difference`.

    Returns a row a claim: ``id, difference, low, high, p_value, adjusted_p, tasks, seeds,
    detectable, verdict``; ``seeds`` is the smaller number of trained seeds, ``detectable`` the
    difference that would have been seen with 80 % power, ``verdict`` 'not run' where untested.
    """
    results: dict[str, Bootstrap] = dict(measured or {})
    for claim in claims.itertuples():
        run = [
            {claim.treatment, claim.control} <= set(verdicts["arm"][verdicts["benchmark"] == part])
            for part in claim.benchmark.split(" + ")
        ]
        if claim.metric == "pass@1" and all(run):
            results[claim.id] = difference(
                verdicts,
                claim.treatment,
                claim.control,
                claim.benchmark,
                seed=seed,
                n_resamples=n_resamples,
            )
    adjusted: dict[str, float] = {}
    for _, family in claims.groupby("family", sort=False):
        adjusted |= holm({i: results[i].p_value if i in results else 1.0 for i in family["id"]})
    rows = []
    for claim in claims.to_dict("records"):
        result = results.get(claim["id"])
        if result is None:
            rows.append({"id": claim["id"], "verdict": "not run"})
            continue
        # A base model is decoded greedily, once: only arms that train have seeds to count.
        seeds = result.seeds[0] if claim["control"] == "base" else min(result.seeds)
        interval = {"difference": result.estimate, "low": result.low, "high": result.high}
        rows.append(
            {
                "id": claim["id"],
                **interval,
                "p_value": result.p_value,
                "adjusted_p": adjusted[claim["id"]],
                "tasks": result.tasks,
                "seeds": seeds,
                "detectable": float(result.draws.std() * norm.ppf([0.975, 0.8]).sum()),
                "verdict": decide(*interval.values(), adjusted[claim["id"]], seeds, claim=claim),
            }
        )
    columns = ["id", "difference", "low", "high", "p_value", "adjusted_p", "tasks", "seeds"]
    return pd.DataFrame(rows, columns=[*columns, "detectable", "verdict"])
