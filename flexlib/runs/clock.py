"""Seconds a stage, added up over the processes that worked on a run."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flexlib import disk, formats


@dataclass
class Clock:
    """The clock of one run, kept in a file from process to process."""

    path: Path
    processes: int = 0
    seconds: dict[str, float] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path) -> Clock:
        """Take up the clock of a run, and count this process."""
        clock = cls(path)
        if path.exists():
            clock = cls(path, **json.loads(path.read_text(encoding="utf-8")))
        clock.processes += 1
        clock._save()
        return clock

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage; what a killed process spent in it is lost."""
        start = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - start
            self._save()

    def facts(self) -> dict[str, Any]:
        """What provenance says of it."""
        return {
            "seconds": {stage: round(s, 1) for stage, s in self.seconds.items()},
            "processes": self.processes,  # more than 1: the run was interrupted
        }

    def _save(self) -> None:
        state = {"processes": self.processes, "seconds": self.seconds}
        disk.write_atomically(self.path, formats.to_json(state))
