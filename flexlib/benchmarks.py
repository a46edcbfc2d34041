"""Benchmarks as plain data: problems that a model completes and a grader judges."""

from __future__ import annotations

from dataclasses import dataclass

LANGUAGES = ("python", "java", "javascript", "cpp")


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
