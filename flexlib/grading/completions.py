"""From the completions of a benchmark to the rows of its verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from flexlib import grading
from flexlib.errors import FlexError
from flexlib.grading.programs import Program, is_tolerable
from flexlib.tasks import answers
from flexlib.tasks.benchmarks import Problem

if TYPE_CHECKING:
    from flexlib.config import BenchmarkSettings


def grade_completions(
    problems: Sequence[Problem],
    completions: Sequence[dict[str, Any]],
    settings: BenchmarkSettings,
    **options: Any,
) -> list[dict[str, Any]]:
    """Compile and run what the settings say of every completion; rows in the order of ``completions``.

    A program or two that cannot be judged are rows like the others, with the verdict
    ``harness_error``.

    Args:
        options: those of :func:`flexlib.grading.grade`.

    Raises:
        FlexError: a toolchain or the sandbox is missing, or too many programs could not be judged.
    """
    by_id = {p.task_id: p for p in problems}
    programs = [
        Program(
            id=f"{c['task_id']}#{c['sample']}",
            language=by_id[c["task_id"]].language,
            prompt=by_id[c["task_id"]].prompt,
            completion=answers.graded(by_id[c["task_id"]], c["completion"], settings),
            tests=by_id[c["task_id"]].tests,
        )
        for c in completions
    ]
    rows = []
    judged = grading.grade(programs, **options)
    for completion, program, verdict in zip(completions, programs, judged, strict=True):
        detail = " ".join(verdict.detail.split())
        whole = program.completion.startswith(completion["completion"])  # nothing was cut off
        if completion["truncated"] and whole and not verdict.passed:
            detail = f"truncated; {detail}" if detail else "truncated"
        rows.append(
            {
                "task_id": completion["task_id"],
                "sample": completion["sample"],
                "verdict": verdict.verdict,
                "passed": verdict.passed,
                "detail": detail,
            }
        )
    unjudged = [row for row in rows if row["verdict"] == "harness_error"]
    if unjudged and not is_tolerable(len(unjudged), len(rows)):
        first = "{task_id}#{sample}: {detail}".format(**unjudged[0])
        raise FlexError(
            f"the grader could not judge {len(unjudged)} of {len(rows)} programs (first {first}); "
            "see `flexlib doctor`, and give the same command again: it goes on from here"
        )
    return rows
