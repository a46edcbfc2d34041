"""``flexlib grade``: files in, files out, resumed, and rates that are refused when dishonest."""

import gzip
import json

import pytest
from grading_helpers import DATA, needs, needs_data

from flexlib import cli
from flexlib.cli import grade as grade_command
from flexlib.grading import Verdict, files
from flexlib.grading.hostile import PROMPTS, TESTS
from flexlib.grading.hostile.java import BAD as JBAD
from flexlib.grading.hostile.java import GOOD as JGOOD
from flexlib.tasks.benchmarks import Problem


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def run(*args):
    return cli.main(["grade", *map(str, args), "--quiet", "--workers", "1"])


@pytest.fixture
def programs(tmp_path):
    rows = [
        {"id": "right", "completion": "    return 1\n"},
        {"id": "wrong", "completion": "    return 2\n"},
        {"id": "\ud800 odd", "completion": "    raise ValueError('x')\n"},
    ]
    rest = {"language": "python", "prompt": "def f():\n", "tests": "assert f() == 1\n"}
    return write(tmp_path / "programs.jsonl", [row | rest for row in rows])


def test_programs(programs, capsys):
    out = programs.with_name("out.jsonl")
    assert run("--programs", programs, "--out", out) == 0
    rows = read(out)
    assert [row["verdict"] for row in rows] == ["pass", "wrong", "runtime_error"]
    assert [row["passed"] for row in rows] == [True, False, False]
    assert all(row["seconds"] >= 0 for row in rows)
    printed = capsys.readouterr().out
    assert "passed 1/3" in printed
    assert "pass@1 33.3 % [6.1, 79.2] (95 %, n = 3 problems)" in printed


@pytest.fixture
def counted(monkeypatch):
    """Exchange the grader for one that passes everything, and count what it is given."""
    given = []

    def fake(programs, **options):
        for program in programs:
            given.append(program.id)
            if program.completion == "break":
                raise KeyboardInterrupt
            word = "harness_error" if program.completion == "unjudged" else "pass"
            yield Verdict(program.id, word, "", 0.1)

    monkeypatch.setattr(grade_command, "grade", fake)
    return given


def samples(path, *completions, name="nanobench-python"):
    from flexlib.tasks.benchmarks import load_benchmark

    ids = [problem.task_id for problem in load_benchmark(name)]
    return write(path, [{"task_id": i, "completion": c} for c in completions for i in ids])


def test_an_interrupted_grading_resumes(programs, counted, capsys):
    rows = read(programs)
    rows[2]["completion"] = "break"
    write(programs, rows)
    out = programs.with_name("out.jsonl")
    assert run("--programs", programs, "--out", out) == 130
    assert not out.exists()
    journal = programs.with_name("out.jsonl.partial")
    journal.write_text(journal.read_text() + '{"key": "cut of')
    rows[2]["completion"] = "x"
    rows[0]["completion"] = "changed"
    write(programs, rows)
    counted.clear()
    assert run("--programs", programs, "--out", out) == 0
    assert counted == ["right", "\ud800 odd"]
    assert "resuming" in capsys.readouterr().out
    assert [row["id"] for row in read(out)] == ["right", "wrong", "\ud800 odd"]
    assert not journal.exists()


def test_a_harness_error_gives_no_rate(programs, counted, capsys):
    rows = read(programs)
    rows[1]["completion"] = "unjudged"
    write(programs, rows)
    assert run("--programs", programs) == 1
    printed = capsys.readouterr().out
    assert "could not be judged" in printed and "pass@" not in printed


def test_what_could_not_be_judged_is_tried_again_alone(programs, counted):
    rows = read(programs)
    rows[1]["completion"] = "unjudged"
    write(programs, rows)
    assert run("--programs", programs) == 1
    counted.clear()
    assert run("--programs", programs) == 1
    assert counted == [rows[1]["id"]]


def test_an_interrupted_grading_resumes_within_one_time_limit(programs, counted):
    rows = read(programs)
    rows[2]["completion"] = "break"
    write(programs, rows)
    assert run("--programs", programs, "--timeout", "1") == 130
    rows[2]["completion"] = "x"
    write(programs, rows)
    counted.clear()
    assert run("--programs", programs, "--timeout", "60") == 0
    assert counted == [row["id"] for row in rows]


def test_a_folder_of_programs_is_refused(tmp_path, capsys):
    assert run("--programs", tmp_path) != 0
    assert "--programs takes a file" in capsys.readouterr().err


def test_samples_of_a_benchmark(tmp_path, counted, capsys):
    path = samples(tmp_path / "s.jsonl", "a", "b")
    assert run(path, "--benchmark", "nanobench-python", "--k", "2") == 0
    assert "pass@2 100.0 %" in capsys.readouterr().out
    rows = read(tmp_path / "s.jsonl.verdicts.jsonl")
    assert len(rows) == 1000 and [rows[0]["sample"], rows[500]["sample"]] == [0, 1]
    assert run(path, "--benchmark", "nanobench-python", "--k", "3") == 0
    assert "no rate: pass@3 needs 3 samples" in capsys.readouterr().out


def test_missing_problems_give_no_rate(tmp_path, counted, capsys):
    path = samples(tmp_path / "s.jsonl", "a")
    write(path, read(path)[1:])
    assert run(path, "--benchmark", "nanobench-python") == 0
    assert "no rate: 1 of 500 problems have no sample" in capsys.readouterr().out


def test_human_evals_format(tmp_path, counted):
    path = samples(tmp_path / "s.jsonl", "a")
    write(path, [row | {"extra": 1} for row in read(path)])
    assert run(path, "--benchmark", "nanobench-python", "--format", "human-eval") == 0
    row = read(tmp_path / "s.jsonl_results.jsonl")[0]
    assert row.keys() == {"task_id", "completion", "extra", "result", "passed"}
    assert (row["result"], row["passed"]) == ("passed", True)


def multipl_e(folder, name, completions, ending=".json.gz"):
    folder.mkdir(exist_ok=True)
    problem = {
        "name": name,
        "language": "java",
        "temperature": 0.2,
        "prompt": PROMPTS["java"],
        "tests": TESTS["java"],
        "completions": completions,
        "stop_tokens": ["\n    }\n"],
    }
    opener = gzip.open if ending.endswith("gz") else open
    with opener(folder / (name + ending), "wt") as file:
        json.dump(problem, file)


def test_a_multipl_e_folder(tmp_path, capsys):
    needs("java")
    folder = tmp_path / "humaneval-java"
    multipl_e(folder, "one", [JGOOD, JBAD])
    multipl_e(folder, "two", [JBAD, "return x"], ending=".json")
    assert run(folder) == 0
    assert "pass@1 25.0 %" in capsys.readouterr().out
    with gzip.open(folder / "one.results.json.gz", "rt") as file:
        results = json.load(file)
    assert "completions" not in results and results["temperature"] == 0.2
    assert [r["status"] for r in results["results"]] == ["OK", "Exception"]
    assert [r["exit_code"] for r in results["results"]] == [0, 1]
    assert results["results"][0]["program"] == PROMPTS["java"] + JGOOD + "\n" + TESTS["java"]
    second = json.loads((folder / "two.results.json").read_text())
    assert [r["status"] for r in second["results"]] == ["Exception", "SyntaxError"]
    assert run(folder) == 0
    printed = capsys.readouterr().out
    assert "resuming: 2 problems" in printed and "pass@1 25.0 %" in printed
    assert list(files.read_results(folder / "two.results.json"))[1] == ("two", 1, False)


def test_whole_programs_as_evalplus_has_them(tmp_path, monkeypatch):
    """Prompt and all: cut at the prompt where it is there, and taken whole in Python."""
    needs("java")
    problem = Problem("J/1", "java", PROMPTS["java"], TESTS["java"], ())
    python = Problem("P/1", "python", "def f(x):\n", "assert f(1) == 2", ())
    rows = [
        {"task_id": "J/1", "solution": PROMPTS["java"] + JGOOD},
        {"task_id": "J/1", "solution": PROMPTS["java"] + JBAD},
        {"task_id": "P/1", "solution": "def f(x):\n    return x + 1\n"},
        {"task_id": "P/1", "solution": "import math\n\n\ndef f(x):\n    return x + 1\n"},
        {"task_id": "P/1", "solution": "import math\n\n\ndef f(x):\n    return x\n"},
    ]
    path = write(tmp_path / "s.jsonl", rows)
    monkeypatch.setattr(grade_command, "load_benchmark", lambda *_: [problem, python])
    assert run(path, "--benchmark", "humaneval") == 0
    verdicts = [row["verdict"] for row in read(tmp_path / "s.jsonl.verdicts.jsonl")]
    assert verdicts == ["pass", "wrong", "pass", "pass", "wrong"]


def test_whole_programs_as_multipl_e_has_them(tmp_path, capsys):
    """A folder of results, as its evaluator leaves it: the programs are judged again."""
    needs("java")
    folder = tmp_path / "humaneval-java"
    multipl_e(folder, "one", [JGOOD, JBAD])
    assert run(folder, "--out", tmp_path / "results") == 0
    capsys.readouterr()
    with gzip.open(tmp_path / "results" / "one.results.json.gz", "rt") as file:
        first = json.load(file)
    assert run(tmp_path / "results") == 2
    assert "holds results alone: name another folder" in capsys.readouterr().err
    assert run(tmp_path / "results", "--out", tmp_path / "again") == 0
    with gzip.open(tmp_path / "again" / "one.results.json.gz", "rt") as file:
        again = json.load(file)
    untimed = lambda results: [r | {"timestamp": 0} for r in results]
    assert untimed(again.pop("results")) == untimed(first.pop("results"))
    assert again == first and "completions" not in again

    first["results"] = [{"program": "x" + PROMPTS["java"] + JGOOD + "\n" + TESTS["java"]}]
    (tmp_path / "results" / "one.results.json.gz").unlink()
    (tmp_path / "results" / "one.results.json").write_text(json.dumps(first))
    assert run(tmp_path / "results", "--out", tmp_path / "third") == 2
    assert "program 0 is not prompt, text and tests" in capsys.readouterr().err


WHOLE = {
    "id": 1,
    "language": "java",
    "prompt": "",
    "completion": PROMPTS["java"] + JGOOD,
    "tests": TESTS["java"],
}


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "give one of"),
        (["nowhere.jsonl"], "there is no nowhere.jsonl"),
        (["{samples}"], "name the --benchmark"),
        (["{samples}", "--benchmark", "nanobench-java"], "no problem of this benchmark"),
        (["{samples}", "--benchmark", "humaneval"], "by --data-dir"),
        (["{samples}", "--benchmark", "humaneval", "--data", "{folder}"], "the right folder"),
        (["{garbage}", "--benchmark", "nanobench-java"], "garbage.jsonl, line 1"),
        (["--programs", "{samples}"], "row 1: language"),
        (["--programs", "{whole}"], "row 1: Java needs the prompt apart"),
        (
            ["{solution}", "--benchmark", "nanobench-java"],
            "row 1: its solution does not begin with",
        ),
        (["{folder}"], "no MultiPL-E completions"),
        (["{samples}", "--timeout", "-1"], "not above 0"),
    ],
)
def test_mistakes_get_one_line(tmp_path, capsys, args, message):
    (tmp_path / "empty").mkdir()
    names = {
        "samples": write(tmp_path / "s.jsonl", [{"task_id": "x", "completion": ""}]),
        "garbage": tmp_path / "garbage.jsonl",
        "whole": write(tmp_path / "w.jsonl", [WHOLE]),
        "solution": write(
            tmp_path / "o.jsonl", [{"task_id": "NanoBench/test/1", "solution": "class Problem { }"}]
        ),
        "folder": tmp_path / "empty",
    }
    names["garbage"].write_text("{not json\n")
    try:
        status = run(*[arg.format(**names) for arg in args])
    except SystemExit as left:
        status = left.code
    assert status == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1 and error.startswith("flexlib: ")


@needs_data
def test_mbpp_ids_come_in_three_shapes_and_expect_their_split(tmp_path, counted, capsys):
    ids = [11, "12", "MBPP/13", *range(14, 511)]
    path = write(tmp_path / "s.jsonl", [{"task_id": i, "completion": ""} for i in ids])
    assert run(path, "--benchmark", "mbpp", "--data", DATA) == 0
    assert "n = 500 problems" in capsys.readouterr().out
