"""Pass rates by the number of operations of a task: NanoBench's test split and NanoBench-hard."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from flexlib.nanobench.analysis import task_table
from flexlib.study import stats
from flexlib.study.metrics import judged

DECODING = "harder-tasks"
LEVELS = ("test", "hard")


def highest(verdicts: pd.DataFrame) -> float:
    """The highest pass@1 of any arm in any language on NanoBench-hard; NaN without runs."""
    hard = verdicts[verdicts["benchmark"].str.startswith("nanobench-hard")]
    return float(hard.groupby(["arm", "benchmark"])["passed"].mean().max())


def by_operations(
    verdicts: pd.DataFrame,
    arms: Sequence[str],
    language: str,
    *,
    seed: int,
    fewest: int = 20,
    n_resamples: int = 10_000,
) -> pd.DataFrame:
    """pass@1 of arms in a language by number of operations: ``arm, operations, tasks, seeds, pass_at_k, low,
    high``, a 95 % interval over tasks and seeds. What was not run is left out.

    Args:
        verdicts: from :func:`flexlib.runs.store.verdicts`, of one profile.
        arms: as profiles name them; NanoBench-hard is read from the runs of its decoding.
        seed: of the bootstrap.
        fewest: numbers of operations with fewer tasks are left out.
    """
    parts = []
    for split in LEVELS:
        benchmark = f"nanobench-{language}" if split == "test" else f"nanobench-hard-{language}"
        operations = task_table(split).set_index("task_id")["operations"]
        of = judged(verdicts[verdicts["benchmark"] == benchmark])
        for arm in arms:
            own = of[of["arm"] == (arm if split == "test" else f"{arm} {DECODING}")]
            for count, tasks in own.groupby(own["task_id"].map(operations)):
                if tasks["task_id"].nunique() >= fewest:
                    rates = stats.arm_rates(tasks, seed=seed, n_resamples=n_resamples)
                    parts.append(rates.assign(arm=arm, operations=int(count)))
    columns = ["arm", "operations", "tasks", "seeds", "pass_at_k", "low", "high"]
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)
