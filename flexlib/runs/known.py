"""Verdicts that stored runs have, on programs that new runs write again.

Of the programs of two arms or seeds of one model most are equal, and judging them is the longest part of a
small model's run. What is taken over was judged in the same way; the provenance of a run says whether any may
have been, and `flexlib regrade` takes nothing over.
"""

from __future__ import annotations

import functools
from collections.abc import Set

from flexlib.config import BenchmarkSettings
from flexlib.runs import provenance, store
from flexlib.runs.machine import Machine
from flexlib.runs.regrade import problems_of
from flexlib.tasks.benchmarks import Problem


def take_over(machine: Machine, benchmarks: Set[str]) -> int:
    """Take the verdicts over, for this process, that the machine's store has on these benchmarks, in
    languages whose toolchain is of the version that judged them. Runs without completions are passed over.

    Returns:
        How many programs have a verdict now.

    Raises:
        FlexError: a run is corrupt, or its benchmark is not the one that it was made with.
    """
    from flexlib.grading import completions

    version = functools.cache(provenance.toolchain_version)
    problems: dict[tuple, list[Problem]] = {}  # read once, not for each of hundreds of runs
    for run in store.run_folders(machine.store):
        if store.is_compact(run):
            continue
        config, judged_by = store.read_config(run), store.read_provenance(run)["toolchains"]
        for name in benchmarks & config["benchmarks"].keys():
            settings = config["benchmarks"][name]
            language = settings["language"]
            if judged_by.get(language) != version(language):
                continue
            which = (name, config.get("limit"), settings["digest"])
            if which not in problems:
                problems[which] = problems_of(run, name, machine)
            completions.know(
                problems[which],
                store.read_completions(run, name),
                store.read_verdicts(run, name),
                BenchmarkSettings(name=name, **settings),
                **machine.grading,
            )
    return completions.known()
