"""Many runs, one after the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from flexlib import models
from flexlib.config import RunConfig
from flexlib.errors import Busy
from flexlib.runs import preflight
from flexlib.runs.machine import Machine
from flexlib.runs.pipeline import run
from flexlib.training import distributed


def grid(wanted: Iterable[RunConfig], machine: Machine) -> Iterator[tuple[RunConfig, Path | None]]:
    """Make the runs; yields each with its folder.

    None instead of a folder: another process is at it. The same run asked for twice, such as a greedy
    base under several seeds, is made once. On a CPU the base model stays loaded from run to run.

    Raises:
        FlexError: as :func:`flexlib.runs.pipeline.run`; what an arm names that is not there, or does not
            go together, before any run is made.
    """
    wanted = list(dict.fromkeys(wanted))
    device = models.pick_device(machine.device)
    distributed.join(device)
    for first in {config.label: config for config in reversed(wanted)}.values():
        preflight.resolve(first, machine)  # seeds do not differ in what is refused
    # An analysis between two runs loads a model of its own, and on a GPU two may not fit.
    bases = models.BaseModels() if device == "cpu" else None
    for config in wanted:
        try:
            yield config, run(config, machine, bases)
        except Busy:
            yield config, None
