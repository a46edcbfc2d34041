"""Size and quality of the training set: where a regulariser should help, if anywhere.

The plan is registered in data/claims.yml. Its runs are ordinary ones under the label of their overrides
(``fourier-released data.size=23 training.steps=282``); those on the training set as it is are the study's
own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flexlib import config as configs
from flexlib.config import RunConfig

if TYPE_CHECKING:
    import pandas as pd


def plan() -> dict[str, Any]:
    """The registered plan: ``profile``, ``arms``, the plain one first and then the penalty and its control,
    and ``cells``, each with ``group``, ``name``, ``tasks``, ``seeds`` (how many) and ``set``."""
    from flexlib.study import paper  # late, with pandas: every command line reads this module

    return paper.registration()["data"]


def configurations() -> list[RunConfig]:
    """Every run of the plan once, seed by seed, so that an interrupted grid has whole seeds."""
    registered = plan()
    wanted = [
        configs.load(registered["profile"], arm, seed, overrides=cell["set"])
        for seed in range(1, 1 + max(cell["seeds"] for cell in registered["cells"]))
        for cell in registered["cells"]
        for arm in registered["arms"]
        if seed <= cell["seeds"]
    ]
    return list(dict.fromkeys(wanted))  # the training set as it is belongs to every group


def cells() -> pd.DataFrame:
    """A row for each cell and arm of the plan: ``group, name, tasks, seeds, arm, label``; ``seeds`` is how
    many are planned, ``label`` what the runs have in the store."""
    import pandas as pd

    registered = plan()
    rows = [
        {k: cell[k] for k in ("group", "name", "tasks", "seeds")}
        | {
            "arm": arm,
            "label": configs.load(registered["profile"], arm, 1, overrides=cell["set"]).label,
        }
        for cell in registered["cells"]
        for arm in registered["arms"]
    ]
    return pd.DataFrame(rows)


def progress(verdicts: pd.DataFrame) -> tuple[int, int]:
    """How many runs of the plan the store has, and how many there are to be.

    Args:
        verdicts: from `flexlib.runs.store.verdicts`.
    """
    runs = set(verdicts[["arm", "seed"]].itertuples(index=False, name=None))
    planned = {(run.label, run.seed) for run in configurations()}
    return len(planned & runs), len(planned)


def rates(verdicts: pd.DataFrame, *, seed: int) -> pd.DataFrame:
    """pass@1 of every cell that has runs, in the order of the plan: the columns of :func:`cells` and
    ``language, rate, low, high``, with ``seeds`` those that it has.

    Args:
        verdicts: from `flexlib.runs.store.verdicts`.
        seed: of the bootstrap.
    """
    from flexlib.study import stats

    planned = cells().drop(columns="seeds")
    found = stats.arm_rates(verdicts[verdicts["arm"].isin(planned["label"])], seed=seed)
    found = found.rename(columns={"arm": "label", "pass_at_k": "rate"})
    found = found[["label", "language", "seeds", "rate", "low", "high"]]
    return planned.merge(found, on="label")  # keeps the order of the left


def differences(verdicts: pd.DataFrame, state: pd.DataFrame, *, seed: int) -> pd.DataFrame:
    """What penalty and control change over plain LoRA, and the penalty over its control, in every cell that
    has both: the columns of `flexlib.study.inference.contrasts`, with the ``group`` of the plan, the ``name``
    of the cell and the ``tasks`` that it trains on.

    Args:
        verdicts: from `flexlib.runs.store.verdicts`.
        state: of the claims, by which a registered contrast has the interval of its family.
        seed: of the bootstrap.
    """
    import pandas as pd

    from flexlib.study import inference

    plain, penalty, control = plan()["arms"]
    pairs = ((penalty, plain), (control, plain), (penalty, control))
    planned = cells().drop(columns="seeds")
    label = planned.set_index(["group", "name", "arm"])["label"]
    parts = []
    for group, name, tasks in planned[["group", "name", "tasks"]].drop_duplicates().to_numpy():
        named = [(label[group, name, a], label[group, name, b]) for a, b in pairs]
        of = verdicts[verdicts["arm"].isin({arm for pair in named for arm in pair})]
        found = inference.contrasts(of, named, seed=seed, state=state)
        parts.append(found.assign(group=group, name=name, tasks=tasks))
    return pd.concat(parts, ignore_index=True)
