"""How alike twins are in the middle of a model, a number a run, and the registered claims on it.

The middle layers are those whose depth is between a third and two thirds of the model's. All numbers are
of the primary state (flexlib.analysis.representations) and have the `benchmark` of their profile:

==================  ======================================================================
metric              what
==================  ======================================================================
twin-retrieval      recall at 1 of the twin, mean over the middle layers
twin-cka            debiased linear CKA of twins, mean over the middle layers
retrieval-transfer  over the seeds of an arm: Spearman's rank correlation of twin-retrieval
                    with pass@1 in the language that was not trained
==================  ======================================================================
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from scipy.special import ndtr, ndtri

from flexlib import analysis, config
from flexlib.study import inference
from flexlib.study.inference import Effect
from flexlib.study.metrics import judged
from flexlib.study.stats import Bootstrap, paired_bootstrap
from flexlib.tasks.benchmarks import TWINS

CORRELATION = "retrieval-transfer"
QUANTITIES = {"twin-retrieval": "retrieval", "twin-cka": "cka"}
METRICS = (*QUANTITIES, CORRELATION)


@dataclass(frozen=True)
class RankCorrelation:
    """Spearman's correlation over n seeds. Fisher's z of it is taken as normal with the variance 1.06 / (n-3)
    of Fieller, Hartley and Pearson (1957)."""

    estimate: float
    n: int
    tasks: int = 1
    bases: int = 1
    floor: float = 0.0

    @property
    def seeds(self) -> tuple[int, ...]:
        return (self.n, self.n)

    @property
    def se(self) -> float:
        return math.sqrt(1.06 / (self.n - 3))

    def tail(self, null: float, side: int) -> float:
        return float(ndtr(-side * (_z(self.estimate) - _z(null)) / self.se))

    def bound(self, level: float, side: int) -> float:
        return math.tanh(_z(self.estimate) + side * float(ndtri(level)) * self.se)


def _z(r: float) -> float:
    return math.atanh(min(max(r, -1 + 1e-12), 1 - 1e-12))


def correlated(first: pd.Series, second: pd.Series) -> RankCorrelation | None:
    """Two numbers a run, by the index that both have; None of fewer than ten, for which the normal
    approximation is not made, or if one does not vary."""
    both = pd.concat([first, second], axis=1, join="inner").dropna()
    if len(both) < 10 or (both.nunique() < 2).any():
        return None
    return RankCorrelation(float(both.corr("spearman").iloc[0, 1]), len(both))


def within_arms(first: pd.Series, second: pd.Series, *, seed: int) -> Bootstrap | None:
    """Spearman's correlation of two numbers a run over the seeds of an arm, the mean over arms: what arms
    differ in has no part in it. None without an arm of four runs in which both vary.

    Its bootstrap draws seeds, each with the runs of all arms, since runs of one seed began alike; ranks stay
    as they are.

    Args:
        first, second: by arm and seed; only runs that both have count.
    """
    both = pd.concat([first, second], axis=1, join="inner").dropna()
    arms = [runs.rank() for _, runs in both.groupby("arm") if len(runs) >= 4]
    arms = [ranks for ranks in arms if (ranks.nunique() > 1).all()]
    if not arms:
        return None
    products = [((r - r.mean()) / r.std(ddof=0)).prod(axis=1) / len(r) / len(arms) for r in arms]
    by_seed = pd.concat(products).groupby("seed").sum()
    by_seed *= len(by_seed)  # the mean over seeds is that of the arms' correlations
    return paired_bootstrap(by_seed.to_numpy()[None], seed=seed)


def benchmark(profile: str) -> str:
    """The name of the twins that a profile's models are asked."""
    own = config.benchmarks_of(profile)
    return next(name for name, pair in TWINS.items() if set(pair) <= set(own))


def middle(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of the middle layers, of a table with the column ``layer`` that holds all of them."""
    depth = rows["layer"].max()
    return rows[(3 * rows["layer"] > depth) & (3 * rows["layer"] < 2 * depth)]


def table(folder: Path | None = None, *, profile: str) -> pd.DataFrame:
    """The numbers of all runs that have been analysed, and the base's: ``arm, seed, benchmark, metric,
    value``.

    Raises:
        FlexError: a run is corrupt.
    """
    from flexlib.analysis import representations  # torch is slow to import

    rows = analysis.read("representations", folder, profile=profile)
    rows = middle(rows[rows["state"] == representations.PRIMARY])
    names = {quantity: metric for metric, quantity in QUANTITIES.items()}
    rows = rows.assign(metric=rows["quantity"].map(names)).dropna(subset="metric")
    found = rows.groupby(["arm", "seed", "metric"])["value"].mean().reset_index()
    return found.assign(benchmark=benchmark(profile))[
        ["arm", "seed", "benchmark", "metric", "value"]
    ]


def by_languages(folder: Path | None = None, *, profile: str, arms: Sequence[str]) -> pd.DataFrame:
    """Recall of the same task in every two languages: ``arm, first, second, layer, value, seeds``, means over
    the seeds that all trained ``arms`` with such an analysis have; the base has one run.

    Raises:
        FlexError: a run is corrupt.
    """
    rows = analysis.read("languages", folder, profile=profile).query("quantity == 'retrieval'")
    rows = rows[rows["arm"].isin(arms)]
    trained = rows[rows["arm"] != "base"].groupby("arm")["seed"].unique().map(set)
    shared = set.intersection(*trained) if len(trained) else set()
    rows = rows[(rows["arm"] == "base") | rows["seed"].isin(shared)]
    keys = ["arm", "first", "second", "layer"]
    found = rows.groupby(keys, sort=False)["value"].agg(value="mean", seeds="size").reset_index()
    return found.sort_values("arm", key=lambda c: c.map(list(arms).index), kind="stable")


def rates(verdicts: pd.DataFrame, benchmark: str) -> pd.Series:
    """pass@1 of every run on a benchmark, by arm and seed."""
    of = judged(verdicts[verdicts["benchmark"] == benchmark])
    return of.groupby(["arm", "seed"])["passed"].mean().rename("rate")


def by_claim(
    claims: pd.DataFrame, numbers: pd.DataFrame, verdicts: pd.DataFrame, *, seed: int
) -> dict[str, Effect]:
    """The results, by id, of the registered ``claims`` on `METRICS`: differences of means over the seeds
    that both arms have, paired by seed, the one run of a base with every seed; of `CORRELATION` that over
    the seeds of the treatment. A control that has one run changes no rank: what correlates with the rate
    does so with the gain over it. Claims with too few seeds are left out.

    Args:
        numbers: from :func:`table`.
        verdicts: of the same runs.
        seed: of the bootstrap.
    """
    results: dict[str, Effect] = {}
    for claim in claims[claims["metric"].isin(METRICS)].itertuples():
        metric = "twin-retrieval" if claim.metric == CORRELATION else claim.metric
        values = numbers[numbers["metric"] == metric].pivot(
            index="arm", columns="seed", values="value"
        )
        if not {claim.treatment, claim.control} <= set(values.index):
            continue
        treatment, control = values.loc[claim.treatment], values.loc[claim.control]
        if claim.metric == CORRELATION:
            own = verdicts[verdicts["arm"] == claim.treatment]
            _, untrained = TWINS[claim.benchmark]
            passed = rates(own, untrained).get(claim.treatment) if len(own) else None
            if passed is not None and (found := correlated(treatment, passed)):
                results[claim.id] = found
            continue
        if claim.control.split(" ")[0] == "base":
            control = control.max()  # of the one run that it has
        if effect := inference.paired_by_seed(treatment, control, seed=seed):
            results[claim.id] = effect
    return results
