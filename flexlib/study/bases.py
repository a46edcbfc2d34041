"""The study on several pretrained bases: an arm on all of them, under ``<arm>@bases``.

The seeds of an arm share one frozen base; what holds of other bases too is asked over tasks, bases and
seeds at once. The plan is registered in data/claims.yml (`flexlib.study.plans`), a cell for each base.
"""

from __future__ import annotations

import pandas as pd

from flexlib.study import plans

PLAN = "bases"
OVER = "@bases"  # after the name of an arm: that arm on every base of the plan


def over(verdicts: pd.DataFrame) -> pd.DataFrame:
    """A table of verdicts and, below, the rows of the plan's arms on its bases, each under ``<arm>@bases``,
    with the base in a column ``base``. An arm is only there once it was run on two bases at least.

    Args:
        verdicts: from `flexlib.runs.store.verdicts`.
    """
    planned = plans.cells(PLAN).set_index("label")
    own = verdicts[verdicts["arm"].isin(planned.index)]
    own = own[own["seed"] <= own["arm"].map(planned["seeds"])]
    own = own.assign(
        base=own["arm"].map(planned["name"]), arm=own["arm"].map(planned["arm"]) + OVER
    )
    own = own[own.groupby("arm")["base"].transform("nunique") > 1]
    return pd.concat([verdicts.assign(base=""), own], ignore_index=True)
