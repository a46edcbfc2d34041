"""The sweep: a penalty's strength over four decades, at two learning rates, for three penalties.

The plan is registered in data/claims.yml. Its runs are ordinary ones under the label of their overrides
(``fourier-released regularizer.strength=0.001``), stored compactly; those that the store has already, at
the profile's own values, count.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from flexlib import config as configs
from flexlib.config import RunConfig
from flexlib.errors import FlexError
from flexlib.study import tuning

if TYPE_CHECKING:
    import pandas as pd

AT_BEST = "@best"  # after the name of an arm: that arm at its best setting


def plan() -> dict[str, Any]:
    """The registered plan: ``profile``, ``seeds``, ``strengths``, the arms ``penalties`` and ``plain``, and
    ``tuning``, that of the learning rates."""
    from flexlib.study import paper  # late, with pandas: every command line reads this module

    return paper.registration()["sweep"]


def learning_rates(folder: Path = tuning.FOLDER) -> tuple[float, float]:
    """The profile's, and the best of the first penalty's trials that is another.

    Raises:
        FlexError: the trials are not complete.
    """
    registered = plan()
    penalty = registered["penalties"][0]
    own = _own_rate()
    trials = tuning.table(folder, [penalty])
    rates = trials["settings"].map(lambda text: json.loads(text)["training.learning_rate"])
    if len(trials) < len(registered["tuning"]["trials"][penalty]["training.learning_rate"]):
        raise FlexError(
            f"the learning rates of the sweep are not tuned; `flexlib tune --arm {penalty} "
            f"--arm {registered['plain']}` does it"
        )
    others = trials.assign(rate=rates)[rates != own].sort_values("eval_loss")
    return own, float(others["rate"].iloc[0])


def configurations(folder: Path = tuning.FOLDER) -> list[RunConfig]:
    """Every run of the plan, seed by seed, so that an interrupted sweep has whole seeds.

    Raises:
        FlexError: the trials of the learning rates are not complete.
    """
    return _planned(learning_rates(folder), plan()["seeds"])


def cells(folder: Path = tuning.FOLDER) -> pd.DataFrame:
    """A row for each setting of the plan: ``label, arm, strength, learning_rate, seeds``, under the labels
    that its runs have in the store, with the planned seeds; of plain LoRA the strength is missing. Before the
    learning rates are tuned, those of the profile's own alone."""
    import pandas as pd

    rates: tuple[float, ...]
    try:
        rates = learning_rates(folder)
    except FlexError:
        rates = (_own_rate(),)
    rows = [
        (
            run.label,
            run.arm,
            run.regularizer.strength if run.regularizer else None,
            run.method()[0].learning_rate,
            len(plan()["seeds"]),
        )
        for run in _planned(rates, plan()["seeds"][:1])
    ]
    return pd.DataFrame(rows, columns=["label", "arm", "strength", "learning_rate", "seeds"])


def _own_rate() -> float:
    registered = plan()
    return configs.load(registered["profile"], registered["plain"], 1).method()[0].learning_rate


def _planned(rates: Sequence[float], seeds: Sequence[int]) -> list[RunConfig]:
    registered = plan()
    settings: list[tuple[str, list[str]]] = [(registered["plain"], [])]
    settings += [
        (arm, [f"regularizer.strength={strength!r}"])
        for arm, strength in itertools.product(registered["penalties"], registered["strengths"])
    ]
    return [
        configs.load(
            registered["profile"],
            arm,
            seed,
            overrides=[*overrides, f"training.learning_rate={rate!r}"],
        )
        for seed, rate, (arm, overrides) in itertools.product(seeds, rates, settings)
    ]


def best(outcomes: pd.DataFrame, folder: Path = tuning.FOLDER) -> dict[str, str]:
    """For each arm of the plan, by name, the label with the lowest mean final validation loss over the
    seeds of the plan; arms of which a run is missing are left out, all before the learning rates are tuned.
    A setting of which a run diverged is never the best; an arm without another is left out.

    Args:
        outcomes: from `flexlib.study.outcomes.table`.
    """
    registered = plan()
    try:
        planned = configurations(folder)
    except FlexError:
        return {}
    losses = outcomes[outcomes["metric"] == "validation-loss"]
    losses = losses[losses["seed"].isin(registered["seeds"])]
    means = losses.groupby("arm")["value"].mean()[
        losses.groupby("arm")["seed"].nunique() == len(registered["seeds"])
    ]
    labels: dict[str, list[str]] = {}
    for wanted in planned:
        labels.setdefault(wanted.arm, []).append(wanted.label)
    return {
        arm: means[of].idxmin()
        for arm, of in ((a, list(dict.fromkeys(ls))) for a, ls in labels.items())
        if set(of) <= set(means.index) and means[of].min() < math.inf
    }


def at_best(table: pd.DataFrame, chosen: dict[str, str]) -> pd.DataFrame:
    """The rows of a table of the store (verdicts, outcomes) that are of the chosen labels, each under
    ``<arm>@best``, added to the table."""
    names = {label: arm + AT_BEST for arm, label in chosen.items()}
    return tuning.under(table, names, plan()["seeds"])


def from_curve(
    settings: pd.DataFrame, verdicts: pd.DataFrame, reference: str, benchmark: str, *, seed: int
) -> pd.DataFrame:
    """How far the settings of each arm lie, on average, from the curve of a reference penalty in the plane of
    size and pass rate, a row an arm that shares at least two seeds with it: ``setting``, ``settings``, how
    many lie within the reference's sizes, ``seeds`` and ``difference, low, high``, the interval of 95 % over
    tasks and seeds.

    The curve is linear in the logarithm of the size between the reference's settings. At given sizes a
    distance from it is a difference of two means of pass rates, so it is bootstrapped as one.

    Args:
        settings: ``setting`` (the arm), ``label`` and ``size`` (> 0), a row a setting.
        verdicts: from `flexlib.runs.store.verdicts`.
        seed: of the bootstrap.
    """
    import pandas as pd

    from flexlib.study import metrics, stats

    line = settings[settings["setting"] == reference].sort_values("size")
    columns = ["setting", "settings", "seeds", "difference", "low", "high"]
    if line.empty:
        return pd.DataFrame(columns=columns)
    solved = {
        label: metrics.solve_matrix(verdicts, label, benchmark) for label in settings["label"]
    }
    within = settings["size"].between(line["size"].min(), line["size"].max())
    rows = []
    for arm, of in settings[within & (settings["setting"] != reference)].groupby("setting"):
        seeds = set.intersection(*(set(solved[label]) for label in [*of["label"], *line["label"]]))
        if len(seeds) < 2:  # one shows no spread
            continue
        shares = [
            np.interp(np.log(of["size"]), np.log(line["size"]), row).mean()
            for row in np.eye(len(line))
        ]
        table = sum(solved[label][sorted(seeds)] for label in of["label"]) / len(of) - sum(
            share * solved[label][sorted(seeds)]
            for share, label in zip(shares, line["label"], strict=True)
        )
        found = stats.paired_bootstrap(table.to_numpy(), seed=seed)
        rows.append((arm, len(of), len(seeds), found.estimate, found.low, found.high))
    return pd.DataFrame(rows, columns=columns)
