"""What each kind of adapter costs, what it gains in the language that it is trained on, and what it does to
another."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from flexlib import config as configs
from flexlib import models
from flexlib.models import adapters
from flexlib.runs import store
from flexlib.study import inference, metrics

#: The arms of the comparison, in the order of its table.
ARMS = (
    *("lora-rank-1", "lora-rank-2", "lora-rank-3", "lora-rank-4", "lora", "lora-rank-16"),
    *("rslora", "dora", "pissa", "ia3", "vera", "oft"),
    *("fourierft", "orthogonal-basis", "random-basis", "prompt", "prefix", "full"),
    *("fourier-released", "rslora-fourier", "dora-fourier"),
)
PYTHON, JAVA = "nanobench-python", "nanobench-java"


def table(
    arms: Sequence[str] = ARMS,
    folder: Path | None = None,
    *,
    profile: str = "nano",
    seed: int,
    base: Path | None = None,
) -> pd.DataFrame:
    """A row for each of the arms that the store has with both benchmarks, in their order; empty without the
    base's run, which all are compared with.

    Args:
        folder: of the runs; None: the project's own.
        seed: of the bootstrap.
        base: folder of the base model, to count parameters; None: the profile's.

    Returns:
        ``arm, kind, parameters`` (trained), ``seeds``, ``python, java`` (pass@1, 0..1, mean over seeds),
        ``python_change, python_low, python_high`` and the same of ``java`` (against the base, 0..1, with a
        95 % interval), ``forgotten`` (share, 0..1, of the programs that the base wrote right in Java which
        are wrong after, mean over seeds; NaN if it wrote none).

    Raises:
        FlexError: as `flexlib.study.inference.contrast`.
    """
    verdicts = store.verdicts(folder, profile=profile)
    verdicts = verdicts[verdicts["benchmark"].isin([PYTHON, JAVA])]
    have = verdicts.groupby("arm")["benchmark"].nunique()
    run = [arm for arm in arms if have.get(arm) == 2]
    if not run or have.get("base") != 2:
        return pd.DataFrame(columns=COLUMNS)
    # Judged as one table: of every arm the same problems.
    verdicts = metrics.judged(verdicts[verdicts["arm"].isin([*run, "base"])])
    found = inference.contrasts(verdicts, [(arm, "base") for arm in run], seed=seed)
    changes = found.set_index(["treatment", "benchmark"])
    rates = verdicts.groupby(["arm", "benchmark"])["passed"].mean()
    lost = forgotten(verdicts)
    rows = []
    for arm in run:
        wanted = configs.load(profile, arm, 1)
        _, adapter = wanted.method()
        skeleton = models.skeleton(base or models.locate(wanted.base_model))
        row: dict[str, Any] = {
            "arm": arm,
            "kind": adapter.kind,
            "parameters": sum(map(math.prod, adapters.check(skeleton, adapter).values())),
            "seeds": int(changes.loc[(arm, JAVA), "seeds"]),
        }
        for name, benchmark in (("python", PYTHON), ("java", JAVA)):
            change = changes.loc[(arm, benchmark)]
            row |= {name: rates[arm, benchmark], f"{name}_change": change["difference"]}
            row |= {f"{name}_low": change["low"], f"{name}_high": change["high"]}
        rows.append(row | {"forgotten": lost.get(arm, np.nan)})
    return pd.DataFrame(rows, columns=COLUMNS)


COLUMNS = [
    *("arm", "kind", "parameters", "seeds"),
    *("python", "python_change", "python_low", "python_high"),
    *("java", "java_change", "java_low", "java_high", "forgotten"),
]


def forgotten(verdicts: pd.DataFrame, benchmark: str = JAVA, control: str = "base") -> pd.Series:
    """By arm: of the problems that the control solves, the share (0..1) that the arm does not, mean over its
    seeds. One completion a problem; empty if the control solves none."""
    of = verdicts[verdicts["benchmark"] == benchmark]
    known = of.loc[(of["arm"] == control) & of["passed"], "task_id"]
    again = of[of["task_id"].isin(known) & (of["arm"] != control)]
    return 1 - again.groupby("arm")["passed"].mean()
