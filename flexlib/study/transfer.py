"""Transfer between NanoBench's languages: trained on one, tested on another.

A *cell* is a language that an arm is trained on and one that it is tested in; off the diagonal they
differ. All runs are of the decoding ``four-languages``. Registered claims are on two metrics:

===================  ======================  =====================================================
metric               benchmark               what
===================  ======================  =====================================================
transfer             nanobench-off-diagonal  pass@1 in languages that were not trained, mean over
                                             the cells off the diagonal
transfer             nanobench-from-FIRST    the same of training on FIRST alone
transfer-asymmetry   nanobench-FIRST-SECOND  gain over the control in SECOND of training on FIRST,
                                             less that in FIRST of training on SECOND
===================  ======================  =====================================================

One task in several languages is one task: their rates are averaged before tasks are drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, permutations

import pandas as pd

from flexlib.nanobench.syntax import LANGUAGES
from flexlib.study import inference
from flexlib.study.metrics import solve_matrix
from flexlib.study.stats import Bootstrap, paired_bootstrap

DECODING = "four-languages"
TRANSFER, ASYMMETRY = "transfer", "transfer-asymmetry"
METRICS = (TRANSFER, ASYMMETRY)
# The cells of a benchmark of the metric `TRANSFER`.
CELLS = {
    "nanobench-off-diagonal": list(permutations(LANGUAGES, 2)),
    **{
        f"nanobench-from-{first}": [(first, other) for other in LANGUAGES if other != first]
        for first in LANGUAGES
    },
}


def label(arm: str, trained: str | None = None) -> str:
    """The stored name of an arm that was trained on a language; without one, of a base."""
    dataset = f" training.dataset=nanobench-{trained}" if trained not in (None, "python") else ""
    return f"{arm} {DECODING}{dataset}"


def matrix(
    verdicts: pd.DataFrame, arm: str, control: str = "base", *, seed: int, n_resamples: int = 10_000
) -> pd.DataFrame:
    """The gain of an arm over the control in every cell that has been run: ``arm, trained, tested,
    difference, low, high, tasks, seeds``, with a 95 % interval of each cell alone.

    Args:
        control: ``base``, or another arm, which is then trained on the same language.
        seed: of the bootstrap.
    """
    trained = {label(arm, language): language for language in LANGUAGES}
    pairs = [
        (name, label(control, None if control == "base" else trained[name])) for name in trained
    ]
    found = inference.contrasts(verdicts, pairs, seed=seed, n_resamples=n_resamples)
    trained_on = found["treatment"].map(trained)
    cells = found.assign(arm=arm, trained=trained_on, tested=found["language"])
    columns = ["arm", "trained", "tested", "difference", "low", "high", "tasks", "seeds"]
    cells = cells.sort_values(["trained", "tested"], key=lambda c: c.map(LANGUAGES.index))
    return cells.reset_index(drop=True)[columns]


def by_claim(claims: pd.DataFrame, verdicts: pd.DataFrame, *, seed: int) -> dict[str, Bootstrap]:
    """The results, by id, of the registered ``claims`` on `METRICS`, paired by task and by seed, a base
    with every seed. A claim is left out until all its cells have runs, of two common seeds at least.

    Args:
        verdicts: from :func:`flexlib.runs.store.verdicts`, of one profile.
        seed: of the bootstrap.
    """
    results = {}
    for claim in claims[claims["metric"].isin(METRICS)].itertuples():
        base = claim.control == "base"
        if claim.metric == TRANSFER:
            cells = CELLS[claim.benchmark]
            sides = [_of_cells(verdicts, arm, cells) for arm in (claim.treatment, claim.control)]
        else:
            first, second = claim.benchmark.removeprefix("nanobench-").split("-")
            sides = _both_ways(verdicts, claim.treatment, claim.control, first, second)
        found = difference(*sides, untrained=base and claim.metric == TRANSFER)
        if found is not None and found.shape[1] > 1:
            results[claim.id] = paired_bootstrap(found.to_numpy(), seed=seed)
    return results


def asymmetries(
    verdicts: pd.DataFrame, arm: str, control: str = "base", *, seed: int, n_resamples: int = 10_000
) -> pd.DataFrame:
    """For every pair of languages the gain over the control in the second of training on the first, less that
    in the first of training on the second: ``first, second, difference, low, high, tasks, seeds``, with a
    95 % interval of each pair alone. Pairs without two common seeds are left out.

    Args:
        control: ``base``, or another arm, which is then trained on the same language.
        seed: of the bootstrap.
    """
    rows = []
    for first, second in combinations(LANGUAGES, 2):
        found = difference(*_both_ways(verdicts, arm, control, first, second))
        if found is not None and found.shape[1] > 1:
            result = paired_bootstrap(found.to_numpy(), seed=seed, n_resamples=n_resamples)
            rows.append((first, second, result.estimate, result.low, result.high, *found.shape))
    columns = ["first", "second", "difference", "low", "high", "tasks", "seeds"]
    return pd.DataFrame(rows, columns=columns)


def unparsed(verdicts: pd.DataFrame, arm: str, benchmark: str) -> pd.Series:
    """Of each seed of a stored arm the share of its answers, 0..1, that do not compile or parse."""
    of = verdicts[(verdicts["arm"] == arm) & (verdicts["benchmark"] == benchmark)]
    return (of["verdict"] == "compile_error").groupby(of["seed"]).mean()


def _both_ways(
    verdicts: pd.DataFrame, arm: str, control: str, first: str, second: str
) -> list[pd.DataFrame | None]:
    """The gain of an arm over the control, tasks down and seeds across: of training on the first language in
    the second, and the other way round."""
    return [
        difference(
            *(_of_cells(verdicts, name, [way]) for name in (arm, control)),
            untrained=control == "base",
        )
        for way in ((first, second), (second, first))
    ]


def _of_cells(
    verdicts: pd.DataFrame, arm: str, cells: Sequence[tuple[str, str]]
) -> pd.DataFrame | None:
    """`mean_rates` of an arm over cells; a base is the same in whatever language it is not trained."""
    base = arm == "base"
    places = [(label(arm, None if base else first), f"nanobench-{other}") for first, other in cells]
    return mean_rates(verdicts, places)


def mean_rates(verdicts: pd.DataFrame, places: Sequence[tuple[str, str]]) -> pd.DataFrame | None:
    """Rates, tasks down and seeds across, the mean over ``places``, each a stored name of an arm and a
    benchmark: of the tasks and the seeds that all of them have. None if one was not run."""
    total = None
    for name, benchmark in places:
        of = verdicts[verdicts["benchmark"] == benchmark]
        if not (of["arm"] == name).any():
            return None
        rates = solve_matrix(of, name, benchmark)
        total = rates if total is None else (total + rates).dropna(axis=1, how="all").dropna()
    return None if total is None else total / len(places)


def difference(
    first: pd.DataFrame | None, second: pd.DataFrame | None, *, untrained: bool = False
) -> pd.DataFrame | None:
    """By task and seed; the one run of a base, which is ``untrained``, is paired with every seed."""
    if first is None or second is None:
        return None
    if untrained:
        return first.sub(second.iloc[:, 0], axis=0).dropna()
    return (first - second).dropna(axis=1, how="all").dropna()
