"""From completions to verdicts: equal programs are judged once, and each row is its own."""

from __future__ import annotations

import pytest

from flexlib import config
from flexlib.grading import completions
from flexlib.grading.programs import Verdict
from flexlib.tasks.benchmarks import Problem

SETTINGS = config.load("nano", "base", 0).benchmarks[0]
TASKS = [Problem(f"t{i}", "python", f"def f{i}(x):\n", "def check(f): pass\n", ()) for i in (1, 2)]


def answer(task: int, text: str, sample: int = 0) -> dict:
    return {"task_id": f"t{task}", "sample": sample, "completion": text, "truncated": False}


@pytest.fixture
def asked(monkeypatch):
    """The programs that reach the sandbox, which judges by the word in them."""
    seen = []

    def grade(programs, **_):
        for program in programs:
            seen.append(program)
            yield Verdict(program.id, program.completion.split()[0], "why", 0.1)

    monkeypatch.setattr(completions.grading, "grade", grade)
    monkeypatch.setattr(completions, "_judged", {})
    return seen


def judge(rows, **options):
    made = completions.grade_completions(TASKS, rows, SETTINGS, **options)
    return [(row["task_id"], row["sample"], row["verdict"]) for row in made]


def test_equal_programs_are_judged_once_whatever_run_they_are_of(asked):
    rows = [answer(1, "pass"), answer(1, "wrong", 1), answer(1, "pass", 2), answer(2, "pass")]
    told = [("t1", 0, "pass"), ("t1", 1, "wrong"), ("t1", 2, "pass"), ("t2", 0, "pass")]
    assert judge(rows) == told and len(asked) == 3  # of another task is another program
    assert judge(rows[::-1]) == told[::-1] and len(asked) == 3
    assert judge(rows, timeout=9.0) == told and len(asked) == 6


@pytest.mark.parametrize("verdict", ["timeout", "out_of_memory", "output_limit", "harness_error"])
def test_what_the_machine_decides_too_is_judged_again(asked, verdict):
    rows = [answer(1, verdict), answer(2, "pass")]
    judge(rows)
    judge(rows)
    assert [p.completion.split()[0] for p in asked] == [verdict, "pass", verdict]


def test_verdicts_of_before_are_taken_over(asked):
    """Each with its own detail, as if it had been judged here."""
    rows = [answer(1, "pass"), answer(1, "wrong", 1), answer(2, "timeout"), answer(2, "wrong", 1)]
    rows[3]["truncated"] = True
    before = completions.grade_completions(TASKS, rows, SETTINGS)
    assert [row["detail"] for row in before] == ["why", "why", "why", "truncated; why"]
    completions._judged.clear()
    asked.clear()
    stored = [{**row, "sample": str(row["sample"])} for row in before]  # as read from a file
    completions.know(TASKS, rows, stored, SETTINGS)
    again = completions.grade_completions(TASKS, rows[::-1], SETTINGS)
    assert again == before[::-1]
    assert [p.id for p in asked] == ["t2#0"]  # what the machine decides too
    assert completions.known() == 3


def test_another_limit_or_cut_is_not_taken_over(asked):
    rows = [answer(1, "pass")]
    before = completions.grade_completions(TASKS, rows, SETTINGS)
    completions._judged.clear()
    completions.know(TASKS, rows, before, SETTINGS)
    completions.grade_completions(TASKS, rows, SETTINGS, timeout=9.0)
    completions.grade_completions(TASKS, [answer(1, "pass ")], SETTINGS)
    assert len(asked) == 3


def test_what_is_judged_here_counts_before_what_was_stored(asked):
    rows = [answer(1, "wrong")]
    before = completions.grade_completions(TASKS, rows, SETTINGS)
    completions.know(TASKS, rows, [{**before[0], "verdict": "pass"}], SETTINGS)
    assert judge(rows) == [("t1", 0, "wrong")]


def test_verdicts_in_another_order_are_an_error(asked):
    rows = [answer(1, "pass"), answer(2, "pass")]
    before = completions.grade_completions(TASKS, rows, SETTINGS)
    with pytest.raises(ValueError, match="t1#0"):
        completions.know(TASKS, rows, before[::-1], SETTINGS)
