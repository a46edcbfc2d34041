"""The registered claims, decided by what is in the store: the one call by which every page has them.

Families are whole here, so that a claim has the same interval wherever it is shown.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from flexlib.runs import store
from flexlib.study import bases, convergence, hidden, inference, outcomes, paper, sweep, transfer


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
    claims = paper.claims(profile) if claims is None else claims
    measured: dict[str, inference.Effect] = {
        **convergence.by_claim(claims, store.training(folder, profile=profile), seed=seed)
    }
    verdicts = store.verdicts(folder, profile=profile)
    at_best = claims["treatment"].str.endswith(sweep.AT_BEST).any()
    if at_best or claims["metric"].isin(outcomes.METRICS).any():
        numbers = outcomes.table(folder, profile=profile)
        measured |= outcomes.by_claim(claims, numbers, seed=seed)
        if at_best:
            verdicts = sweep.at_best(verdicts, sweep.best(numbers))
    if claims["metric"].isin(hidden.METRICS).any():
        twins = hidden.table(folder, profile=profile)
        measured |= hidden.by_claim(claims, twins, verdicts, seed=seed)
    measured |= transfer.by_claim(claims, verdicts, seed=seed)
    if claims["treatment"].str.endswith(bases.OVER).any():
        verdicts = bases.over(verdicts)
    decided = inference.assess(claims, verdicts, seed=seed, measured=measured)
    return decided.set_index("id", drop=False)


def as_registered(profile: str = "nano") -> pd.DataFrame:
    """The claims of the first registration of the superseded ones, each in the family that it had then."""
    everything = pd.concat([paper.claims(profile), paper.claims(profile, superseded=True)])
    old = everything[everything["superseded_by"] != ""]
    return everything[everything["registered"].isin(set(old["registered"]))]
