"""What the grader says of programs whose truth is known; the book's chapter shows the tables.

    python benchmarks/grading_truth.py [--data DIR] [--languages go,lua] [--out data/benchmarks]

Writes ``grading-hostile.csv``, one row a hostile program, and, with ``--data``, ``grading-truth.csv``, one
row a set of references, with those that do not pass and why. With ``--languages``, the rows of the other
languages' hostile programs stay as they are.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from flexlib import formats, paths
from flexlib.grading import grade, selfcheck
from flexlib.grading.hostile import CASES
from flexlib.tasks.languages import LANGUAGES

DEFAULT_OUT = paths.MEASURED


def write(path: Path, rows: Iterable[dict]) -> None:
    rows = list(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(formats.to_csv(list(rows[0]), rows))


def hostile(languages: Collection[str]) -> Iterator[dict]:
    cases = [case for case in CASES if case.language in languages]
    verdicts = grade([case.program for case in cases], timeout=5.0)
    for case, verdict in zip(cases, verdicts, strict=True):
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
    parser.add_argument("--data", type=Path, help="folder of the benchmarks' files")
    parser.add_argument("--languages", default=",".join(LANGUAGES), help="of hostile programs")
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT)
    args = parser.parse_args()
    languages = args.languages.split(",")
    path = args.out / "grading-hostile.csv"
    kept = []
    if path.is_file():
        with path.open(newline="") as file:
            kept = [row for row in csv.DictReader(file) if row["language"] not in languages]
    order = list(LANGUAGES)
    rows = [*kept, *hostile(languages)]
    write(path, sorted(rows, key=lambda row: order.index(row["language"])))
    if args.data:
        write(args.out / "grading-truth.csv", references(args.data))


if __name__ == "__main__":
    main()
