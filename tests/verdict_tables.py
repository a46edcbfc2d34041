"""Made-up verdicts, as `flexlib.runs.store.verdicts` gives them."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

COLUMNS = ["arm", "seed", "benchmark", "language", "task_id", "passed"]


def table(rows: Iterable[tuple]) -> pd.DataFrame:
    """One sample a row of ``COLUMNS``."""
    found = pd.DataFrame(rows, columns=COLUMNS)
    verdict = found["passed"].map({True: "pass", False: "wrong"})
    return found.assign(sample=0, verdict=verdict, run_id="r")
