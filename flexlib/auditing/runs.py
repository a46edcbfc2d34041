"""Where the answers come from: runs in a store, found by what they are, and made where they are not there.

Runs are looked for in the study's own store too, among them the one that trained the audited adapter. A run
serves if it was asked the same way: the same base, adapter, benchmark and decoding, and the same problems
or more of them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flexlib import config as configs
from flexlib import models, paths
from flexlib.config import BenchmarkSettings, RunConfig
from flexlib.errors import FlexError
from flexlib.models import adapters
from flexlib.runs import pipeline, preflight, regrade, store
from flexlib.runs.machine import Machine
from flexlib.tasks.benchmarks import Problem


@dataclass(frozen=True)
class Answers:
    """What was answered on one benchmark, judged.

    Attributes:
        run: the folder of the stored run.
        made: whether it was made now.
        completions: as :func:`flexlib.runs.store.read_completions`, of ``problems`` only.
        verdicts: as :func:`flexlib.runs.store.read_verdicts`, in the same order.
    """

    run: Path
    made: bool
    settings: BenchmarkSettings
    problems: list[Problem]
    completions: list[dict[str, Any]]
    verdicts: list[dict[str, Any]]


def answers(
    config: RunConfig,
    machine: Machine,
    bases: models.BaseModels | None = None,
    *,
    afresh: bool = False,
) -> dict[str, Answers]:
    """The answers of a base, or of the machine's adapter on it, by benchmark.

    Args:
        afresh: make what is missing from the beginning, not from where a killed process left it.

    Raises:
        FlexError: as :func:`flexlib.runs.pipeline.run`.
    """
    config, inputs = preflight.resolve(config, machine)
    folders = [machine.store, paths.RUNS]
    found = {b.name: find(config, b, folders, machine) for b in config.benchmarks}
    missing = [b for b in config.benchmarks if found[b.name] is None]
    made = None
    if missing:
        wanted = _only(config, missing)
        if afresh:
            pipeline.forget(wanted, machine)
        made = pipeline.run(wanted, machine, bases)
    return {
        b.name: _read(found[b.name] or made, found[b.name] is None, b, inputs.problems[b.name])
        for b in config.benchmarks
    }


def find(
    config: RunConfig, benchmark: BenchmarkSettings, folders: Sequence[Path], machine: Machine
) -> Path | None:
    """A stored run that has the answers that ``config`` would give on a benchmark; None if there is none.
    One whose answers are damaged is passed over, with a line on standard error.

    Args:
        config: as :func:`flexlib.runs.preflight.resolve` returns it.
    """
    wanted = configs.to_dict(config)
    asked = _way(config, wanted["benchmarks"][benchmark.name])
    for run, stored in _runs(folders):
        settings = stored["benchmarks"].get(benchmark.name)
        if (
            settings is None
            or _way(config, settings) != asked
            or stored.get("base_digest") != wanted["base_digest"]
            or _adapter_digest(run, stored) != wanted.get("adapter_digest")
            or (benchmark.temperature > 0 and stored["seed"] != wanted["seed"])
        ):
            continue
        if settings["digest"] != benchmark.digest:
            if not _is_longer(stored, config) or _drawn_together(benchmark):
                continue
            try:
                regrade.problems_of(run, benchmark.name, machine)
            except FlexError:  # other problems, whatever their number
                continue
        try:
            store.read_completions(run, benchmark.name)
            store.read_verdicts(run, benchmark.name)
        except FlexError as error:
            print(f"flexlib: passed over: {error}", file=sys.stderr)
            continue
        return run
    return None


def _runs(folders: Sequence[Path]) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """The stored runs that are whole, with their configurations."""
    for folder in folders:
        for run in store.run_folders(folder):
            with contextlib.suppress(FlexError):  # a corrupt run is no reason to stop
                config = store.read_config(run)
                if not store.is_compact(run):
                    yield run, config


def _adapter_digest(run: Path, stored: Mapping[str, Any]) -> str | None:
    """Which adapter answered in a run: the one that it was given or has trained; None: the base alone."""
    if "training" not in stored:
        return stored.get("adapter_digest")
    try:
        return adapters.digest(store.adapter_folder(run) or run / "adapter")
    except FlexError:  # what it trained is no adapter, as where all weights were tuned
        return run.name


def _way(config: RunConfig, settings: Mapping[str, Any]) -> dict[str, Any]:
    """How a model is asked on a benchmark, whatever the problems. A base has nothing to merge."""
    without = {"digest"} if config.adapter_digest else {"digest", "merge_adapter"}
    return {k: v for k, v in settings.items() if k not in without}


def _is_longer(stored: Mapping[str, Any], config: RunConfig) -> bool:
    """Whether a run was asked the first problems of a benchmark, these and more."""
    limit = stored.get("limit")
    return config.limit is not None and (limit is None or limit > config.limit)


def _drawn_together(settings: BenchmarkSettings) -> bool:
    """Whether an answer depends on the problems beside it."""
    return bool(settings.num_beams and settings.temperature > 0)


def _only(config: RunConfig, benchmarks: Sequence[BenchmarkSettings]) -> RunConfig:
    """The configuration of some of its benchmarks, by a name that no other run in the store has."""
    parts = [d[:12] for d in (config.adapter_digest, config.base_digest) if d]
    parts += [b.name for b in benchmarks]
    parts += ["merged"] if any(b.merge_adapter for b in benchmarks) else []
    parts += [f"samples={b.samples}" for b in benchmarks[:1] if b.samples > 1]
    parts += [f"limit={config.limit}"] if config.limit else []
    arm = "audited" if config.adapter_digest else config.arm
    return dataclasses.replace(
        config, arm=arm, benchmarks=tuple(benchmarks), variant=" ".join(parts)
    )


def _read(
    run: Path | None, made: bool, settings: BenchmarkSettings, problems: list[Problem]
) -> Answers:
    assert run is not None  # found, or made
    ids = {p.task_id for p in problems}
    completions = [c for c in store.read_completions(run, settings.name) if c["task_id"] in ids]
    by_place = {
        (row["task_id"], int(row["sample"])): row for row in store.read_verdicts(run, settings.name)
    }
    verdicts = [
        {**row, "sample": int(row["sample"]), "passed": row["passed"] == "True"}
        for row in (by_place[c["task_id"], c["sample"]] for c in completions)
    ]
    return Answers(run, made, settings, problems, completions, verdicts)
