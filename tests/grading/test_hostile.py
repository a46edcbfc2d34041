"""Every hostile program gets a verdict that is right for it, and every odd right one passes."""

import pytest
from grading_helpers import judge_all, needs

from flexlib.grading.hostile import CASES
from flexlib.tasks.languages import LANGUAGES


@pytest.mark.slow
@pytest.mark.parametrize("language", LANGUAGES)
def test_verdicts(language, monkeypatch):
    """One grading for all of a language's programs, two at a time as in real use."""
    needs(language)
    monkeypatch.setenv("FLEXLIB_TEST_SECRET", "a secret of the operator")
    cases = [case for case in CASES if case.language == language]
    verdicts = judge_all([case.program for case in cases], workers=2, timeout=2)
    wrong = [v for case, v in zip(cases, verdicts, strict=True) if v.verdict not in case.allowed]
    assert wrong == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_suite_has_programs_that_pass_and_more_that_must_not(language):
    must_pass = [c for c in CASES if c.language == language and c.allowed == ("pass",)]
    must_fail = [c for c in CASES if c.language == language and "pass" not in c.allowed]
    assert must_pass and len(must_fail) > 2 * len(must_pass)


def test_no_program_may_both_pass_and_fail():
    assert all(case.allowed == ("pass",) or "pass" not in case.allowed for case in CASES)


def test_names_are_unique():
    names = [case.program.id for case in CASES]
    assert len(set(names)) == len(names)
