"""Progress on standard error: a bar on a terminal, a line a minute where it goes to a file."""

from __future__ import annotations

import sys
import time
from typing import Any, Self

from tqdm import tqdm

_SECONDS = 60.0  # between two lines
_LINE = "{desc}: {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_fmt}{postfix}]"


def bar(
    description: str,
    unit: str,
    total: int | None = None,
    *,
    initial: int = 0,
    leave: bool = True,
    show: bool = True,
) -> tqdm | Lines:
    """Something with ``update``, ``set_postfix`` and ``close``, and a context manager.

    Args:
        total: None where it is not known.
        initial: what was done before, which does not count for the speed.
        leave: whether a terminal keeps the bar when it is done.
        show: False for silence.
    """
    if show and not sys.stderr.isatty():
        return Lines(description, unit, total, initial)
    return tqdm(
        desc=description, unit=unit, total=total, initial=initial, leave=leave, disable=not show
    )


class Lines:
    """As much of tqdm's interface as is used here. What is done within a minute leaves no line; what
    left one also leaves its last."""

    def __init__(self, description: str, unit: str, total: int | None, initial: int) -> None:
        self.n = initial
        self._said: int | None = None  # the count of the last line
        self._start = self._printed = time.monotonic()
        self._look = {"prefix": description, "unit": unit, "total": total, "initial": initial}
        self._postfix = ""

    def update(self, n: int = 1) -> None:
        self.n += n
        if time.monotonic() - self._printed >= _SECONDS:
            self._print()

    def set_postfix(self, refresh: bool = True, **values: Any) -> None:
        self._postfix = ", ".join(f"{name}={value}" for name, value in values.items())

    def close(self) -> None:
        if self._said not in (None, self.n):
            self._print()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _print(self) -> None:
        self._said, self._printed = self.n, time.monotonic()
        text = tqdm.format_meter(
            self.n,
            elapsed=self._printed - self._start,
            postfix=self._postfix,
            bar_format=_LINE if self._look["total"] else None,
            **self._look,  # type: ignore[arg-type]  # several types in one table
        )
        print(text, file=sys.stderr, flush=True)
