"""What it is worth that an answer ends before a line that begins with a fence (``cut_at_fence``).

The stored completions go on where the rule cuts them, so that both cuts can be graded. Only the answers
that hold such a line are graded again.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flexlib.config import BenchmarkSettings
from flexlib.runs import store
from flexlib.runs.machine import Machine
from flexlib.runs.regrade import problems_of
from flexlib.tasks import answers

if TYPE_CHECKING:
    import pandas as pd

FIELDS = ("benchmark", "task_id", "sample", "verdict", "passed")


def of_run(run: Path, machine: Machine) -> list[dict[str, Any]] | None:
    """The verdicts that the answers with a fence get whole; None for a run without the rule.

    Raises:
        FlexError: the benchmark is not the one that the run was made with, or cannot be graded here.
    """
    from flexlib.grading.completions import grade_completions

    rows: list[dict[str, Any]] = []
    cut = {n: s for n, s in store.read_config(run)["benchmarks"].items() if s.get("cut_at_fence")}
    for name, stored in cut.items():
        settings = BenchmarkSettings(name=name, **stored)
        fenced = [
            completion
            for completion in store.read_completions(run, name)
            if answers.cut_at_fence(completion["completion"]) != completion["completion"]
        ]
        if fenced:
            uncut = dataclasses.replace(settings, cut_at_fence=None)
            problems = problems_of(run, name, machine)
            judged = grade_completions(problems, fenced, uncut, **machine.grading)
            rows += [{"benchmark": name, **row} for row in judged]
    return rows if cut else None


def worth(verdicts: pd.DataFrame, uncut: pd.DataFrame) -> pd.DataFrame:
    """pass@1 with the rule and without it, from the same answers.

    Args:
        verdicts: of :func:`flexlib.runs.store.verdicts`.
        uncut: of ``flexlib.analysis.read("fences")``.

    Returns:
        ``arm, benchmark, seeds, fenced`` (share of the answers that hold a fence), ``cut`` and ``uncut``
        (pass@1), for the runs that have been analysed.
    """
    keys = ["run_id", "benchmark", "task_id", "sample"]
    of_runs = verdicts[verdicts["run_id"].isin(uncut["run_id"])]
    both = of_runs.merge(uncut[[*keys, "passed"]], how="left", on=keys, suffixes=("", "_uncut"))
    both["fenced"] = both["passed_uncut"].notna()
    both["uncut"] = both["passed_uncut"].where(both["fenced"], both["passed"]).astype(bool)
    return (
        both.groupby(["arm", "benchmark"], sort=False)
        .agg(
            seeds=("seed", "nunique"),
            fenced=("fenced", "mean"),
            cut=("passed", "mean"),
            uncut=("uncut", "mean"),
        )
        .reset_index()
    )
