"""Many runs, one after the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from flexlib import config as configs
from flexlib import models
from flexlib.config import RunConfig
from flexlib.errors import Busy
from flexlib.runs import known, preflight, store
from flexlib.runs.machine import Machine
from flexlib.runs.pipeline import run
from flexlib.training import distributed


def grid(wanted: Iterable[RunConfig], machine: Machine) -> Iterator[tuple[RunConfig, Path | None]]:
    """Make the runs; yields each with its folder.

    None instead of a folder: another process is at it. The same run asked for twice, such as a greedy
    base under several seeds, is made once. On a CPU the base model stays loaded from run to run.

    Raises:
        FlexError: as :func:`flexlib.runs.pipeline.run`; what :mod:`flexlib.runs.preflight` refuses of any
            arm, before any run is made.
    """
    wanted = list(dict.fromkeys(wanted))
    device = models.pick_device(machine.device)
    distributed.join(device)
    by_label: dict[str, list[RunConfig]] = {}
    for config in wanted:
        by_label.setdefault(config.label, []).append(config)
    for of_label in by_label.values():
        _check(of_label, machine)
    if machine.known_verdicts:
        known.take_over(machine, {b.name for config in wanted for b in config.benchmarks})
    # An analysis between two runs loads a model of its own, and on a GPU two may not fit.
    bases = models.BaseModels() if device == "cpu" else None
    for config in wanted:
        try:
            yield config, run(config, machine, bases)
        except Busy:
            yield config, None


def _check(of_label: list[RunConfig], machine: Machine) -> None:
    """See that the runs of one label can be made: the first that the store lacks, as seeds do not differ in
    what is refused. Runs that are all there need no toolchain and no memory."""
    for config in of_label:
        resolved, inputs = preflight.resolve(config, machine)
        if not store.has(machine.store, configs.run_id(configs.to_dict(resolved))):
            preflight.check(resolved, inputs, machine)
            return
