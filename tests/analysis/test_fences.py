"""What the rule on fences is worth: the other cut, graded from the same answers."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from flexlib.analysis import fences
from flexlib.runs.machine import Machine
from flexlib.tasks.benchmarks import Problem

PROBLEMS = [
    Problem(f"t{i}", "python", f"def add_{i}(n):\n", f"assert add_{i}(1) == {i + 1}\n", ("\ndef",))
    for i in range(3)
]
ANSWERS = ["    return n + 0\n```\nThis adds.", "    return n + 1\n", "    return n\n```"]
RUN = Path("run")


@pytest.fixture
def run(monkeypatch):
    """A stored run under the rule: the first answer is right before its fence, the last is wrong."""
    completions = [
        {"task_id": p.task_id, "sample": 0, "completion": text, "tokens": 9, "truncated": False}
        for p, text in zip(PROBLEMS, ANSWERS, strict=True)
    ]
    settings = {"language": "python", "cut_at_fence": True}
    config = {"benchmarks": {"toy": settings, "plain": {"language": "python"}}}
    monkeypatch.setattr(fences.store, "read_config", lambda run: config)
    monkeypatch.setattr(fences.store, "read_completions", lambda run, name: completions)
    monkeypatch.setattr(fences, "problems_of", lambda run, name, machine: PROBLEMS)
    return config


def test_answers_with_a_fence_are_graded_whole(run):
    rows = fences.of_run(RUN, Machine(progress=False))
    assert [(r["benchmark"], r["task_id"], r["passed"]) for r in rows] == [
        ("toy", "t0", False),
        ("toy", "t2", False),
    ]


def test_a_run_without_the_rule_has_nothing_to_analyse(run):
    del run["benchmarks"]["toy"]
    assert fences.of_run(RUN, Machine(progress=False)) is None


def test_the_worth_is_the_difference_of_the_two_cuts():
    verdicts = pd.DataFrame(
        {
            "run_id": ["a"] * 4 + ["b"] * 4 + ["c"] * 4,
            "arm": ["lora"] * 8 + ["not analysed"] * 4,
            "seed": [1] * 4 + [2] * 4 + [1] * 4,
            "benchmark": "toy",
            "task_id": list("wxyz") * 3,
            "sample": 0,
            "passed": [True, True, False, False] * 3,
        }
    )
    uncut = pd.DataFrame(
        [("a", "toy", "w", 0, False), ("b", "toy", "y", 0, False)],
        columns=["run_id", "benchmark", "task_id", "sample", "passed"],
    )
    [row] = fences.worth(verdicts, uncut).to_dict("records")
    assert row == {
        "arm": "lora", "benchmark": "toy", "seeds": 2, "fenced": 2 / 8, "cut": 4 / 8, "uncut": 3 / 8,
    }  # fmt: skip
