"""The registered claims, decided by what is in the store: the one call by which every page has them.

Families are whole here, so that a claim has the same interval wherever it is shown.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from flexlib.runs import derived, store
from flexlib.study import (
    bases,
    convergence,
    hidden,
    inference,
    language_groups,
    outcomes,
    paper,
    sweep,
    transfer,
    tuning,
)


def state(
    profile: str = "nano",
    *,
    seed: int,
    folder: Path | None = None,
    claims: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """The state of every claim of a profile, by id, in the columns of :func:`inference.assess`.

    Args:
        seed: of the bootstrap.
        folder: of the runs; None: the project's own.
        claims: from :func:`paper.claims`; None: those that no other id has taken the place of.
    """
    if claims is None:
        everything = paper.claims(profile)
        return derived.kept(
            "claims", folder, (profile, seed), lambda: _state(profile, everything, seed, folder)
        )
    return _state(profile, claims, seed, folder)


def as_registered(profile: str = "nano") -> pd.DataFrame:
    """The claims of the first registration of the superseded ones, each in the family that it had then."""
    everything = pd.concat([paper.claims(profile), paper.claims(profile, superseded=True)])
    old = everything[everything["superseded_by"] != ""]
    return everything[everything["registered"].isin(set(old["registered"]))]


# --- details ------------------------------------------------------------------------------------


def _state(profile: str, claims: pd.DataFrame, seed: int, folder: Path | None) -> pd.DataFrame:
    training = store.training(folder, profile=profile)
    verdicts = store.verdicts(folder, profile=profile)
    measured: dict[str, inference.Effect] = {}
    arms = pd.concat([claims["treatment"], claims["control"]])
    at_best = arms.str.endswith(sweep.AT_BEST).any()
    tuned = arms.str.endswith(tuning.TUNED).any()
    if tuned:
        training, verdicts = (tuning.at_tuned(table, profile) for table in (training, verdicts))
    if at_best or claims["metric"].isin(outcomes.METRICS).any():
        numbers = outcomes.table(folder, profile=profile)
        numbers = tuning.at_tuned(numbers, profile) if tuned else numbers
        if at_best:
            tables, best = (training, verdicts, numbers), sweep.best(numbers)
            training, verdicts, numbers = (sweep.at_best(table, best) for table in tables)
        measured |= outcomes.by_claim(claims, numbers, seed=seed)
    measured |= convergence.by_claim(claims, training, seed=seed)
    if claims["metric"].isin(hidden.METRICS).any():
        twins = hidden.table(folder, profile=profile)
        measured |= hidden.by_claim(claims, twins, verdicts, seed=seed)
    measured |= transfer.by_claim(claims, verdicts, seed=seed)
    measured |= language_groups.by_claim(claims, verdicts, seed=seed)
    if claims["treatment"].str.endswith(bases.OVER).any():
        verdicts = bases.over(verdicts)
    decided = inference.assess(claims, verdicts, seed=seed, measured=measured)
    return decided.set_index("id", drop=False)
