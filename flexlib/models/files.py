"""The files of model folders: which make the model, and their digests; and transformers kept quiet."""

from __future__ import annotations

import contextlib
import hashlib
import json
import warnings
from collections.abc import Iterator
from pathlib import Path

from flexlib import disk, paths

# What makes a model folder the model that it is; a model card or an optimiser state beside it does not.
IDENTITY = ("config.json", "*.safetensors", "pytorch_model*.bin", "tokenizer*", "special_tokens*")

_LARGE = 2**27  # bytes from which a file's digest is remembered: a second of reading and hashing


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without the progress bars and the remarks of transformers and peft, of which none matters here:
    the pipeline has its own progress line, and errors are exceptions."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def files_digest(folder: Path) -> str:
    """sha256 over the names and contents of the files that make the model."""
    total = hashlib.sha256()
    for path in sorted({p for pattern in IDENTITY for p in folder.glob(pattern)}):
        total.update(f"{path.name} {file_digest(path)}\n".encode())
    return total.hexdigest()


def file_digest(path: Path) -> str:
    """sha256 of a file. Of a large one it is kept in the user's cache, by path, size and time of change:
    13 GB take a minute, and a grid would take it for every run."""
    state = path.stat()
    if state.st_size < _LARGE:
        return _hash(path)
    cache = paths.cache_folder()
    # A file of the hub's cache is a link to its content.
    key = hashlib.sha256(f"{path.resolve()} {state.st_size} {state.st_mtime_ns}".encode())
    known = cache / f"{key.hexdigest()[:32]}.json"
    with contextlib.suppress(OSError, ValueError, KeyError):
        return json.loads(known.read_text(encoding="utf-8"))["sha256"]
    found = _hash(path)
    with contextlib.suppress(OSError):  # a cache that cannot be written is no reason to stop
        cache.mkdir(parents=True, exist_ok=True)
        disk.write_atomically(known, json.dumps({"sha256": found}).encode())
    return found


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def one_line(error: Exception) -> str:
    """An exception's message, on one line of bearable length."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else text[:197] + "..."
