"""The known truth on this machine: references must pass, hostile programs must not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flexlib.errors import FlexError
from flexlib.grading.hostile import CASES
from flexlib.grading.pool import grade
from flexlib.grading.programs import Program, Verdict
from flexlib.grading.tools import tools_for
from flexlib.tasks.benchmarks import load_benchmark, nanobench_problems, read_rows
from flexlib.tasks.languages import LANGUAGES
from flexlib.tasks.sources import read_jsonl

MBJP_FILE = "mxeval/mbjp_release_v1.2.jsonl"

#: MBJP's references that cannot pass, and why: the reason is in the data. Each does the same under
#: javac and java -ea.
MBJP_WRONG = {
    "MBJP/106": "the reference calls System.exit(0)",
    "MBJP/180": "the reference does not compile",
    "MBJP/198": "the reference does not compile",
    "MBJP/214": "the reference does not compile",
    "MBJP/300": "the reference does not compile",
    "MBJP/325": "the reference calls System.exit(0)",
    "MBJP/397": "the reference does not compile",
    "MBJP/432": "the reference does not compile",
    "MBJP/519": "the reference does not compile",
    "MBJP/535": "the reference does not compile",
    "MBJP/553": "the reference calls System.exit(0)",
    "MBJP/579": "the reference calls System.exit(0)",
    "MBJP/622": "the reference does not compile",
    "MBJP/738": "the reference does not compile",
    "MBJP/835": "the reference calls System.exit(0)",
    "MBJP/871": "the reference calls System.exit(0)",
    "MBJP/904": "the reference does not compile",
}


@dataclass(frozen=True)
class Known:
    """Programs of which we know the truth: by id, the verdicts that are right."""

    name: str
    programs: list[Program]
    right: dict[str, tuple[str, ...]]


@dataclass(frozen=True)
class Finding:
    """What came of one set: how many verdicts were right, and those that were not."""

    name: str
    programs: int
    passed: int
    surprises: list[Verdict]


def humaneval_references(data_dir: str | Path) -> Known:
    """HumanEval's canonical solutions, which must pass."""
    rows = {row["task_id"]: row for row in read_rows("humaneval", data_dir)}
    programs = [
        Program(p.task_id, p.language, p.prompt, rows[p.task_id]["canonical_solution"], p.tests)
        for p in load_benchmark("humaneval", data_dir)
    ]
    return _all_pass("HumanEval references", programs)


def mbpp_references(data_dir: str | Path) -> Known:
    """MBPP's reference code, which must pass."""
    rows = {str(row["task_id"]): row for row in read_rows("mbpp", data_dir)}
    programs = [
        Program(p.task_id, p.language, p.prompt, rows[p.task_id]["code"], p.tests)
        for p in load_benchmark("mbpp", data_dir)
    ]
    return _all_pass("MBPP references", programs)


def mbjp_references(data_dir: str | Path) -> Known:
    """The references of MBJP (MBPP in Java): 17 of 874 are wrong themselves."""
    wanted = Path(data_dir) / MBJP_FILE
    path = wanted if wanted.is_file() else wanted.with_name(wanted.name + ".gz")
    programs = [
        Program(row["task_id"], "java", row["prompt"], row["canonical_solution"], row["test"])
        for row in read_jsonl(path)
        if row.get("canonical_solution")
    ]
    right: dict[str, tuple[str, ...]] = {p.id: ("pass",) for p in programs}
    right |= {name: ("compile_error", "runtime_error") for name in MBJP_WRONG if name in right}
    return Known("MBJP references", programs, right)


def nanobench_references(language: str, limit: int | None = None, split: str = "test") -> Known:
    """The references of a split of NanoBench in a language, which must pass: ``limit`` of them, or all."""
    from flexlib.nanobench import benchmark

    rows = {row["task_id"]: row for row in benchmark.load_split(split)}
    programs = [
        Program(p.task_id, language, p.prompt, rows[p.task_id][f"reference_{language}"], p.tests)
        for p in nanobench_problems(language, split)[:limit]
    ]
    return _all_pass(f"NanoBench references, {language}", programs)


def hostile_programs(language: str) -> Known:
    """The hostile programs of a language, with the verdicts that are right."""
    cases = [case for case in CASES if case.language == language]
    right = {case.program.id: case.allowed for case in cases}
    return Known(f"hostile programs, {language}", [case.program for case in cases], right)


def _all_pass(name: str, programs: list[Program]) -> Known:
    return Known(name, programs, {program.id: ("pass",) for program in programs})


def available_languages() -> tuple[list[str], dict[str, str]]:
    """The languages whose tools are here, and what is missing for the others."""
    here, missing = [], {}
    for language in LANGUAGES:
        try:
            tools_for(language)
            here.append(language)
        except FlexError as error:
            missing[language] = str(error)
    return here, missing


#: How many of NanoBench's 500 tasks the selfcheck takes: compiled languages are slow.
NANOBENCH_TASKS = {"python": 500, "java": 60, "javascript": 60, "cpp": 10}


def known_truth(data_dir: str | Path | None) -> Iterator[Known]:
    """Every set that can be checked here: hostile programs and some tasks of NanoBench in each
    language, and the references below ``data_dir``, if given."""
    languages, _ = available_languages()
    for language in languages:
        if any(case.language == language for case in CASES):
            yield hostile_programs(language)
        if language in NANOBENCH_TASKS:
            yield nanobench_references(language, NANOBENCH_TASKS[language])
    if data_dir is not None:
        yield humaneval_references(data_dir)
        yield mbpp_references(data_dir)
        if "java" in languages:
            yield mbjp_references(data_dir)


def check(known: Known, **options: Any) -> Finding:
    """Grade a set; ``options`` are those of ``grade``."""
    passed, surprises = 0, []
    for verdict in grade(known.programs, **options):
        passed += verdict.passed
        if verdict.verdict not in known.right[verdict.id]:
            surprises.append(verdict)
    return Finding(known.name, len(known.programs), passed, surprises)
