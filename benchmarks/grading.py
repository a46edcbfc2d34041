"""How fast the grader is, beside the peers' way on the same programs, in one run.

    python benchmarks/grading.py [--data DIR] [--rounds 3] [--out data/benchmarks/grading.csv]

Ways, all with one program at a time, interleaved round by round; the fastest round counts:

- ``flexlib``: ours, from the first program to the last, the start of the sandbox included
- ``peer``: for Python human-eval's way (a manager and a process a program, with its guard); for Java
  ``javac`` and ``java -ea``, for C++ ``g++`` and the program, for JavaScript ``node``: MultiPL-E's
- ``floor``: what no grader of that design can go below: for Python a bare fork that runs the program;
  for Java a fresh virtual machine on a compiled program; for C++ compiling with a precompiled
  header and running; for JavaScript ``node`` with nothing to do

Programs are HumanEval's references (Python, with ``--data``) and NanoBench's (the four languages that it
has). The six optional languages are measured where ``--languages`` names them, on the right program of the
hostile ones, again and again, beside MultiPL-E's way; there is no floor.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import dataclasses
import io
import json
import multiprocessing
import os
import platform
import resource
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from flexlib import paths
from flexlib.grading import Program, grade, selfcheck
from flexlib.grading.hostile import CASES
from flexlib.grading.tools import QUICK_JVM, SMALL_HEAP, tools_for

DEFAULT_OUT = paths.MEASURED / "grading.csv"
COUNTS = {"python": 164, "java": 60, "javascript": 60, "cpp": 12}
REPEATED = 10


def whole(program: Program) -> str:
    return f"{program.prompt}{program.completion}\n{program.tests}\n"


# Peers' ways, in a few lines each ----------------------------------------------------------------


def _human_eval_child(source: str, result) -> None:
    with tempfile.TemporaryDirectory() as folder:
        rmtree, rmdir, chdir = shutil.rmtree, os.rmdir, os.chdir
        os.chdir(folder)
        for name in ("kill", "system", "remove", "fork", "rename", "unlink", "rmdir", "chdir"):
            setattr(os, name, None)
        shutil.rmtree = None

        def out_of_time(*_):
            raise TimeoutError

        signal.signal(signal.SIGALRM, out_of_time)
        signal.setitimer(signal.ITIMER_REAL, 3.0)
        try:
            with (
                contextlib.redirect_stdout(io.StringIO()),
                contextlib.redirect_stderr(io.StringIO()),
            ):
                exec(source, {})
            result.append("passed")
        except BaseException as error:  # noqa: BLE001 - as human-eval does
            result.append(f"failed: {error}")
        signal.setitimer(signal.ITIMER_REAL, 0)
        shutil.rmtree, os.rmdir, os.chdir = rmtree, rmdir, chdir
        os.unlink = os.remove = os.unlink or os.remove


def human_eval(programs: list[Program]) -> int:
    """A manager and a process for every program."""
    passed = 0
    for program in programs:
        with multiprocessing.Manager() as manager:
            result = manager.list()
            child = multiprocessing.Process(target=_human_eval_child, args=(whole(program), result))
            child.start()
            child.join(timeout=4.0)
            if child.is_alive():
                child.kill()
            passed += list(result) == ["passed"]
    return passed


def _commands(programs: list[Program], file: str, *commands: list[str]) -> int:
    """Each program in a folder of its own, through the commands; passed if all leave with 0."""
    passed = 0
    for program in programs:
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, file).write_text(whole(program))
            passed += all(
                subprocess.run(command, cwd=folder, capture_output=True, check=False).returncode
                == 0
                for command in commands
            )
    return passed


def javac_and_java(programs: list[Program]) -> int:
    compile_ = ["javac", "-encoding", "UTF8", "Problem.java"]
    return _commands(programs, "Problem.java", compile_, ["java", "-ea", "-cp", ".", "Problem"])


def gpp_and_run(programs: list[Program]) -> int:
    return _commands(programs, "p.cpp", ["g++", "p.cpp", "-o", "p", "-std=c++17"], ["./p"])


def node(programs: list[Program]) -> int:
    return _commands(programs, "p.js", ["node", "p.js"])


def one_command(file: str, command: str) -> Callable[[list[Program]], int]:
    """MultiPL-E's way in a language, as a line of the shell."""
    return lambda programs: _commands(programs, file, ["sh", "-c", command])


# Floors ------------------------------------------------------------------------------------------


def bare_fork(programs: list[Program]) -> int:
    passed = 0
    for program in programs:
        pid = os.fork()
        if not pid:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            try:
                exec(whole(program), {})
                os._exit(0)
            except BaseException:  # noqa: BLE001
                os._exit(1)
        passed += os.waitpid(pid, 0)[1] == 0
    return passed


def fresh_jvm(programs: list[Program]) -> int:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "Problem.java").write_text(whole(programs[0]))
        subprocess.run(["javac", "Problem.java"], cwd=folder, check=True)
        command = ["java", *QUICK_JVM, *SMALL_HEAP, "-ea", "-cp", folder, "Problem"]
        return sum(subprocess.run(command, check=False).returncode == 0 for _ in programs)


def precompiled_header(programs: list[Program]) -> int:
    [folder] = tools_for("cpp").binds
    compile_ = ["g++", "-w", "-include", f"{folder}/flex.h", "p.cpp", "-o", "p", "-std=c++17"]
    return _commands(programs, "p.cpp", compile_, ["./p"])


def empty_node(programs: list[Program]) -> int:
    return sum(subprocess.run(["node", "-e", "0"], check=False).returncode == 0 for _ in programs)


def flexlib(programs: list[Program]) -> int:
    return sum(v.passed for v in grade(programs, workers=1, progress=False))


WAYS: dict[str, dict[str, Callable[[list[Program]], int]]] = {
    "python": {"peer": human_eval, "flexlib": flexlib, "floor": bare_fork},
    "java": {"peer": javac_and_java, "flexlib": flexlib, "floor": fresh_jvm},
    "javascript": {"peer": node, "flexlib": flexlib, "floor": empty_node},
    "cpp": {"peer": gpp_and_run, "flexlib": flexlib, "floor": precompiled_header},
    "typescript": {
        "peer": one_command("p.ts", "tsc --target esnext p.ts && node p.js"),
        "flexlib": flexlib,
    },
    "php": {"peer": one_command("p.php", "php p.php"), "flexlib": flexlib},
    "go": {"peer": one_command("p_test.go", "go test p_test.go"), "flexlib": flexlib},
    "rust": {"peer": one_command("p.rs", "rustc p.rs -o p && ./p"), "flexlib": flexlib},
    "lua": {"peer": one_command("p.lua", "lua p.lua"), "flexlib": flexlib},
    "racket": {"peer": one_command("p.rkt", "racket p.rkt"), "flexlib": flexlib},
}


def right_program(language: str, times: int) -> list[Program]:
    """The same right program, so many times."""
    [case] = [case for case in CASES if case.language == language and case.name == "plain"]
    return [dataclasses.replace(case.program, id=f"{number}") for number in range(times)]


def measure(programs: list[Program], language: str, rounds: int) -> list[dict]:
    """One row a way: seconds of its fastest round, and how many programs it passed."""
    seconds: dict[str, list[float]] = {way: [] for way in WAYS[language]}
    passed: dict[str, int] = {}
    for _ in range(rounds):
        for way, run in WAYS[language].items():
            start = time.perf_counter()
            passed[way] = run(programs)
            seconds[way].append(time.perf_counter() - start)
    peer = min(seconds["peer"])
    return [
        {
            "language": language,
            "way": way,
            "programs": len(programs),
            "passed": passed[way],
            "ms_per_program": round(1000 * min(seconds[way]) / len(programs), 2),
            "times_faster_than_peer": round(peer / min(seconds[way]), 2),
        }
        for way in WAYS[language]
    ]


def memory_with_two_workers(programs: list[Program]) -> int:
    """Highest sum, in bytes, of the proportional memory of this process's children."""
    highest = 0
    for number, _ in enumerate(grade(programs, workers=2, progress=False)):
        if number % 5 == 0:
            highest = max(highest, sum(_pss(pid) for pid in _descendants(os.getpid())))
    return highest


def _descendants(root: int) -> set[int]:
    parents = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            stat = Path(f"/proc/{name}/stat").read_text()
            parents[int(name)] = int(stat.rpartition(")")[2].split()[1])
    found = {root}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {root}


def _pss(pid: int) -> int:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


def machine() -> dict:
    def first(*command: str) -> str:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return (done.stdout + done.stderr).splitlines()[0]

    model = next(
        (
            x.split(":")[1].strip()
            for x in Path("/proc/cpuinfo").read_text().splitlines()
            if x.startswith("model name")
        ),
        platform.machine(),
    )
    return {
        "processor": model,
        "processors": os.cpu_count(),
        "load_before": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "java": first("java", "-version"),
        "node": first("node", "--version"),
        "g++": first("g++", "--version"),
        "bubblewrap": first("bwrap", "--version"),
        "kernel": platform.release(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of HumanEval's file")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--languages", default=",".join(COUNTS))
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT)
    args = parser.parse_args()
    facts = machine()
    rows = []
    for language in args.languages.split(","):
        if language == "python" and args.data:
            known, name = selfcheck.humaneval_references(args.data), "HumanEval"
            programs = known.programs
        elif language in COUNTS:
            known, name = selfcheck.nanobench_references(language, COUNTS[language]), "NanoBench"
            programs = known.programs
        else:
            programs, name = right_program(language, REPEATED), "one program"
        flexlib(programs[:1])  # fill the cache
        for row in measure(programs, language, args.rounds):
            rows.append({"references": name} | row)
            print(rows[-1], flush=True)
    java = selfcheck.nanobench_references("java", 40).programs
    facts["memory_two_workers_java_mib"] = round(memory_with_two_workers(java) / 2**20)
    facts["memory_grader_mib"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    facts["rounds"] = args.rounds
    args.out.parent.mkdir(parents=True, exist_ok=True)
    with args.out.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    args.out.with_suffix(".json").write_text(json.dumps(facts, indent=2) + "\n")


if __name__ == "__main__":
    main()
