"""Benchmarks as plain data: problems that a model completes and a grader judges."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from flexlib.errors import FlexError

LANGUAGES = ("python", "java", "javascript", "cpp")

#: MBPP's official splits by task id, first and last.
MBPP_SPLITS = {"prompt": (1, 10), "test": (11, 510), "validation": (511, 600), "train": (601, 974)}

# Where decoding stops: as Chen et al. (2021) and Austin et al. (2021) cut Python.
HUMANEVAL_STOP = ("\nclass", "\ndef", "\n#", "\nif", "\nprint")
MBPP_STOP = ("\nclass", "\nassert", '\n"""', "\nprint", "\nif")

MULTIPL_E = {"java": "java", "js": "javascript", "cpp": "cpp", "py": "python"}


@dataclass(frozen=True)
class Problem:
    """One problem in one language, in the shape of HumanEval and MultiPL-E.

    The program that is graded is ``prompt + completion + "\\n" + tests``.
    """

    task_id: str
    language: str
    prompt: str
    tests: str
    stop: tuple[str, ...]


@dataclass(frozen=True)
class _Source:
    """Where a benchmark lies below the data folder, and how many rows make it whole."""

    path: str
    rows: int


_FILES = {
    "humaneval": _Source("humaneval/HumanEval.jsonl", 164),
    "mbpp": _Source("mbpp/mbpp.jsonl", 974),
    "multipl-e-java": _Source("multipl-e/humaneval-java-reworded.jsonl", 158),
    "multipl-e-js": _Source("multipl-e/humaneval-js-reworded.jsonl", 161),
    "multipl-e-cpp": _Source("multipl-e/humaneval-cpp-reworded.jsonl", 161),
    "multipl-e-py": _Source("multipl-e/humaneval-py-reworded.jsonl", 161),
}

NAMES = (*_FILES, *(f"nanobench-{language}" for language in LANGUAGES))


def load_benchmark(
    name: str, data_dir: str | Path | None = None, limit: int | None = None
) -> list[Problem]:
    """The problems of a benchmark, in its own order; the first ``limit`` of them if given.

    ``nanobench-*`` ships with the study and is its 500 test tasks. The others are read from
    ``data_dir``: ``humaneval/HumanEval.jsonl``, ``mbpp/mbpp.jsonl`` (all 974 tasks; the splits are
    ``MBPP_SPLITS``) and ``multipl-e/humaneval-{java,js,cpp,py}-reworded.jsonl``, each as it is
    or with ``.gz``.

    Raises FlexError for an unknown name, and for a file that is missing, damaged or not whole.
    """
    if name not in NAMES:
        raise FlexError(f"unknown benchmark {name!r}: choose from {', '.join(NAMES)}")
    if name.startswith("nanobench-"):
        from flexlib import nanobench

        problems = nanobench.problems(name.removeprefix("nanobench-"), split="test")
    else:
        problems = [_problem(name, row) for row in read_rows(name, data_dir)]
    return list(problems)[:limit]


def read_rows(name: str, data_dir: str | Path | None) -> list[dict]:
    """The rows of a benchmark's file, as they are there. Raises as ``load_benchmark``."""
    source = _FILES[name]
    if data_dir is None:
        raise FlexError(f"{name} does not ship with the study: name its folder with --data")
    wanted = Path(data_dir) / source.path
    path = next((p for p in (wanted, wanted.with_name(wanted.name + ".gz")) if p.is_file()), None)
    if path is None:
        raise FlexError(f"{name}: there is no {wanted} (nor .gz): is --data the right folder?")
    rows = list(read_jsonl(path))
    if len(rows) != source.rows:
        raise FlexError(f"{path} has {len(rows)} rows instead of {source.rows}: fetch it again")
    return rows


def read_jsonl(path: Path) -> Iterator[dict]:
    """The objects of a file of JSON lines, compressed or not. Raises FlexError if it is not one."""
    opener = gzip.open if path.suffix == ".gz" else open
    number = 0
    try:
        with opener(path, "rt", encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    row = json.loads(line)
                    if not isinstance(row, dict):
                        raise ValueError("no JSON object")
                    yield row
    except (OSError, EOFError) as error:
        raise FlexError(f"cannot read {path}: {error}") from None
    except ValueError as error:  # also of UTF-8
        raise FlexError(f"{path}, line {number}: {error}") from None


def _problem(name: str, row: dict) -> Problem:
    try:
        if name == "humaneval":
            tests = f"{row['test']}\ncheck({row['entry_point']})\n"
            return Problem(row["task_id"], "python", row["prompt"], tests, HUMANEVAL_STOP)
        if name == "mbpp":
            return _mbpp(row)
        language = MULTIPL_E[row["language"]]
        stop = tuple(row["stop_tokens"])
        return Problem(row["name"], language, row["prompt"], row["tests"], stop)
    except (KeyError, TypeError) as error:
        raise FlexError(f"{name}: a row without {error}: the file is of another kind") from None


def _mbpp(row: dict) -> Problem:
    """MBPP as its authors prompt: the text and the visible tests in a docstring."""
    asserts = row["test_list"]
    told = "\n".join([row["text"], *asserts]).replace("\\", "\\\\").replace('"""', "'''")
    tests = "\n".join([row["test_setup_code"], *asserts, *row["challenge_test_list"], ""])
    return Problem(str(row["task_id"]), "python", f'"""\n{told}\n"""\n', tests, MBPP_STOP)


def mbpp_expected(task_ids: set[str]) -> set[str]:
    """The tasks of the official splits to which ``task_ids`` belong: all of them are expected."""
    numbers = {int(task_id) for task_id in task_ids}
    wanted: set[str] = set()
    for first, last in MBPP_SPLITS.values():
        split = range(first, last + 1)
        if any(number in split for number in numbers):
            wanted |= {str(number) for number in split}
    return wanted
