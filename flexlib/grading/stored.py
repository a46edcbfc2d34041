"""The measurements of the grader that the book shows, as tidy tables.

They are made by ``measurements/grading.py`` (speeds) and ``measurements/grading_truth.py``.
"""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from flexlib import paths
from flexlib.errors import FlexError

FOLDER = paths.MEASURED


def _table(name: str, script: str, folder: Path) -> pd.DataFrame:
    path = folder / f"{name}.csv"
    if not path.is_file():
        raise FlexError(f"there is no {path}: make it with `python measurements/{script}.py`")
    return pd.read_csv(path)


def speeds(folder: Path = FOLDER) -> pd.DataFrame:
    """Columns references, language, way (peer, flexlib, floor), programs, passed, ms_per_program,
    times_faster_than_peer. Raises FlexError if it was not measured."""
    return _table("grading", "grading", folder)


def speed_facts(folder: Path = FOLDER) -> dict:
    """The machine on which the speeds were measured, and the memory in use."""
    speeds(folder)
    return json.loads((folder / "grading.json").read_text())


def hostile(folder: Path = FOLDER) -> pd.DataFrame:
    """Columns language, group, program, verdict, right: one row a hostile program."""
    return _table("grading-hostile", "grading_truth", folder)


def truth(folder: Path = FOLDER) -> pd.DataFrame:
    """Columns references, programs, pass, wrong in the data, unexplained."""
    return _table("grading-truth", "grading_truth", folder)
