"""What the grader says of programs whose truth is known; the book's chapter shows the tables.

    python measurements/grading_truth.py --data DIR [--out data/measurements]

Writes ``grading-hostile.csv``, one row a hostile program, and ``grading-truth.csv``, one row a
set of references, with those that do not pass and why.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterable, Iterator
from pathlib import Path

from flexlib import paths
from flexlib.grading import grade, selfcheck
from flexlib.grading.hostile import CASES

DEFAULT_OUT = paths.MEASURED


def write(path: Path, rows: Iterable[dict]) -> None:
    rows = list(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def hostile() -> Iterator[dict]:
    verdicts = grade([case.program for case in CASES], timeout=5.0)
    for case, verdict in zip(CASES, verdicts, strict=True):
        yield {
            "language": case.language,
            "group": case.group,
            "program": case.name,
            "verdict": verdict.verdict,
            "right": verdict.verdict in case.allowed,
        }


def references(data: Path) -> Iterator[dict]:
    sets = [
        selfcheck.humaneval_references(data),
        selfcheck.mbpp_references(data),
        selfcheck.mbjp_references(data),
        selfcheck.nanobench_references("python"),
        selfcheck.nanobench_references("java", 100),
        selfcheck.nanobench_references("javascript", 100),
        selfcheck.nanobench_references("cpp", 25),
    ]
    for known in sets:
        finding = selfcheck.check(known)
        reasons = [
            selfcheck.MBJP_WRONG[name] for name in known.right if known.right[name] != ("pass",)
        ]
        yield {
            "references": known.name.replace(" references", ""),
            "programs": finding.programs,
            "pass": finding.passed,
            "wrong in the data": len(reasons),
            "unexplained": len(finding.surprises),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the benchmarks' files")
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT)
    args = parser.parse_args()
    write(args.out / "grading-hostile.csv", hostile())
    write(args.out / "grading-truth.csv", references(args.data))


if __name__ == "__main__":
    main()
