"""Many runs, one after the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from flexlib import models
from flexlib.config import RunConfig
from flexlib.errors import Busy
from flexlib.runs.machine import Machine
from flexlib.runs.pipeline import run


def grid(wanted: Iterable[RunConfig], machine: Machine) -> Iterator[tuple[RunConfig, Path | None]]:
    """Make the runs; yields each with its folder.

    None instead of a folder: another process is at it. The same run asked for twice, such as a greedy
    base under several seeds, is made once. The base model stays loaded from run to run.
    """
    bases = models.BaseModels()
    for config in dict.fromkeys(wanted):
        try:
            yield config, run(config, machine, bases)
        except Busy:
            yield config, None
