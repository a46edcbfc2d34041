"""What the grader's tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from flexlib.errors import FlexError
from flexlib.grading import Program, Verdict, grade
from flexlib.grading.hostile import PROMPTS, TESTS
from flexlib.grading.tools import tools_for

DATA = Path(os.environ.get("FLEX_BENCHMARK_DATA", Path(__file__).parents[2] / "shared" / "data"))

needs_data = pytest.mark.skipif(
    not DATA.is_dir(), reason=f"no benchmark data in {DATA}: set FLEX_BENCHMARK_DATA"
)


def needs(language: str) -> None:
    """Skip the test if this machine lacks the tools of ``language``."""
    try:
        tools_for(language)
    except FlexError as error:
        pytest.skip(str(error))


def judge(language: str, completion: str, tests: str | None = None, prompt: str | None = None, **k):
    """The verdict on one program; by default on the problem of the hostile programs."""
    prompt = PROMPTS[language] if prompt is None else prompt
    tests = TESTS[language] if tests is None else tests
    return judge_all([Program("it", language, prompt, completion, tests)], **k)[0]


def judge_all(programs: list[Program], **k) -> list[Verdict]:
    return list(grade(programs, **({"progress": False, "workers": 1} | k)))
