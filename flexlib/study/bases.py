"""The study on several pretrained bases: an arm on all of them, under ``<arm>@bases``.

The seeds of an arm share one frozen base; what holds of other bases too is asked over tasks, bases and
seeds at once. The plan is registered in data/claims.yml (`flexlib.study.plans`), a cell for each base.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from flexlib import models
from flexlib.errors import FlexError
from flexlib.study import plans

if TYPE_CHECKING:
    import pandas as pd

PLAN = "bases"
OVER = "@bases"  # after the name of an arm: that arm on every base of the plan


def check() -> None:
    """See that every base of the plan is there; the repository has the first one alone.

    Raises:
        FlexError: some are not; says by which commands they are made.
    """
    absent = []
    for name in dict.fromkeys(run.base_model for run in plans.configurations(PLAN)):
        try:
            models.locate(name)
        except FlexError:
            absent.append(name)
    if absent:
        made = "flexlib pretrain --seed {seed} --out {name} --work .flexlib-work/{last}"
        commands = (  # `base-N` is of the seed N
            made.format(seed=name.rpartition("-")[2], name=name, last=Path(name).name)
            for name in absent
        )
        raise FlexError(f"no {', '.join(absent)}; pretrain first: {'; '.join(commands)}")


def over(verdicts: pd.DataFrame) -> pd.DataFrame:
    """A table of verdicts and, below, the rows of the plan's arms on its bases, each under ``<arm>@bases``,
    with the base in a column ``base``. An arm is only there once it has all of its planned runs: another base
    is another look, and a question on several bases is decided once.

    Args:
        verdicts: from `flexlib.runs.store.verdicts`.
    """
    import pandas as pd  # late: every command line reads this module

    cells = plans.cells(PLAN)
    own, cell = plans.within(cells, verdicts), cells.set_index("label")
    wanted = {(run.label, run.seed) for run in plans.configurations(PLAN)}
    missing = wanted - set(own[["arm", "seed"]].itertuples(index=False, name=None))
    waiting = {cell.loc[label, "arm"] for label, _ in missing}
    own = own.assign(base=own["arm"].map(cell["name"]), arm=own["arm"].map(cell["arm"]))
    own = own[~own["arm"].isin(waiting)].assign(arm=lambda rows: rows["arm"] + OVER)
    return pd.concat([verdicts.assign(base=""), own], ignore_index=True)
