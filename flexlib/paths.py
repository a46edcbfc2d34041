"""Where the project lies. The one module that knows: the others ask here.

flexlib works on a checkout: results, benchmark and base model are files of the repository.
"""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

DATA = ROOT / "data"
RUNS = DATA / "runs"  # the store
TUNING = DATA / "tuning"
MEASURED = DATA / "measurements"  # speeds, by the scripts in measurements/
NANOBENCH = DATA / "nano" / "nanobench"
NANO_BASE = DATA / "nano" / "base"

WORK = ROOT / ".flexlib-work"  # unfinished runs


def cache_folder() -> Path:
    """flexlib's folder in the user's cache: what can be made again at any time."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "flexlib"
