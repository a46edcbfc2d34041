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
    planned = plans.cells(PLAN)
    parts = [verdicts.assign(base="")]
    for arm, of_arm in planned.groupby("arm", sort=False):
        rows = verdicts.merge(of_arm[["label", "name", "seeds"]], left_on="arm", right_on="label")
        rows = rows[rows["seed"] <= rows["seeds"]]
        if rows["name"].nunique() > 1:
            rows = rows.assign(arm=arm + OVER, base=rows["name"])
            parts.append(rows[parts[0].columns])
    return pd.concat(parts, ignore_index=True)
