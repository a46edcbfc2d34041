"""Registered plans of runs: every arm of a plan in every one of its cells.

A plan stands in data/claims.yml under its name. Its ``arms`` are names, or a name with settings of its own
(``{arm: sophia, set: [sophia.rho=0.2]}``). A cell has a ``name``, how many ``seeds``, what it ``set``s, a
``decoding`` and ``arms`` of its own where they are not the profile's and the plan's, and what else a chapter
wants to know of it. The runs are ordinary ones under the label of their overrides
(``fourier-released data.size=23 training.steps=282``); those at the profile's values are the study's own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from flexlib import config as configs
from flexlib.config import RunConfig

if TYPE_CHECKING:
    import pandas as pd

NAMES = (
    "data", "released", "regime", "bases", "languages", "harder", "adapters", "real-model",
    "real-model-languages", "real-model-norm",
)  # fmt: skip
STRENGTH = "strength"  # the plan of flexlib.study.sweep
ALL = (STRENGTH, *NAMES)
_KEYS = ("set", "arms", "decoding")  # of a cell, that say what it runs


def plan(name: str) -> dict[str, Any]:
    """A registered plan: ``profile``, ``arms``, the control first, and ``cells``."""
    from flexlib.study import paper  # late, with pandas: every command line reads this module

    return paper.registration()[name]


def configurations(name: str) -> list[RunConfig]:
    """Every run of a plan once, seed by seed, so that an interrupted grid has whole seeds; ``name`` is one of
    ``ALL``."""
    if name == STRENGTH:
        from flexlib.study import sweep

        return sweep.configurations()
    most = max(cell["seeds"] for cell in plan(name)["cells"])
    wanted = [
        configs.load(profile, arm, seed, decoding=cell.get("decoding"), overrides=overrides)
        for seed in range(1, 1 + most)
        for profile, cell, arm, overrides in _places(name)
        if seed <= cell["seeds"]
    ]
    return list(dict.fromkeys(wanted))  # a run can belong to several cells


def cells(name: str) -> pd.DataFrame:
    """A row for each cell and arm of a plan: what the cell has (``name, seeds``, …) but what it runs,
    ``arm`` and ``label``; ``seeds`` is how many are planned, ``label`` what the runs have in the store,
    ``arm`` the same without what the cell sets."""
    import pandas as pd

    rows = []
    for profile, cell, arm, overrides in _places(name):
        own = overrides[: len(overrides) - len(cell["set"])]
        rows.append(
            {k: v for k, v in cell.items() if k not in _KEYS}
            | {
                "arm": configs.load(profile, arm, 1, overrides=own).label,
                "label": configs.load(
                    profile, arm, 1, decoding=cell.get("decoding"), overrides=overrides
                ).label,
            }
        )
    return pd.DataFrame(rows)


def within(planned: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """The rows of a plan's own runs: of each cell and arm the seeds that are planned, no further ones.

    Args:
        planned: some of the cells, as :func:`cells` gives them; of a label in several the most seeds.
        table: of verdicts, of training or of anything else with ``arm`` and ``seed``.
    """
    most = table["arm"].map(planned.groupby("label")["seeds"].max())
    return table[table["seed"] <= most]


def progress(wanted: Iterable[RunConfig], verdicts: pd.DataFrame) -> tuple[int, int]:
    """How many runs of a plan the store has, and how many there are to be.

    Args:
        wanted: every run, as :func:`configurations` or that of `flexlib.study.sweep` gives them.
        verdicts: from `flexlib.runs.store.verdicts`.
    """
    runs = set(verdicts.groupby(["arm", "seed"], observed=True).groups)
    planned = {(run.label, run.seed) for run in wanted}
    return len(planned & runs), len(planned)


def rates(planned: pd.DataFrame, verdicts: pd.DataFrame, *, seed: int) -> pd.DataFrame:
    """pass@1 of every cell that has runs, over the planned seeds, in the order of the plan: the columns of
    ``planned`` and ``language, rate, low, high``, with ``seeds`` those that it has.

    Args:
        planned: the cells, as :func:`cells` or that of `flexlib.study.sweep` gives them.
        verdicts: from `flexlib.runs.store.verdicts`.
        seed: of the bootstrap.
    """
    import pandas as pd

    from flexlib.study import stats

    parts = [
        stats.arm_rates(within(of, verdicts), seed=seed).assign(most=most)
        for most, of in planned.groupby("seeds")  # a label can be in cells with other seeds
    ]
    found = pd.concat(parts).rename(columns={"arm": "label", "pass_at_k": "rate"})
    found = found[["label", "most", "language", "seeds", "rate", "low", "high"]]
    return planned.rename(columns={"seeds": "most"}).merge(found).drop(columns="most")


def differences(
    name: str, verdicts: pd.DataFrame, state: pd.DataFrame, *, seed: int
) -> pd.DataFrame:
    """Each arm minus the control of the plan, and of the pairs that it ``compare``s the first minus the
    second, in every cell that has both, over the planned seeds: the columns of
    `flexlib.study.inference.contrasts` and of the cell.

    Args:
        verdicts: from `flexlib.runs.store.verdicts`.
        state: of the claims, by which a contrast has the interval of its family if the claim is on the
            planned seeds; one with more, as the arms of the study itself have, is of another question.
        seed: of the bootstrap.
    """
    import pandas as pd

    from flexlib.study import inference

    planned = cells(name)
    control, *others = planned["arm"].unique()
    pairs = [*((arm, control) for arm in others), *map(tuple, plan(name).get("compare", []))]
    keys = [column for column in planned if column not in ("arm", "label", "seeds")]
    parts = []
    for values, of_cell in planned.groupby(keys, sort=False):
        label = of_cell.set_index("arm")["label"]
        named = [(label[a], label[b]) for a, b in pairs if a in label and b in label]
        told = state[state["seeds"] <= of_cell["seeds"].max()]
        found = inference.contrasts(within(of_cell, verdicts), named, seed=seed, state=told)
        parts.append(found.drop(columns="group").assign(**dict(zip(keys, values, strict=True))))
    return pd.concat(parts, ignore_index=True)


def _places(name: str) -> Iterator[tuple[str, dict[str, Any], str, list[str]]]:
    """Profile, cell, arm and all overrides, those of the arm first, for each arm in each cell."""
    registered = plan(name)
    for cell in registered["cells"]:
        for arm in cell.get("arms", registered["arms"]):
            arm = {"arm": arm, "set": []} if isinstance(arm, str) else arm
            yield registered["profile"], cell, arm["arm"], [*arm["set"], *cell["set"]]
