"""Every hostile program gets a verdict that is right for it, and every odd right one passes."""

import pytest
from grading_helpers import judge_all, needs

from flexlib.benchmarks import LANGUAGES
from flexlib.grading.hostile import CASES


@pytest.fixture(scope="module")
def verdicts(request):
    """One grading for all of a language's programs, two at a time as in real use."""
    graded: dict[str, dict[str, object]] = {}

    def of(language: str) -> dict:
        if language not in graded:
            needs(language)
            programs = [case.program for case in CASES if case.language == language]
            judged = judge_all(programs, workers=2, timeout=3)
            graded[language] = {verdict.id: verdict for verdict in judged}
        return graded[language]

    return of


@pytest.fixture(autouse=True, scope="module")
def secret():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLEXLIB_TEST_SECRET", "a secret of the operator")
        yield


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.language}: {case.name}")
def test_verdict(case, verdicts):
    verdict = verdicts(case.language)[case.program.id]
    assert verdict.verdict in case.allowed, verdict


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_suite_has_programs_that_pass_and_more_that_must_not(language):
    must_pass = [c for c in CASES if c.language == language and c.allowed == ("pass",)]
    must_fail = [c for c in CASES if c.language == language and "pass" not in c.allowed]
    assert must_pass and len(must_fail) > 2 * len(must_pass)
