"""What an audit has worked out is kept in its store, and found again by all that it depends on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from flexlib import disk, formats

T = TypeVar("T")  # an answer


def find(
    store: Path, kind: str, question: object, read: Callable[[Any], T]
) -> tuple[Path, T | None]:
    """Where the answer to a question is kept, and that answer; None if it is not there or damaged.

    Args:
        question: plain data: whatever the answer depends on.
        read: makes the answer of plain data; raises TypeError, KeyError or ValueError where that is none.
    """
    path = store / f".{kind}-{formats.digest_of(question)[:12]}.json"
    try:
        return path, read(json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError, KeyError):
        return path, None


def keep(path: Path, answer: object) -> None:
    """Keep an answer, plain data, for the next time that the question comes up.

    Raises:
        FlexError: the store cannot be written, or is full.
    """
    folder, remedy = path.parent, "name another store by --store, or set XDG_CACHE_HOME"
    with disk.unwritable_cache_is_an_error(folder, remedy), disk.full_disk_is_an_error(folder):
        folder.mkdir(parents=True, exist_ok=True)
        disk.write_atomically(path, formats.to_json(answer))
