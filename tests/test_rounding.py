"""benchmarks/rounding.py counts the texts and verdicts that a choice changes, and no other."""

from __future__ import annotations

import csv
import runpy
import sys
from pathlib import Path

import pytest
import tiny

from flexlib.config import BenchmarkSettings
from flexlib.runs.machine import Machine
from flexlib.tasks.benchmarks import nanobench_problems as problems

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "rounding.py"


@pytest.fixture
def script(monkeypatch):
    monkeypatch.setattr(sys, "argv", [str(SCRIPT)])
    return runpy.run_path(str(SCRIPT))


def test_what_is_counted(script, monkeypatch, tmp_path):
    """Of five texts, two change under one choice: one from wrong to right, one from wrong to wrong."""
    of = problems("python")[:5]
    texts = {"sdpa": ["right", "bad", "bad", "right", "bad"], "eager": ["right", "bad", "worse"]}
    texts["eager"] += ["right", "right"]
    graded = []

    def decode(subject, settings, problems, choice, device):
        return [
            {"task_id": p.task_id, "completion": t}
            for p, t in zip(problems, texts[choice.attention], strict=True)
        ]

    def grade(problems, completions, settings, **options):
        graded.append(len(completions))
        return [{"verdict": "pass" if c["completion"] == "right" else "wrong"} for c in completions]

    rows = script["rows"]
    monkeypatch.setitem(rows.__globals__, "decode", decode)
    monkeypatch.setitem(rows.__globals__, "grade_completions", grade)
    subject = script["Subject"]("it", tmp_path, None, [])
    settings = BenchmarkSettings("nanobench-python", "python")
    again, eager = rows(subject, settings, of, ["again", "eager attention"], Machine())
    assert graded == [5, 0, 2]
    same = {"programs": 5, "passed_reference": 2}
    assert again == same | {
        "change": "again", "changed_texts": 0, "changed_verdicts": 0, "passed_changed": 2
    }  # fmt: skip
    assert eager == same | {
        "change": "eager attention", "changed_texts": 2, "changed_verdicts": 1, "passed_changed": 3
    }  # fmt: skip


def test_a_model_as_it_is_from_files_to_a_table_that_is_resumed(monkeypatch, tmp_path):
    base, out = tiny.make_base(tmp_path / "tiny-base"), tmp_path / "rounding.csv"
    command = ["--out", out, "--base-model", base, "--benchmark", "nanobench-python", "--limit", 3]
    command += ["--max-new-tokens", 8, "--precision", "fp32", "--change", "again"]
    for more in ([], ["--change", "batch 16"], ["--change", "batch 16"]):
        monkeypatch.setattr(sys, "argv", [str(SCRIPT), *map(str, command), *more])
        runpy.run_path(str(SCRIPT), run_name="__main__")
    rows = list(csv.DictReader(out.open(newline="")))
    assert [row["change"] for row in rows] == ["again", "batch 16"]
    assert {(row["model"], row["programs"]) for row in rows} == {("tiny-base", "3")}
    assert rows[0]["changed_texts"] == rows[0]["changed_verdicts"] == "0"
