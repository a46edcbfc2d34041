"""Benchmarks as plain data: problems that a model completes and a grader judges."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from flexlib.errors import FlexError
from flexlib.nanobench.benchmark import load_split
from flexlib.nanobench.syntax import LANGUAGES as NANOBENCH_LANGUAGES
from flexlib.tasks import sources
from flexlib.tasks.languages import LANGUAGES, from_multipl_e
from flexlib.tasks.sources import Source

#: MBPP's official splits by task id, first and last.
MBPP_SPLITS = {"prompt": (1, 10), "test": (11, 510), "validation": (511, 600), "train": (601, 974)}

# Where decoding stops: as Chen et al. (2021) and Austin et al. (2021) cut Python.
HUMANEVAL_STOP = ("\nclass", "\ndef", "\n#", "\nif", "\nprint")
MBPP_STOP = ("\nclass", "\nassert", '\n"""', "\nprint", "\nif")


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


def _multipl_e(table: str, rows: int, sha256: str) -> Source:
    """A table of MultiPL-E (Cassano et al. 2022): the prompts of July 2024.

    Whether the commit still has these prompts is not known: the hub was out of reach when the
    sha256 was taken, from the files of MultiPL-E's own repository. It is checked when they come.
    """
    return Source(
        path=f"multipl-e/{table}-reworded.jsonl",
        rows=rows,
        columns=("name", "language", "prompt", "tests", "stop_tokens"),
        repository="nuprl/MultiPL-E",
        configuration=table,
        splits=("test",),
        revision="28441b6024e71d4a1c1c0f6bf171c935cd5a43f2",
        sha256=sha256,
    )


_FILES = {
    "humaneval": Source(
        path="humaneval/HumanEval.jsonl",
        rows=164,
        columns=("task_id", "prompt", "entry_point", "test"),
        repository="openai/openai_humaneval",
        configuration="openai_humaneval",
        splits=("test",),
        revision="7dce6050a7d6d172f3cc5c32aa97f52fa1a2e544",
        sha256="e93a5d054fd5aafa4899ce63db78fa2d9aaef659c61ab433db2af657d4ccc2f9",
    ),
    "mbpp": Source(
        path="mbpp/mbpp.jsonl",
        rows=974,
        columns=(
            "task_id",
            "text",
            "code",
            "test_list",
            "test_setup_code",
            "challenge_test_list",
        ),
        repository="google-research-datasets/mbpp",
        configuration="full",
        splits=("prompt", "test", "validation", "train"),
        revision="4bb6404fdc6cacfda99d4ac4205087b89d32030c",
        sha256="4376565a094ff9e208c3cadd445ba779fae415b68dcbda592a44d74179b468d0",
    ),
    "multipl-e-java": _multipl_e(
        "humaneval-java", 158, "84d8229572a212a234aca41eab9891b058da92c8762330bef9ca9bdc3402a3af"
    ),
    "multipl-e-js": _multipl_e(
        "humaneval-js", 161, "ae800dd309a4f85e2374fcb97fccad3662ec32865bd1e2e4e7274bd3629124c6"
    ),
    "multipl-e-cpp": _multipl_e(
        "humaneval-cpp", 161, "46526df097364dad30dd062469f2357e7ee5ae71a54fe627b4f9217cbdfbaf8f"
    ),
    "multipl-e-py": _multipl_e(
        "humaneval-py", 161, "79fc2361a800ef3dd16f4b915224631fd910b149391128947bf3a3277c0c4aed"
    ),
    "multipl-e-ts": _multipl_e(
        "humaneval-ts", 159, "86958b48592daa480a67faead5cb3399b3b29e3da2bfc7170ccdc4edbe28e76e"
    ),
    "multipl-e-php": _multipl_e(
        "humaneval-php", 161, "30de685aea92ebc1601f439ed11126f213a0e8c43d6dba43513714637be9a489"
    ),
    "multipl-e-go": _multipl_e(
        "humaneval-go", 154, "804694bbe5432fbb150bd4f6cee8ca46ef3abccd30e5802b69f33475c66e74a3"
    ),
    "multipl-e-rs": _multipl_e(
        "humaneval-rs", 156, "552de05e638f77e977c2d8ae1f91ae4a66d10deacd44b88051f77b928b3c56eb"
    ),
    "multipl-e-lua": _multipl_e(
        "humaneval-lua", 161, "3dae0e190c89fe959a54caba0926afc104b40239a6d914004dda5dddedd6dc7a"
    ),
    "multipl-e-rkt": _multipl_e(
        "humaneval-rkt", 161, "f584831b09b6ef668e8e43fbef8ecd2b4f8df81b2cf92b6128064c18be112f48"
    ),
    "multipl-e-mbpp-java": _multipl_e(
        "mbpp-java", 387, "7819fe0cae3b38415afe6f18ecf1a66effd0e716c6c1cd48e8f866d40556efd2"
    ),
}

_FILES["mbpp-test"] = _FILES["mbpp"]  # of which it is the test split

# The split and the language of each of NanoBench's.
_NANOBENCH = {
    f"{prefix}-{language}": (split, language)
    for prefix, split in {"nanobench": "test", "nanobench-hard": "hard"}.items()
    for language in NANOBENCH_LANGUAGES
}

NAMES = (*_FILES, *_NANOBENCH)
#: Those that ask for the same tasks in Python and in Java, by the name that claims have for the pair.
TWINS = {
    "nanobench-twins": ("nanobench-python", "nanobench-java"),
    "humaneval-twins": ("humaneval", "multipl-e-java"),
}
#: The same tasks in every language there is, by the names of `TWINS`; Python is first.
SIBLINGS = {
    "nanobench-twins": tuple(f"nanobench-{language}" for language in NANOBENCH_LANGUAGES),
    "humaneval-twins": (
        "humaneval",
        *(name for name in _FILES if re.fullmatch(r"multipl-e-(?!py$)[a-z]+", name)),
    ),
}


def load_benchmark(
    name: str, data_dir: str | Path | None = None, limit: int | None = None
) -> list[Problem]:
    """The problems of a benchmark, in its own order; the first ``limit`` of them if given.

    ``nanobench-*`` ships with the study and is its 500 test tasks, ``nanobench-hard-*`` the 200 that have
    more operations than any it trains on. The others come from the hub or,
    with ``data_dir``, from ``humaneval/HumanEval.jsonl``, ``mbpp/mbpp.jsonl`` (all 974 tasks; the
    splits are ``MBPP_SPLITS``), ``multipl-e/humaneval-LANGUAGE-reworded.jsonl`` (by MultiPL-E's names) and
    ``multipl-e/mbpp-java-reworded.jsonl`` in it, each as it is or with ``.gz``. The last is without
    the 116 of its 387 tasks that are in MBPP's train split, which models are trained on; of the 271
    left, 33 have tests or a signature that Java's compiler refuses, so that no program passes them.
    ``mbpp-test`` is the 500 tasks of MBPP's own test split.

    Raises FlexError for an unknown name, for a table that is missing, damaged, not whole or not of the
    pinned content, and where the hub is out of reach.
    """
    if name not in NAMES:
        raise FlexError(f"unknown benchmark {name!r}: choose from {', '.join(NAMES)}")
    if name in _NANOBENCH:
        split, language = _NANOBENCH[name]
        problems = nanobench_problems(language, split)
    else:
        rows = read_rows(name, data_dir)
        if name == "multipl-e-mbpp-java":
            rows = [row for row in rows if not _is_trained_on(row)]
        if name == "mbpp-test":
            rows = mbpp_split(rows, "test")
        problems = [_problem(name, row) for row in rows]
    return list(problems)[:limit]


def nanobench_problems(language: str, split: str = "test") -> list[Problem]:
    """The problems of a split of NanoBench in one language.

    Raises FlexError for an unknown language or split, and where the file is missing or broken.
    """
    if language not in NANOBENCH_LANGUAGES:
        known = ", ".join(NANOBENCH_LANGUAGES)
        raise FlexError(f"NanoBench is not in {language!r}; choose from {known}")
    return [
        Problem(
            record["task_id"],
            language,
            record[f"prompt_{language}"],
            record[f"tests_{language}"],
            LANGUAGES[language].stop,
        )
        for record in load_split(split)
    ]


def read_rows(name: str, data_dir: str | Path | None) -> list[dict]:
    """The rows of a benchmark, as they are there. Raises as ``load_benchmark``."""
    return sources.read(_FILES[name], data_dir)


def source(name: str) -> Source | None:
    """Where a benchmark comes from; None for NanoBench, which ships with the study."""
    return _FILES.get(name)


def _problem(name: str, row: dict) -> Problem:
    try:
        if name == "humaneval":
            tests = f"{row['test']}\ncheck({row['entry_point']})\n"
            return Problem(row["task_id"], "python", row["prompt"], tests, HUMANEVAL_STOP)
        if name in ("mbpp", "mbpp-test"):
            return _mbpp(row)
        language = from_multipl_e(row["language"])
        stop = tuple(row["stop_tokens"])
        return Problem(row["name"], language, row["prompt"], row["tests"], stop)
    except (KeyError, TypeError) as error:
        raise FlexError(f"{name}: a row without {error}: the file is of another kind") from None


def mbpp_split(rows: list[dict], split: str) -> list[dict]:
    """The rows of one of MBPP's official splits, by task id.

    Raises FlexError where some are missing.
    """
    first, last = MBPP_SPLITS[split]
    chosen = sorted((r for r in rows if first <= r["task_id"] <= last), key=lambda r: r["task_id"])
    if len(chosen) != last - first + 1:
        raise FlexError(
            f"MBPP's {split} split has {last - first + 1} problems, found {len(chosen)}; "
            "download it again"
        )
    return chosen


def _is_trained_on(row: dict) -> bool:
    """Whether MultiPL-E's version of an MBPP task, such as ``mbpp_601_max_chain_length``, is in MBPP's
    train split."""
    first, last = MBPP_SPLITS["train"]
    try:
        return first <= int(row["name"].split("_")[1]) <= last
    except (AttributeError, IndexError, ValueError):
        raise FlexError(
            f"{row['name']!r} is no task of MBPP by its name: the file is of another kind"
        ) from None


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
