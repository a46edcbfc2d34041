"""A language that is judged in one process; and a new language is a row of the table."""

from __future__ import annotations

import json

import pytest
from grading_helpers import judge

from flexlib import cli
from flexlib.grading import Program
from flexlib.grading.pool import job_of
from flexlib.grading.sandbox import Sandbox
from flexlib.grading.tools import tools_for
from flexlib.runs import doctor, provenance
from flexlib.tasks.languages import JOINT, LANGUAGES, Joint, Language

SHELL = Language(
    name="sh",
    title="Shell",
    suffix=".sh",
    multipl_e="sh",
    stop=("\n}",),
    version=("perl", "-e", 'print "sh 1"'),  # dash does not tell its version
    package="dash",
    probe=("one() {\n", "    echo 1\n", '}\n[ "$(one)" = 1 ] || { echo assertion >&2; exit 1; }\n'),
    judge=Joint(
        run=("sh", "{source}"),
        say=lambda tests, word: f"{tests}echo; echo {word}\n",
        check=("sh", "-n", "{source}"),
        wrong="assertion",
    ),
    optional=True,
)
PROMPT = "add() {\n"
TESTS = '}\n[ "$(add 1 2)" = 3 ] || { echo "assertion: add 1 2" >&2; exit 1; }\n'


@pytest.fixture(autouse=True)
def shell(monkeypatch):
    monkeypatch.setitem(LANGUAGES, "sh", SHELL)


@pytest.mark.parametrize(
    ("completion", "verdict"),
    [
        ("    echo $(($1 + $2))\n", "pass"),
        ("    printf noise >&2; echo $(($1 + $2))\n", "pass"),
        ("    echo $(($1 - $2))\n", "wrong"),
        ("    if [\n", "compile_error"),
        ("    missing_command\n}\nexit 7\nf() {\n    :\n", "runtime_error"),
        ("    :\n}\nexit 0\nf() {\n    :\n", "runtime_error"),  # an exit code is no proof
        ("    :\n}\necho pass; exit 0\nf() {\n    :\n", "runtime_error"),
        ("    while :; do :; done\n", "timeout"),
        ("    yes >&2\n", "output_limit"),
        ("    cat /proc/1/environ /root/* 2>/dev/null; echo 3\n", "pass"),  # nothing is there
    ],
)
def test_verdicts(completion, verdict):
    assert judge("sh", completion, TESTS, PROMPT, timeout=2.0).verdict == verdict


def test_what_trust_in_it_means():
    """The record says it: a program that reads its own source finds the word."""
    thief = "    :\n}\ntail -n 1 \"$0\" | sed 's/.*echo //'; exit 0\nf() {\n    :\n"
    assert judge("sh", thief, TESTS, PROMPT).passed
    assert SHELL.trust == JOINT and LANGUAGES["java"].trust != JOINT


def test_a_toy_language_is_a_row(tmp_path, capsys):
    """Graded, examined and noted like the others, without a change elsewhere."""
    found = doctor.check_language("sh")
    assert found.ok and found.detail.startswith("sh 1, in the sandbox; tests and program share")
    assert found.needed_for == ()
    assert provenance.describe("cpu")["toolchains"]["sh"] == "sh 1"
    programs = tmp_path / "programs.jsonl"
    row = {"id": "a", "language": "sh", "prompt": PROMPT, "tests": TESTS}
    programs.write_text(json.dumps(row | {"completion": "    echo $(($1 + $2))\n"}) + "\n")
    assert cli.main(["grade", "--programs", str(programs), "--quiet"]) == 0
    said = capsys.readouterr().out
    assert f"Shell: {JOINT}" in said and "passed 1/1" in said


def test_the_tools_of_the_study_are_printed_for_the_shell(capsys):
    import runpy

    from flexlib import paths

    runpy.run_path(str(paths.ROOT / "flexlib/tasks/languages.py"), run_name="__main__")
    lines = capsys.readouterr().out.split("\n")
    assert lines[:4] == ["python3 python3", "javac default-jdk-headless", "node nodejs", "g++ g++"]


def test_what_keeps_a_program_from_starting_is_said():
    """And is no failure of the program."""
    tools = tools_for("sh")
    tools.config["joint"]["sh"] |= {"run": ["/usr/bin/missing"], "check": None}
    inside = Sandbox(tools)
    try:
        job = job_of(Program("a", "sh", PROMPT, "", TESTS)) | {"timeout": 5.0, "alone": False}
        answer = inside.grade(job, 60.0)
    finally:
        inside.close()
    assert answer["verdict"] == "harness_error"
    assert answer["detail"].startswith("cannot start /usr/bin/missing: [Errno 2] No such file")


def test_a_marker_of_a_wrong_answer_is_seen_before_much_output():
    long = "    echo $(($1 - $2))\n"
    tests = TESTS.replace("exit 1;", "yes | head -c 100000 >&2; exit 1;")
    assert judge("sh", long, tests, PROMPT).verdict == "wrong"
