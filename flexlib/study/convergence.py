"""The optimiser study's tables: loss curves by step, token, compute and time, and steps to a target.

Everything starts from ``store.training``; arms are compared at the end of their decay, seed by seed.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from flexlib import paths
from flexlib.errors import FlexError
from flexlib.study.stats import Bootstrap, paired_bootstrap

# Share of the coordinates that the clip is to leave alone, by which Sophia's authors choose rho.
HEALTHY = (0.1, 0.5)
STUDY = ("adamw", "sophia", "sophia-corrected", "sophia-released", "lion")
SPEED = paths.MEASURED / "optimizers.csv"


def step_costs() -> pd.DataFrame | None:
    """What a step costs, by optimiser (``way``), measured in one run: see measurements/optimizers.py.
    None where it was not run."""
    return pd.read_csv(SPEED) if SPEED.is_file() else None


def curves(training: pd.DataFrame, costs: pd.DataFrame | None = None) -> pd.DataFrame:
    """Validation losses: ``arm, seed, step, tokens, passes, eval_loss`` and, with ``costs`` (of
    :func:`step_costs`), ``seconds``.

    Tokens are the mean over the seeds of an arm, so that its seeds share their points. Seconds are
    steps times the time of a step in the benchmark: stored runs were made on machines with other work
    to do, and their own times compare nothing.
    """
    rows = training[training["eval_loss"].notna()]
    rows = rows[["arm", "seed", "step", "tokens", "passes", "eval_loss"]].copy()
    rows.loc[rows["step"] == 0, ["tokens", "passes"]] = 0
    rows["tokens"] = rows.groupby(["arm", "step"], observed=True)["tokens"].transform("mean")
    if costs is not None:
        # As text: a column of categories maps to categories, which do not multiply.
        milliseconds = rows["arm"].astype(str).map(costs.set_index("way")["ms_per_step"])
        rows["seconds"] = rows["step"] * milliseconds / 1000
    return rows


def step_reached(steps: np.ndarray, losses: np.ndarray, target: float) -> float:
    """The first step at which a curve is at or below ``target``, linear between its points; infinite
    if never."""
    below = np.flatnonzero(losses <= target)
    if not len(below):
        return float("inf")
    i = below[0]
    if i == 0:
        return float(steps[0])
    share = (losses[i - 1] - target) / (losses[i - 1] - losses[i])
    return float(steps[i - 1] + share * (steps[i] - steps[i - 1]))


def steps_to_target(curves: pd.DataFrame, control: str = "adamw") -> pd.DataFrame:
    """How soon each run has the control's *final* validation loss of the same seed.

    Returns ``arm, seed, target, reached`` (bool) and ``share``, the step as a share of the control's
    steps. A run that never gets there has a share of 1, the least that it can be: an advantage of the
    arm is overstated, never understated. The control's own share is below 1 where its loss rose again.

    Raises:
        FlexError: a seed has no run of the control.
    """
    curves = curves.sort_values("step")
    by_run = {key: rows for key, rows in curves.groupby(["arm", "seed"], observed=True)}
    result = []
    for (arm, seed), rows in by_run.items():
        if (control, seed) not in by_run:
            raise FlexError(
                f"{arm} seed {seed} has no {control} of its seed to compare with; run it"
            )
        reference = by_run[control, seed]
        target, total = reference["eval_loss"].iloc[-1], reference["step"].iloc[-1]
        step = step_reached(rows["step"].to_numpy(), rows["eval_loss"].to_numpy(), target)
        result.append((arm, seed, target, np.isfinite(step), min(step / total, 1.0)))
    return pd.DataFrame(result, columns=["arm", "seed", "target", "reached", "share"])


def share_difference(
    shares: pd.DataFrame, treatment: str, control: str = "adamw", *, seed: int
) -> Bootstrap:
    """Bootstrap over seeds of the difference in ``share``, treatment minus control, paired by seed.

    Raises:
        FlexError: the arms have no seed in common.
    """
    table = shares.pivot(index="seed", columns="arm", values="share")
    if not {treatment, control} <= set(table) or table[[treatment, control]].dropna().empty:
        raise FlexError(f"{treatment} and {control} have no seed in common; run both")
    both = table[[treatment, control]].dropna()
    return paired_bootstrap(
        both[[treatment]].to_numpy().T,
        both[[control]].to_numpy().T,
        seed=seed,
        paired_seeds=True,
    )


def share_by_claim(
    claims: pd.DataFrame, training: pd.DataFrame, *, seed: int
) -> dict[str, Bootstrap]:
    """The results, by id, of the registered ``claims`` on steps to a target, for ``stats.assess``;
    those without runs of both arms are left out."""
    results = {}
    for claim in claims[claims["metric"].str.startswith("steps-to-target")].itertuples():
        arms = [claim.treatment, claim.control]
        rows = training[training["arm"].isin(arms)]
        seeds = [set(rows[rows["arm"] == arm]["seed"]) for arm in arms]
        rows = rows[rows["seed"].isin(set.intersection(*seeds))]
        if len(rows):
            shares = steps_to_target(curves(rows), claim.control)
            results[claim.id] = share_difference(shares, *arms, seed=seed)
    return results


def warmth(updates: np.ndarray, beta2: float = 0.99) -> np.ndarray:
    """``1 - beta2^n``: the share of the true curvature that an average from zero shows after n
    estimates of it."""
    return 1 - beta2 ** np.asarray(updates, dtype=float)
