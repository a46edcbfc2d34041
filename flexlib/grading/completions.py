"""From the completions of a benchmark to the rows of its verdicts.

Equal programs are judged once a process: the samples of a task, and the arms and seeds of a grid, give many
alike.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from flexlib import grading
from flexlib.errors import FlexError
from flexlib.grading.programs import Program, Verdict, is_tolerable
from flexlib.tasks import answers
from flexlib.tasks.benchmarks import Problem

if TYPE_CHECKING:
    from flexlib.config import BenchmarkSettings

#: Verdicts that are the program's own. The others depend on the machine too, or say nothing of it.
_SETTLED = ("pass", "wrong", "compile_error", "runtime_error")
_judged: dict[str, Verdict] = {}  # by `_key`
_CUT_SHORT = "truncated"


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
    rows, programs = [], _programs(problems, completions, settings)
    verdicts = _judge(programs, options)
    for completion, program, verdict in zip(completions, programs, verdicts, strict=True):
        detail = " ".join(verdict.detail.split())
        if _is_cut_short(completion, program) and not verdict.passed:
            detail = f"{_CUT_SHORT}; {detail}" if detail else _CUT_SHORT
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


def know(
    problems: Sequence[Problem],
    completions: Sequence[dict[str, Any]],
    rows: Sequence[Mapping[str, Any]],
    settings: BenchmarkSettings,
    **options: Any,
) -> None:
    """Take over what the grader said of completions before: equal programs are not judged again in this
    process.

    Args:
        rows: from :func:`grade_completions` with the same arguments, or read from where they were written.
    """
    for program, completion, row in zip(
        _programs(problems, completions, settings), completions, rows, strict=True
    ):
        if (completion["task_id"], completion["sample"]) != (row["task_id"], int(row["sample"])):
            raise ValueError(f"{program.id} has the verdict of another program")
        detail = row["detail"]
        if _is_cut_short(completion, program) and row["verdict"] != "pass":
            detail = detail.removeprefix(_CUT_SHORT).removeprefix("; ")
        if row["verdict"] in _SETTLED:
            verdict = Verdict(program.id, row["verdict"], detail, 0.0)
            _judged.setdefault(_key(program, options), verdict)


def known() -> int:
    """How many programs have a verdict in this process."""
    return len(_judged)


def forget() -> None:
    """Judge every program anew from here on."""
    _judged.clear()


def _programs(
    problems: Sequence[Problem],
    completions: Sequence[dict[str, Any]],
    settings: BenchmarkSettings,
) -> list[Program]:
    by_id = {p.task_id: p for p in problems}
    return [
        Program(
            id=f"{c['task_id']}#{c['sample']}",
            language=by_id[c["task_id"]].language,
            prompt=by_id[c["task_id"]].prompt,
            completion=answers.graded(by_id[c["task_id"]], c["completion"], settings),
            tests=by_id[c["task_id"]].tests,
        )
        for c in completions
    ]


def _is_cut_short(completion: Mapping[str, Any], program: Program) -> bool:
    """Whether decoding ended the completion, and nothing was cut off it."""
    return completion["truncated"] and program.completion.startswith(completion["completion"])


def _judge(programs: Sequence[Program], options: dict[str, Any]) -> list[Verdict]:
    """The verdict on each program, of equal ones that on the first."""
    keys = [_key(program, options) for program in programs]
    known = {key: _judged[key] for key in keys if key in _judged}
    new = {key: program for key, program in zip(keys, programs, strict=True) if key not in known}
    for key, verdict in zip(new, grading.grade(new.values(), **options), strict=True):
        known[key] = verdict
        if verdict.verdict in _SETTLED:
            _judged[key] = verdict
    return [dataclasses.replace(known[k], id=p.id) for k, p in zip(keys, programs, strict=True)]


def _key(program: Program, options: dict[str, Any]) -> str:
    asked = dataclasses.replace(program, id="")
    how = [options.get(name) for name in ("timeout", "unsafe_no_sandbox")]
    text = repr((asked, how))
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()
