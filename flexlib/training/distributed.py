"""Several processes on one run, as ``accelerate launch`` or ``torchrun`` start them.

All of them train; the main one alone locks, generates, grades and stores. Started singly, everything
here does nothing.

Training is that of one process, up to rounding, but for one thing: where the batch does not divide
the training set, accelerate fills up an epoch's last batch with sequences from its beginning (of MBPP's
374, the last 2 of each epoch get 2 more beside them). A run's provenance has how many ``launched``.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

from flexlib.errors import Busy

# The others wait while the main process generates and grades.
_PATIENCE = timedelta(days=2)


def processes() -> int:
    """How many processes were launched together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_main() -> bool:
    """Whether this is the process that writes."""
    return int(os.environ.get("RANK", "0")) == 0


def is_sharded() -> bool:
    """Whether the processes were launched to hold a part of the model each (FSDP)."""
    return os.environ.get("ACCELERATE_USE_FSDP", "").lower() == "true"


def join(device: str) -> None:
    """Meet the other processes, and take the GPU that is this one's."""
    if processes() > 1:
        from accelerate import PartialState

        PartialState(cpu=device == "cpu", timeout=_PATIENCE)


def wait() -> None:
    """Go on when all processes are here."""
    if processes() > 1:
        from accelerate import PartialState

        PartialState().wait_for_everyone()


def from_main(value: Any = None) -> Any:
    """The main process's value, in all of them; what the others pass is ignored."""
    if processes() == 1:
        return value
    from accelerate.utils import broadcast_object_list

    return broadcast_object_list([value], from_process=0)[0]


@contextlib.contextmanager
def lead() -> Iterator[Callable[[], None]]:
    """In the main process: a block in which the others wait. What it yields is to be called, once, when
    they are to do what they gave :func:`follow`; at the end they hear how it went."""
    called = False

    def call_others() -> None:
        nonlocal called
        called = True
        from_main(True)

    try:
        yield call_others
    except Busy:
        if not called:
            from_main(False)
        from_main(False)
        raise
    if not called:
        from_main(False)
    from_main(True)


def follow(work: Callable[[], None]) -> bool:
    """In the other processes: wait for the main one, and do ``work`` if it calls; whether it got there."""
    if from_main():
        work()
    return from_main()
