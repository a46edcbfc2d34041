"""What a design with several seeds can tell, from the discordance of two seeds of one arm.

Two seeds of one arm have the same expected pass rate. On a share d of the problems one passes and the
other does not, so a verdict varies by d / 2 from seed to seed. The mean difference of two arms of S
seeds each on n problems, where neither has an effect of its own on any problem, has the variance
d / (S n); against a single run, as that of a greedy base, d / 2 (1 + 1 / S) / n. Effects that differ
from problem to problem come on top: what is computed here is the best that the design can do.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import pandas as pd
from scipy.special import ndtr, ndtri

from flexlib import disk, formats, paths
from flexlib.errors import FlexError
from flexlib.study.metrics import solve_matrix

FILE = "power.csv"  # in data/
REGISTERED = date(2026, 11, 25)  # when the file was made
SEEDS = (1, 2)  # of plain LoRA, of which it was made
FIELDS = ("benchmark", "tasks", "discordant", "design", "seeds", "se", "detectable", "equivalence")


def standard_error(
    discordant: float, tasks: int, seeds: int, *, against_one: bool = False
) -> float:
    """Of the difference between two arms of ``seeds`` seeds each, or between one and a single run."""
    variance = discordant / 2 * (1 + 1 / seeds) if against_one else discordant / seeds
    return math.sqrt(variance / tasks)


def detectable(se: float, power: float = 0.8, alpha: float = 0.05) -> float:
    """The difference that a two-sided test finds with this power."""
    return se * (ndtri(1 - alpha / 2) + ndtri(power))


def equivalence_power(se: float, margin: float, alpha: float = 0.05) -> float:
    """Probability that two arms without a difference are found equivalent within +- ``margin`` by two
    one-sided tests (Schuirmann 1987)."""
    return max(0.0, 2 * ndtr(margin / se - ndtri(1 - alpha)) - 1)


def of_design(
    verdicts: pd.DataFrame,
    arm: str,
    benchmarks: Sequence[str],
    seeds: Sequence[int],
    margin: float,
) -> pd.DataFrame:
    """One row a benchmark and design, in the columns ``FIELDS``: from the first two seeds of ``arm``.

    Raises:
        FlexError: the arm has fewer than two seeds on a benchmark.
    """
    rows = []
    for benchmark in benchmarks:
        matrix = solve_matrix(verdicts, arm, benchmark)
        if matrix.shape[1] < 2:
            raise FlexError(f"{arm} has {matrix.shape[1]} seed on {benchmark}; power needs two")
        first, second = matrix[sorted(matrix.columns)[:2]].to_numpy().T
        discordant, tasks = float((first != second).mean()), len(matrix)
        for count in seeds:
            for design, against_one in (("arm", False), ("base", True)):
                se = standard_error(discordant, tasks, count, against_one=against_one)
                found = (se, detectable(se), equivalence_power(se, margin))
                rows.append((benchmark, tasks, discordant, design, count, *found))
    return pd.DataFrame(rows, columns=list(FIELDS))


def registered() -> pd.DataFrame:
    """The power of the profile small, in the columns ``FIELDS``: of the claims on pass@1 that had been
    registered by then, from the two seeds of plain LoRA that there were, before the first run with a
    penalty. Later claims and runs change nothing.
    """
    from flexlib.runs import store
    from flexlib.study import paper

    claims = [
        claim
        for claim in paper.registration()["claims"]
        if (claim["profile"], claim["metric"]) == ("small", "pass@1")
        and claim["registered"] <= REGISTERED
    ]
    [margin] = {claim["smallest_effect"] for claim in claims}
    benchmarks = list(dict.fromkeys(claim["benchmark"] for claim in claims))
    verdicts = store.verdicts(profile="small")
    # Alone: a problem that could not be judged of another run would be left out of these, too.
    verdicts = verdicts[(verdicts["arm"] == "lora") & verdicts["seed"].isin(SEEDS)]
    return of_design(verdicts, "lora", benchmarks, (3, 5), margin)


def main(data: Path | None = None) -> None:
    """Write :func:`registered` to data/power.csv."""
    table = registered()
    path = (data or paths.DATA) / FILE
    disk.write_atomically(path, formats.to_csv(FIELDS, table.to_dict("records")))
    print(table.to_string(index=False))


if __name__ == "__main__":
    main()
