"""Every verdict again, from the stored completions: no model, no GPU."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from flexlib.config import BenchmarkSettings
from flexlib.errors import FlexError
from flexlib.runs import provenance, store
from flexlib.runs.machine import Machine
from flexlib.runs.preflight import problems_digest
from flexlib.tasks import benchmarks
from flexlib.tasks.benchmarks import Problem


@dataclass(frozen=True)
class Regraded:
    """What regrading one benchmark of one run changed: (task_id, sample, old verdict, new verdict).

    No ``programs``: the run is a compact one, and there is nothing to grade.
    """

    run_id: str
    benchmark: str
    programs: int
    changes: list[tuple[str, int, str, str]]


def regrade(
    machine: Machine, run_ids: Sequence[str] = (), *, write: bool = True
) -> Iterator[Regraded]:
    """Grade the stored completions of runs (all without ``run_ids``) anew.

    With ``write``, the new verdicts replace those of a run in which any changed or whose file was
    damaged. Compact runs are passed over, unless they are asked for.

    Raises:
        FlexError: no such run; it has no completions, or they are corrupt; the benchmark is not the one it
            was run on; a program that has a verdict cannot be judged now.
    """
    from flexlib.grading import completions

    completions.forget()  # what this process has judged before, or taken over
    for run in store.select(machine.store, run_ids):
        if not run_ids and store.is_compact(run):
            names = store.read_config(run)["benchmarks"]
            yield from (Regraded(run.name, name, 0, []) for name in names)
        else:
            yield from _regrade_run(run, machine, write)


def problems_of(run: Path, benchmark: str, machine: Machine) -> list[Problem]:
    """The problems of a stored run on one of its benchmarks.

    Raises:
        FlexError: the benchmark is not the one that the run was made with.
    """
    config = store.read_config(run)
    problems = benchmarks.load_benchmark(benchmark, machine.data_dir, config.get("limit"))
    if problems_digest(problems) != config["benchmarks"][benchmark]["digest"]:
        raise FlexError(
            f"benchmark {benchmark} is not the one that run {run.name} was made with; restore its "
            "data, or remove the run and make it again"
        )
    return problems


def _regrade_run(run: Path, machine: Machine, write: bool) -> Iterator[Regraded]:
    from flexlib.grading.completions import grade_completions

    config = store.read_config(run)
    replaced = {}
    for name, settings in config["benchmarks"].items():
        completions = store.read_completions(run, name)
        problems = problems_of(run, name, machine)
        decoding = BenchmarkSettings(name=name, **settings)
        rows = grade_completions(problems, completions, decoding, **machine.grading)
        old = _old_verdicts(run, name)
        for row in rows:
            before = old.get((row["task_id"], row["sample"]))
            if row["verdict"] == "harness_error" and before not in (None, "harness_error"):
                raise FlexError(
                    f"run {run.name}: the grader could not judge {row['task_id']}#{row['sample']} "
                    f"({row['detail']}), which was {before}; regrade it again"
                )
        changes = [
            (row["task_id"], row["sample"], before, row["verdict"])
            for row in rows
            if (before := old.get((row["task_id"], row["sample"]), "none")) != row["verdict"]
        ]
        if changes:
            replaced[name] = rows
        yield Regraded(run.name, name, len(rows), changes)
    if replaced and write:
        note = provenance.describe("cpu")
        store.replace_verdicts(run, replaced, {k: note[k] for k in ("utc", "git", "toolchains")})


def _old_verdicts(run: Path, benchmark: str) -> dict[tuple[str, int], str]:
    try:
        rows = store.read_verdicts(run, benchmark)
    except FlexError:  # the file is damaged, which is what regrading is for
        return {}
    return {(row["task_id"], int(row["sample"])): row["verdict"] for row in rows}
