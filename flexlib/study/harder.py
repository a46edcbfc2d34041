"""Pass rates by the number of operations of a task: NanoBench's test split and NanoBench-hard."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from flexlib.nanobench.analysis import task_table
from flexlib.study.metrics import judged, solve_matrix
from flexlib.study.stats import paired_bootstrap

DECODING = "harder-tasks"
LEVELS = ("test", "hard")


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
    rows = []
    for split in LEVELS:
        benchmark = f"nanobench-{language}" if split == "test" else f"nanobench-hard-{language}"
        operations = task_table(split).set_index("task_id")["operations"]
        of = judged(verdicts[verdicts["benchmark"] == benchmark])
        for arm in arms:
            name = arm if split == "test" else f"{arm} {DECODING}"
            if not (of["arm"] == name).any():
                continue
            rates = solve_matrix(of, name, benchmark)
            for count, group in rates.groupby(operations.reindex(rates.index)):
                if len(group) < fewest:
                    continue
                found = paired_bootstrap(group.to_numpy(), seed=seed, n_resamples=n_resamples)
                size = (len(group), group.shape[1])
                rows.append((arm, int(count), *size, found.estimate, found.low, found.high))
    columns = ["arm", "operations", "tasks", "seeds", "pass_at_k", "low", "high"]
    return pd.DataFrame(rows, columns=columns)
