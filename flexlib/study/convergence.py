"""The optimiser study's tables: loss curves by step, token, compute and time, and steps to a target.

Everything starts from ``store.training``; arms are compared at the end of their decay, seed by seed.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from flexlib.errors import FlexError
from flexlib.study import inference
from flexlib.study.inference import Effect

# Share of the coordinates that the clip is to leave alone, by which Sophia's authors choose rho.
HEALTHY = (0.1, 0.5)
STUDY = ("adamw", "sophia", "sophia-corrected", "sophia-released", "lion")


def curves(training: pd.DataFrame, costs: pd.DataFrame | None = None) -> pd.DataFrame:
    """Validation losses: ``arm, seed, step, tokens, passes, eval_loss`` and, with ``costs`` (the table
    of benchmarks/optimizers.py), ``seconds``.

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
    if never, or if the run diverged: its last loss is infinite, whatever it had before."""
    below = np.flatnonzero(losses <= target)
    if not len(below) or np.isinf(losses[-1]):
        return float("inf")
    i = below[0]
    if i == 0 or np.isinf(losses[i - 1]):
        return float(steps[i])
    share = (losses[i - 1] - target) / (losses[i - 1] - losses[i])
    return float(steps[i - 1] + share * (steps[i] - steps[i - 1]))


def _reached(run: pd.DataFrame, target: float) -> float:
    return step_reached(run["step"].to_numpy(), run["eval_loss"].to_numpy(), target)


def steps_to_target(curves: pd.DataFrame, control: str = "adamw") -> pd.DataFrame:
    """How soon each run has the control's *final* validation loss of the same seed.

    Returns ``arm, seed, target, reached`` (bool) and ``share``, the step as a share of the control's
    steps. A run that never gets there is censored at 1, so the mean over seeds is the restricted mean
    up to the control's steps. The control's own share is below 1 where its loss rose again. If the
    control diverged, any run that did not has reached its loss at step 0.

    Raises:
        FlexError: a seed has no run of the control.
    """
    by_run = _by_run(curves)
    result = []
    for (arm, seed), rows in by_run.items():
        if (control, seed) not in by_run:
            raise FlexError(
                f"{arm} seed {seed} has no {control} of its seed to compare with; run it"
            )
        reference = by_run[control, seed]
        target, total = reference["eval_loss"].iloc[-1], reference["step"].iloc[-1]
        step = _reached(rows, target)
        result.append((arm, seed, target, math.isfinite(step), min(step / total, 1.0)))
    return pd.DataFrame(result, columns=["arm", "seed", "target", "reached", "share"])


def by_seed(curves: pd.DataFrame, treatment: str, control: str = "adamw") -> pd.DataFrame:
    """Two arms over the seeds that both have, a row a seed, each difference treatment minus control:

    - ``reached``: whether the treatment ever has the control's final validation loss;
    - ``steps``: steps to the higher of the two final losses, as a share of the control's steps. Each arm
      has that loss by its end, so none is censored but a run that diverged, and exchanging the arms changes
      the sign alone;
    - ``final_loss``: final validation loss, nats a token; not finite if a run of the two diverged;
    - ``share``: steps to the control's final loss, as `steps_to_target` has them, which does favour the
      treatment: the control can have touched its own final loss early.

    Raises:
        FlexError: the arms have no seed in common.
    """
    by_run = _by_run(curves[curves["arm"].isin([treatment, control])])
    seeds = [seed for arm, seed in by_run if arm == treatment and (control, seed) in by_run]
    if not seeds:
        raise FlexError(f"{treatment} and {control} have no seed in common; run both")
    rows = []
    for seed in seeds:
        runs = by_run[treatment, seed], by_run[control, seed]
        ends = [run["eval_loss"].iloc[-1] for run in runs]
        total = runs[1]["step"].iloc[-1]

        def share(run: pd.DataFrame, loss: float, total: float = total) -> float:
            return min(_reached(run, loss) / total, 1.0)

        rows.append(
            {
                "seed": seed,
                "reached": math.isfinite(_reached(runs[0], ends[1])),
                "steps": share(runs[0], max(ends)) - share(runs[1], max(ends)),
                "final_loss": ends[0] - ends[1],
                "share": share(runs[0], ends[1]) - share(runs[1], ends[1]),
            }
        )
    return pd.DataFrame(rows)


def versus(
    curves: pd.DataFrame, treatment: str, control: str = "adamw", *, seed: int
) -> dict[str, Effect]:
    """The columns of `by_seed` as effects over seeds: an exact binomial for ``reached`` (the share of seeds,
    minus a half), and means for the others, which take two seeds: that of ``final_loss`` is unbounded if
    a run diverged.

    Raises:
        FlexError: the arms have no seed in common.
    """
    table = by_seed(curves, treatment, control).set_index("seed")
    effects: dict[str, Effect] = {"reached": inference.seeds_that(table["reached"])}
    for name in ("steps", "final_loss", "share"):
        if effect := inference.paired_by_seed(table[name], 0.0, seed=seed):
            effects[name] = effect
    return effects


#: The metrics of data/claims.yml that come from validation losses, as columns of `by_seed`.
METRICS = {
    "reached-target": "reached",
    "steps-to-common-loss": "steps",
    "validation-loss": "final_loss",
    "steps-to-target (share of AdamW's steps)": "share",
}


def by_claim(claims: pd.DataFrame, training: pd.DataFrame, *, seed: int) -> dict[str, Effect]:
    """The results, by id, of the registered ``claims`` on ``METRICS``, for ``inference.assess``; those
    without seeds of both arms, or without the column in `versus`, are left out."""
    results: dict[str, Effect] = {}
    curve = curves(training)
    for claim in claims[claims["metric"].isin(METRICS)].itertuples():
        seeds = [
            set(curve[curve["arm"] == arm]["seed"]) for arm in (claim.treatment, claim.control)
        ]
        if set.intersection(*seeds):
            effects = versus(curve, claim.treatment, claim.control, seed=seed)
            if effect := effects.get(METRICS[claim.metric]):
                results[claim.id] = effect
    return results


def _by_run(curves: pd.DataFrame) -> dict[tuple[str, int], pd.DataFrame]:
    curves = curves.sort_values("step")
    return dict(iter(curves.groupby(["arm", "seed"], observed=True)))


def warmth(updates: np.ndarray, beta2: float = 0.99) -> np.ndarray:
    """``1 - beta2^n``: the share of the true curvature that an average from zero shows after n
    estimates of it."""
    return 1 - beta2 ** np.asarray(updates, dtype=float)
