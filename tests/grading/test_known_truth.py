"""References pass; those that do not are known, and the reason is in the data."""

import ast
import random

import pytest
from grading_helpers import DATA, judge_all, needs, needs_data

from flexlib.grading import Program, selfcheck
from flexlib.nanobench.syntax import LANGUAGES
from flexlib.tasks.benchmarks import NAMES, load_benchmark


def surprises(known, sample=None):
    if sample:
        programs = random.Random(0).sample(known.programs, sample)
        known = selfcheck.Known(known.name, programs, known.right)
    return selfcheck.check(known, workers=2, progress=False).surprises


@needs_data
def test_humaneval():
    known = selfcheck.humaneval_references(DATA)
    assert len(known.programs) == 164 and surprises(known) == []


@needs_data
def test_mbpp():
    known = selfcheck.mbpp_references(DATA)
    assert len(known.programs) == 974 and surprises(known) == []


@needs_data
def test_a_sample_of_mbjp():
    needs("java")
    known = selfcheck.mbjp_references(DATA)
    assert len(known.programs) == 874 and surprises(known, 40) == []


@needs_data
def test_mbjp_references_that_cannot_pass():
    needs("java")
    known = selfcheck.mbjp_references(DATA)
    programs = [p for p in known.programs if p.id in selfcheck.MBJP_WRONG]
    assert len(programs) == 17
    assert surprises(selfcheck.Known("", programs, known.right)) == []


@pytest.mark.parametrize("split", ["test", "hard"])
@pytest.mark.parametrize("language", LANGUAGES)
def test_nanobench(language, split):
    needs(language)
    sample = {"python": None, "cpp": 5}.get(language, 25)
    assert surprises(selfcheck.nanobench_references(language, split=split), sample) == []


# A string with a raw line break, a type that does not exist, and 33 of MBPP-Java's 271 with a type such
# as Pair<Long>, an array as a list's elements or a number that is too large: no program can pass these.
# By the number in the name.
# fmt: off
BROKEN_TESTS = {
    "multipl-e-js": [51],
    "multipl-e-cpp": [137],
    "multipl-e-mbpp-java": [
        67, 75, 97, 106, 115, 116, 222, 230, 261, 265, 272, 273, 284, 398, 399, 407, 413,
        418, 421, 424, 425, 429, 440, 446, 457, 465, 470, 563, 568, 579, 580, 587, 595,
    ],
}
# fmt: on


@needs_data
@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("multipl-e-")])
def test_multipl_e_tests_can_be_judged(name):
    """An empty answer fails, for the answer's own reason and not for the harness's."""
    problems = load_benchmark(name, DATA)
    needs(problems[0].language)
    endings = {"python": "    return None\n", "java": "        throw null;\n"}
    empty = {"javascript": "}\n", "cpp": "    abort();\n"} | endings
    empty |= {"typescript": "  throw new Error();\n}\n", "php": "}\n", "go": "\tpanic(0)\n}\n"}
    empty |= {"rust": "    panic!()\n", "lua": "end\n", "racket": '  (error "x"))\n'}
    slow = problems[0].language in ("cpp", "go", "rust", "racket")
    sample = random.Random(0).sample(problems, 6 if slow else 25)
    programs = [
        Program(p.task_id, p.language, p.prompt, empty[p.language], p.tests) for p in sample
    ]
    for verdict in judge_all(programs, workers=2):
        if int(verdict.id.split("_")[1]) in BROKEN_TESTS.get(name, ()):
            assert verdict.verdict == "compile_error"
            assert verdict.detail.startswith("the tests themselves")
        else:
            assert verdict.verdict in ("wrong", "runtime_error"), verdict


@needs_data
def test_mbpp_prompts_are_python_and_hold_the_visible_tests():
    for problem in load_benchmark("mbpp", DATA):
        tree = ast.parse(problem.prompt)
        assert "assert" in ast.literal_eval(tree.body[0].value)
