"""Tables made of the project's own store, kept on disk until anything they are made of changes.

Every page of the book and a good part of the suite ask for the same few tables of several hundred runs.
What is kept can be removed at any time (``make clean``).
"""

from __future__ import annotations

import hashlib
import os
import pickle
import platform
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from flexlib import disk, paths

if TYPE_CHECKING:
    import pandas as pd

_STORE = paths.RUNS  # the project's own
_MADE_OF = (
    paths.ROOT / "flexlib",
    paths.DATA,
)  # the code, the runs, what is registered, the trials
#: What comes of a file that is not there, was cut short, or was written by other versions.
_NO_TABLE = (
    *(OSError, EOFError, pickle.UnpicklingError, AttributeError, ImportError),
    *(IndexError, KeyError, TypeError, ValueError),
)
_FOLDER = paths.ROOT / "_build" / ".tables"


def kept(
    name: str, store: Path | None, asked: object, make: Callable[[], pd.DataFrame]
) -> pd.DataFrame:
    """The table that ``make`` makes, or made before of the same files.

    Files are the same if path, size and times of change are. Of another store than the project's own the
    table is made anew; so it is where nothing can be kept.

    Args:
        name: of the table; one is kept of each name and ``asked``.
        asked: what the table depends on beside the files; plain data.
    """
    if Path(store or paths.RUNS) != _STORE:
        return make()
    stamp = _stamp()  # before it is made: what changes meanwhile is not in it for certain
    which = hashlib.sha256(repr(asked).encode()).hexdigest()[:12]
    path = _FOLDER / f"{name}-{which}.pickle"
    try:
        known, table = pickle.loads(path.read_bytes())
        if known == stamp:
            return table
    except _NO_TABLE:
        pass
    table = make()
    try:
        _FOLDER.mkdir(parents=True, exist_ok=True)
        disk.write_atomically(path, pickle.dumps((stamp, table)))
    except OSError:
        pass  # a disk that is full or may not be written: the table is here all the same
    return table


def _stamp() -> str:
    import numpy
    import pandas

    versions = [platform.python_version(), numpy.__version__, pandas.__version__]
    files = sorted(entry for folder in _MADE_OF for entry in _files(folder))
    return hashlib.sha256(repr((versions, files)).encode("utf-8", "surrogateescape")).hexdigest()


def _files(folder: Path) -> Iterator[tuple[str, int, int, int]]:
    """Every file below a folder: path, size, and when its content and its entry changed, in ns."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name == "__pycache__":
                continue
            if entry.is_dir():
                yield from _files(Path(entry.path))
            else:
                found = entry.stat()
                yield entry.path, found.st_size, found.st_mtime_ns, found.st_ctime_ns
