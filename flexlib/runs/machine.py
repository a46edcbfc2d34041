"""Where and how a run is made: nothing here may change a result beyond rounding."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flexlib import paths


@dataclass(frozen=True)
class Machine:
    """Folders, device and speed.

    What rounding does change, in texts and in verdicts, by batch, kernel and compilation, is measured
    by ``benchmarks/rounding.py`` and stands in ``data/benchmarks/rounding.csv``.
    """

    store: Path = paths.RUNS
    work_dir: Path = paths.WORK
    base_model: Path | None = None  # a local copy of the configuration's base model
    adapter: Path | None = None  # the folder of an adapter that is run as it is, not trained here
    data_dir: Path | None = None  # a local copy of the benchmarks and training sets
    device: str | None = None  # cpu or cuda; None: a GPU where there is one
    microbatch: int | None = None  # sequences a forward pass in training; None: training.trainer's
    gradient_checkpointing: bool | None = None  # None: where memory needs it
    compile: bool = False  # training and, with a cache of fixed size, generation by torch.compile
    attention: str | None = None  # transformers' name of a kernel; None: its choice
    generation_batch: int = 64  # completions (beams, in beam search) decoded together
    workers: int | None = None  # programs graded at once
    unsafe_no_sandbox: bool = False
    known_verdicts: bool = False  # in a grid, of programs that a run in the store has
    progress: bool = True

    @property
    def grading(self) -> dict[str, Any]:
        """The options of :func:`flexlib.grading.grade`."""
        return {
            "workers": self.workers,
            "unsafe_no_sandbox": self.unsafe_no_sandbox,
            "progress": self.progress,
        }
