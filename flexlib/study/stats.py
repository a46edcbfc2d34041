"""The statistics of the study: tests, intervals, power, and the price of choosing the best.

Two designs occur. The published figures are single proportions on a small benchmark, so they get
two-proportion and power calculations. Our own runs are *tasks x seeds* matrices of pass rates, so
differences between arms are bootstrapped over both, since both are samples of what might have been
drawn. How arms are paired and claims decided is in :mod:`flexlib.study.inference`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri

from flexlib.errors import FlexError
from flexlib.study.metrics import solve_matrix


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
    # statsmodels takes seconds to import, and few who import this module need it.
    from statsmodels.stats.proportion import confint_proportions_2indep, proportions_ztest

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
class Bootstrap:
    """A bootstrapped mean or difference of means; ``draws`` holds the replicates, sorted.

    ``seeds`` is the number of each arm's, ``bases`` that of base models.
    """

    estimate: float
    low: float
    high: float
    p_value: float
    tasks: int
    seeds: tuple[int, ...]
    draws: np.ndarray
    bases: int = 1

    @property
    def se(self) -> float:
        """Standard error; by the quartiles, since few seeds give the draws heavy tails."""
        return float(np.subtract(*np.quantile(self.draws, (0.75, 0.25))) / _QUARTILES)

    @property
    def floor(self) -> float:
        """The smallest one-sided p-value that so many replicates can give."""
        return 1 / (len(self.draws) + 1)

    def tail(self, null: float, side: int) -> float:
        """One-sided p-value of "the effect is at most ``null``" (side 1) or "at least" (side -1)."""
        beyond = np.sum(side * self.draws <= side * null)
        return float((beyond + 1) / (len(self.draws) + 1))

    def bound(self, level: float, side: int) -> float:
        """The lower (side 1) or upper (side -1) confidence bound: it lies beyond a null if, and only if,
        the null's `tail` is at most ``level``.

        Raises FlexError if there are too few replicates for the level.
        """
        place = int(level * (len(self.draws) + 1) * (1 + 1e-12))
        if place < 1:
            raise FlexError(
                f"{len(self.draws)} replicates have no bound at level {level:.2g}; use more"
            )
        return float(self.draws[place - 1] if side > 0 else self.draws[-place])


_QUARTILES = 2 * ndtri(0.75)  # between the quartiles of a normal distribution, in standard errors


def paired_bootstrap(
    treatment: ArrayLike,
    control: ArrayLike | None = None,
    *,
    seed: int,
    paired_seeds: bool = False,
    n_resamples: int = 10_000,
    confidence: float = 0.95,
) -> Bootstrap:
    """Bootstrap of mean(treatment) - mean(control) over tasks, seeds and base models at once.

    ``treatment`` and ``control`` are pass rates of shape (tasks, seeds) or (tasks, seeds, bases), rows in
    the same task order; a vector counts as one seed. A base model, decoded greedily, has one seed.
    Without a control the mean of ``treatment`` itself is bootstrapped.

    Every replicate draws tasks and bases with replacement, the same for both arms, and training seeds
    with replacement: the same for both if ``paired_seeds``, else independently. The factors are
    crossed, so this is the pigeonhole bootstrap (Owen 2007), which errs towards wide intervals.

    Drawing n levels of a factor with replacement makes their deviations from the mean smaller by
    sqrt((n - 1)/n) (Rao and Wu 1988), and the interval that of a known variance: of ten seeds, a bound
    at the level 0.003 is missed four times as often as it should be. In each replicate the deviations
    are therefore stretched by sqrt(n/c), c a draw of chi-square with n - 1 degrees of freedom, which
    gives the mean of n levels the tails of Student's t (Hesterberg 2015 stretches by the same two
    factors, at one level). For hundreds of tasks it makes no difference.

    The interval is of percentiles. ``p_value`` is two-sided: twice the smaller share of replicates
    on either side of 0, the observed one included, hence never 0.

    Raises FlexError on shapes that do not pair or missing values.
    """
    a = _tasks_by_seeds(treatment)
    b = np.zeros((len(a), 1, a.shape[2])) if control is None else _tasks_by_seeds(control)
    if len(a) != len(b) or a.shape[2] != b.shape[2]:
        raise FlexError(
            f"arms do not pair: {len(a)} and {len(b)} tasks, {a.shape[2]} and {b.shape[2]} bases"
        )
    if paired_seeds and a.shape != b.shape:
        raise FlexError(f"seeds do not pair: {a.shape[1]} and {b.shape[1]}")
    blocks = [a - b] if paired_seeds else [a, -b]

    tasks, bases, state = _shared_weights(seed, len(a), a.shape[2], n_resamples)
    rng = np.random.default_rng(seed)
    rng.bit_generator.state = state
    draws = np.zeros(n_resamples)
    for block in blocks:
        seeds = _weights(rng, block.shape[1], n_resamples)
        by_seed = (tasks @ block.reshape(len(block), -1)).reshape(n_resamples, *block.shape[1:])
        draws += np.einsum("rsb,rs,rb->r", by_seed, seeds, bases)
    draws.sort()
    sizes = tuple(m.shape[1] for m in ((a,) if control is None else (a, b)))
    estimate = float(sum(block.mean() for block in blocks))
    made = Bootstrap(estimate, np.nan, np.nan, np.nan, len(a), sizes, draws, a.shape[2])
    low, high = (made.bound((1 - confidence) / 2, side) for side in (1, -1))
    p_value = min(1.0, 2 * min(made.tail(0, 1), made.tail(0, -1)))
    return replace(made, low=low, high=high, p_value=p_value)


@lru_cache(maxsize=4)
def _shared_weights(
    seed: int, n_tasks: int, n_bases: int, n_resamples: int
) -> tuple[np.ndarray, np.ndarray, Any]:
    """The weights of tasks and bases, and the generator's state after them: the contrasts of a page have the
    same seed and tasks, and these weights are most of the work of each."""
    rng = np.random.default_rng(seed)
    tasks, bases = (_weights(rng, n, n_resamples) for n in (n_tasks, n_bases))
    for shared in (tasks, bases):
        shared.flags.writeable = False
    return tasks, bases, rng.bit_generator.state


def _weights(rng: np.random.Generator, n: int, n_resamples: int) -> np.ndarray:
    """Weights of the n levels of a factor, a row a replicate; each row adds up to 1."""
    if n == 1:
        return np.ones((n_resamples, 1))
    drawn = rng.multinomial(n, np.full(n, 1 / n), n_resamples) / n
    stretch = np.sqrt(n / rng.chisquare(n - 1, n_resamples))
    return 1 / n + (drawn - 1 / n) * stretch[:, None]


def _tasks_by_seeds(rates: ArrayLike) -> np.ndarray:
    """As (tasks, seeds, bases)."""
    array = np.asarray(rates, dtype=float)
    array = array.reshape(*array.shape, *[1] * (3 - array.ndim)) if array.ndim else array
    if array.ndim != 3 or array.size == 0:
        raise FlexError("the bootstrap needs a non-empty table of tasks x seeds (x bases)")
    if not np.isfinite(array).all():
        raise FlexError("the bootstrap found missing values; every seed must cover every task")
    return array


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """p-values adjusted for all comparisons made (Holm 1979): reject where adjusted <= alpha."""
    from statsmodels.stats.multitest import multipletests

    if not p_values:
        raise FlexError("Holm's procedure needs at least one p-value")
    adjusted = multipletests(list(p_values.values()), method="holm")[1]
    return {name: float(p) for name, p in zip(p_values, adjusted, strict=True)}


def power_unpaired(
    p_control: float, difference: ArrayLike, n: int, alpha: float = 0.05
) -> np.ndarray:
    """Power of the two-sided two-proportion z test, n problems an arm (normal approximation)."""
    p1 = np.asarray(difference, dtype=float) + p_control
    if ((p1 <= 0) | (p1 >= 1)).any() or not 0 < p_control < 1:
        raise FlexError("power needs both pass rates strictly between 0 and 1")
    pooled = (p1 + p_control) / 2
    null_sd = np.sqrt(2 * pooled * (1 - pooled) / n)
    true_sd = np.sqrt((p1 * (1 - p1) + p_control * (1 - p_control)) / n)
    return _two_sided_power(p1 - p_control, null_sd, true_sd, alpha)


def power_paired(
    difference: ArrayLike, discordant: float, n: int, alpha: float = 0.05
) -> np.ndarray:
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


def _two_sided_power(
    difference: np.ndarray, null_sd: np.ndarray, true_sd: np.ndarray, alpha: float
) -> np.ndarray:
    critical = ndtri(1 - alpha / 2) * null_sd
    with np.errstate(divide="ignore"):
        upper = ndtr((difference - critical) / true_sd)
        lower = ndtr((-critical - difference) / true_sd)
    return upper + lower


def detectable_unpaired(p_control: float, n: int, power: float = 0.8, alpha: float = 0.05) -> float:
    """Smallest gain over ``p_control`` that an unpaired test on n problems sees with this power."""
    top = 1 - p_control - 1e-9
    return _smallest(lambda d: power_unpaired(p_control, d, n, alpha), top, power)


def detectable_paired(discordant: float, n: int, power: float = 0.8, alpha: float = 0.05) -> float:
    """Smallest gain that a paired test on n problems sees, given the share that is discordant."""
    return _smallest(lambda d: power_paired(d, discordant, n, alpha), discordant - 1e-9, power)


def _smallest(power_of: Callable[[float], np.ndarray], largest: float, power: float) -> float:
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
        margin = ndtri(p) - shared - own
        rate = ndtr(margin / noise_sd) if noise_sd > 0 else (margin > 0).astype(float)
        base = rng.binomial(n_samples, rate[0]).mean() / n_samples
        draws = rng.binomial(n_samples, rate[1:, None, :], (n_adapters, n_decodings, n_problems))
        scores = draws.mean(axis=2) / n_samples
        rows[simulation] = base, scores[0, 0], scores.max()
    return pd.DataFrame(rows, columns=["baseline", "typical", "best"])


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
        interval = (result.estimate, result.low, result.high)
        rows.append((arm, benchmark, language, *matrix.shape, *interval))
    return pd.DataFrame(rows, columns=[*keys, "tasks", "seeds", "pass_at_k", "low", "high"])
