"""From verdicts to rates: pass@k, its interval, and the tables that the statistics work on.

Input is the tidy verdict table of the store, one row a completion: ``run_id, arm, seed, benchmark,
language, task_id, sample, verdict, passed, detail``. The unit of sampling is the *problem*: further
samples of the same problem sharpen its own rate, they are not further problems.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

from flexlib.errors import FlexError
from flexlib.grading.programs import is_tolerable

if TYPE_CHECKING:  # pandas and statsmodels take a second to import: longer than a small grading
    import pandas as pd
    from numpy.typing import ArrayLike

RUN = ["arm", "seed", "benchmark", "language"]


def pass_at_k(n_samples: ArrayLike, n_correct: ArrayLike, k: int) -> np.ndarray:
    """Unbiased pass@k of each problem: ``1 - C(n - c, k) / C(n, k)`` (Chen et al. 2021, eq. 1).

    ``n_samples`` and ``n_correct`` are scalars or equally long vectors, one entry a problem.
    The product form never builds a large binomial coefficient.

    Raises FlexError if k < 1, if any problem has fewer than k samples (the estimator does not
    exist there), or if a count of correct samples lies outside 0..n.
    """
    n, c = np.broadcast_arrays(np.asarray(n_samples), np.asarray(n_correct))
    if k < 1:
        raise FlexError(f"pass@{k} is not defined; use k >= 1")
    if n.size == 0:
        raise FlexError("pass@k of no problems; grade a benchmark first")
    if (n < k).any():
        raise FlexError(
            f"pass@{k} needs at least {k} samples of every problem, found {n.min()}; "
            "draw more samples or lower k"
        )
    if ((c < 0) | (c > n)).any():
        raise FlexError("more correct samples than samples; the verdict table is corrupt")
    all_wrong = np.ones(n.shape)
    for i in range(k):
        all_wrong *= np.clip((n - c - i) / (n - i), 0.0, None)
    return 1.0 - all_wrong


def wilson_interval(
    successes: ArrayLike, trials: ArrayLike, confidence: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
    """Score interval of a proportion (Wilson 1927): lower and upper bound, in 0..1.

    ``successes`` may be fractional, as it is for a mean over several samples of each problem.
    """
    successes, trials = _counts(successes, trials)
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share, scale = successes / trials, 1 + z**2 / trials
    centre = (share + z**2 / (2 * trials)) / scale
    half = z / scale * np.sqrt(share * (1 - share) / trials + z**2 / (4 * trials**2))
    return np.clip(centre - half, 0.0, 1.0), np.clip(centre + half, 0.0, 1.0)


def clopper_pearson_interval(
    successes: ArrayLike, trials: ArrayLike, confidence: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
    """Exact interval of a proportion: coverage never below ``confidence``, wider than Wilson's."""
    from statsmodels.stats.proportion import proportion_confint

    successes, trials = _counts(successes, trials)
    low, high = proportion_confint(successes, trials, alpha=1 - confidence, method="beta")
    return np.asarray(low), np.asarray(high)


def _counts(successes: ArrayLike, trials: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    successes, trials = np.asarray(successes, dtype=float), np.asarray(trials, dtype=float)
    if (trials <= 0).any() or (successes < 0).any() or (successes > trials).any():
        raise FlexError("an interval needs 0 <= successes <= trials and at least one trial")
    return successes, trials


def check_verdicts(
    verdicts: pd.DataFrame, expected: Mapping[str, Collection[str]] | None = None
) -> None:
    """Refuse a verdict table from which no honest rate can be computed.

    ``expected`` maps a benchmark to all its task ids. Without it, every run of a benchmark must at
    least cover the same tasks, so that no run looks better by having skipped some.

    Raises FlexError on an empty table, repeated samples or missing problems.
    """
    if verdicts.empty:
        raise FlexError("no verdicts to count; run or regrade an arm first")
    if verdicts.duplicated([*RUN, "task_id", "sample"]).any():
        raise FlexError("the same sample was counted twice; select one run for each arm and seed")
    for benchmark, rows in verdicts.groupby("benchmark", observed=True):
        tasks = set(expected[benchmark] if expected else rows["task_id"].unique())
        for run, judged_tasks in rows.groupby(RUN, observed=True)["task_id"].unique().items():
            missing = tasks - set(judged_tasks)
            if missing:
                raise FlexError(
                    f"{benchmark}, arm {run[0]}, seed {run[1]}: {len(missing)} of {len(tasks)} "
                    f"problems have no verdict (first: {min(missing)}); regrade the run"
                )


def judged(verdicts: pd.DataFrame) -> pd.DataFrame:
    """The table without the problems on which a program of any run could not be judged.

    A harness error says nothing about the program. Its problem is left out for every run of the
    table, so that all are compared on the same ones.

    Raises FlexError if that were more than ``grading.programs.UNJUDGED`` of a benchmark's problems,
    and more than one.
    """
    broken = verdicts[verdicts["verdict"] == "harness_error"]
    for benchmark, rows in broken.groupby("benchmark", observed=True):
        of_benchmark = verdicts["benchmark"] == benchmark
        lost, problems = set(rows["task_id"]), verdicts.loc[of_benchmark, "task_id"].nunique()
        if not is_tolerable(len(lost), problems):
            raise FlexError(
                f"{benchmark}: {len(lost)} of {problems} problems have harness errors, which are not "
                f"failures; `flexlib regrade {' '.join(sorted(set(rows['run_id'])))}`, with the "
                "--store that they are in"
            )
        verdicts = verdicts[~(of_benchmark & verdicts["task_id"].isin(lost))]
    return verdicts


def per_task(verdicts: pd.DataFrame) -> pd.DataFrame:
    """One row a run and problem: ``arm, seed, benchmark, language, task_id, samples, correct``."""
    grouped = verdicts.groupby([*RUN, "task_id"], observed=True)["passed"]
    return grouped.agg(samples="size", correct="sum").reset_index()


def counts(
    verdicts: pd.DataFrame,
    expected: Mapping[str, Collection[str]] | None = None,
    k: int = 1,
    confidence: float = 0.95,
) -> pd.DataFrame:
    """pass@k with its interval for every (arm, seed, benchmark, language).

    Returns the columns ``tasks, samples, passed, pass_at_k, low, high`` beside the four keys. The
    interval is Wilson's with n = the number of problems, also when there are several samples of
    each: exact for one sample, conservative for more. Of problems with a harness error see `judged`.

    Raises FlexError as `check_verdicts`, `judged` and `pass_at_k` do.
    """
    import pandas as pd

    check_verdicts(verdicts, expected)
    rows = []
    for run, group in per_task(judged(verdicts)).groupby(RUN, observed=True):
        rate = float(pass_at_k(group["samples"], group["correct"], k).mean())
        low, high = wilson_interval(rate * len(group), len(group), confidence)
        total, passed = int(group["samples"].sum()), int(group["correct"].sum())
        rows.append((*run, len(group), total, passed, rate, float(low), float(high)))
    return pd.DataFrame(
        rows, columns=[*RUN, "tasks", "samples", "passed", "pass_at_k", "low", "high"]
    )


def solve_matrix(verdicts: pd.DataFrame, arm: str, benchmark: str) -> pd.DataFrame:
    """Fraction of samples that pass, tasks down and seeds across, as the paired bootstrap takes it.

    ``benchmark`` can name several, joined by `` + ``: their tasks are pooled, each counting once.
    A problem with a harness error in any arm of the table is left out of each (see `judged`).

    Raises FlexError if the arm has no verdicts there, if a seed lacks a task, or if pooled benchmarks
    have a task id in common.
    """
    if len(parts := benchmark.split(" + ")) > 1:
        import pandas as pd

        pooled = pd.concat([solve_matrix(verdicts, arm, part) for part in parts]).dropna(axis=1)
        if len(shared := pooled.index[pooled.index.duplicated()]):
            raise FlexError(
                f"{benchmark} cannot be pooled: both have the task {shared[0]}; name each alone"
            )
        return pooled
    of = verdicts["benchmark"] == benchmark
    if (of & (verdicts["verdict"] == "harness_error")).any():
        verdicts = judged(verdicts[of])
    rows = verdicts[(verdicts["benchmark"] == benchmark) & (verdicts["arm"] == arm)]
    if rows.empty:
        raise FlexError(f"no verdicts of arm {arm} on {benchmark}; run it with 'flexlib run'")
    check_verdicts(rows)
    rates = rows.assign(passed=rows["passed"].astype(float))
    return rates.pivot_table(index="task_id", columns="seed", values="passed", aggfunc="mean")


def composition(verdicts: pd.DataFrame, by: str = "arm") -> pd.DataFrame:
    """Share of each verdict within each group: ``by, verdict, count, share`` (shares sum to 1)."""
    table = verdicts.groupby([by, "verdict"], observed=True).size().rename("count").reset_index()
    table["share"] = table["count"] / table.groupby(by, observed=True)["count"].transform("sum")
    return table
