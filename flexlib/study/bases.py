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


def steady_bands(ratios: pd.DataFrame) -> pd.DataFrame:
    """Frequency bands on which the first base shows an order, and on how many of them each base shows it.

    A band is steady if it lies on one side of the null in all seeds of the first base that the plan leaves
    out, so that the planned ones of every base, the first included, are compared with others than
    themselves. A base agrees on it if the mean of its planned seeds, of logarithms, lies on that side.

    Args:
        ratios: energy over that of the null, of one arm on the bases, under its labels in the plan:
            ``arm, seed, side, x, ratio``; a band is a ``side`` and an ``x``.

    Returns:
        A row a base, in the order of the plan: ``base, agree, steady, bands, seeds`` (further ones of the
        first base). Empty without such seeds.
    """
    import numpy as np
    import pandas as pd

    cell = plans.cells(PLAN).set_index("label")
    own = ratios.assign(
        base=ratios["arm"].map(cell["name"]),
        further=ratios["seed"] > ratios["arm"].map(cell["seeds"]),
        above=np.log(ratios["ratio"]),
    )
    table = own.pivot_table(
        index=["side", "x"], columns=["base", "further", "seed"], values="above"
    )
    names = list(cell["name"].unique())
    columns = ["base", "agree", "steady", "bands", "seeds"]
    if (names[0], True) not in table:
        return pd.DataFrame(columns=columns)
    further = table[names[0], True]
    steady = further[(further > 0).all(axis=1) | (further < 0).all(axis=1)].iloc[:, 0]
    rows = [
        (name, int((table.loc[steady.index, (name, False)].mean(axis=1) * steady > 0).sum()))
        for name in names
        if (name, False) in table
    ]
    found = pd.DataFrame(rows, columns=columns[:2])
    return found.assign(steady=len(steady), bands=len(table), seeds=further.shape[1])
