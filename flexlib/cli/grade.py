"""``flexlib grade``: verdicts on files of programs, resumable, with the rates at the end."""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from flexlib import disk
from flexlib.cli import options
from flexlib.errors import FlexError
from flexlib.grading import files, selfcheck
from flexlib.grading.pool import grade
from flexlib.grading.programs import VERDICTS, Program, Verdict
from flexlib.grading.sandbox import digest
from flexlib.tasks.benchmarks import NAMES, load_benchmark, mbpp_expected
from flexlib.tasks.languages import LANGUAGES

UNFIT_TESTS = "the tests themselves"  # how such a verdict's detail begins
FORMATS = ("flexlib", "human-eval", "multipl-e")


def add_parser(commands: options.Commands) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "grade",
        help="judge programs: a benchmark's samples, any programs, or a MultiPL-E folder",
        description="Judge untrusted programs in a sandbox. Verdicts: " + ", ".join(VERDICTS),
    )
    parser.add_argument(
        "samples",
        nargs="?",
        type=Path,
        help="rows {task_id, completion} or {task_id, solution}, or a folder of MultiPL-E's",
    )
    parser.add_argument("--benchmark", choices=NAMES, metavar="NAME", help=", ".join(NAMES))
    parser.add_argument(
        "--programs", type=Path, help="rows {id, language, prompt, completion, tests}"
    )
    parser.add_argument("--selfcheck", action="store_true", help="the known truth, on this machine")
    parser.add_argument(
        "--data-dir", "--data", type=Path, metavar="DIR", help="local copy of the benchmarks"
    )
    parser.add_argument("--out", type=Path, help="where the verdicts go (a folder for MultiPL-E)")
    parser.add_argument("--format", choices=FORMATS, help="of --out; default by the samples")
    parser.add_argument(
        "--workers", type=options.positive(int), help="programs at a time [processors]"
    )
    parser.add_argument(
        "--timeout", type=options.positive(float), help="seconds a program [by language]"
    )
    parser.add_argument("--k", type=options.positive(int), default=1, help="of pass@k [1]")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    parser.add_argument(
        "--unsafe-no-sandbox", action="store_true", help="run the programs without isolation"
    )
    parser.set_defaults(command=_grade)


def _grade(args: argparse.Namespace) -> int:
    """Run ``flexlib grade``; 0, or 1 when the harness failed or the selfcheck found something."""
    ways = [args.samples is not None, args.programs is not None, args.selfcheck]
    if sum(ways) != 1:
        raise FlexError("give one of: SAMPLES, --programs FILE, --selfcheck")
    if args.selfcheck:
        return _selfcheck(args)
    path = args.samples or args.programs
    if not path.exists():
        raise FlexError(f"there is no {path}")
    if args.programs and path.is_dir():
        raise FlexError(f"--programs takes a file; give the folder {path} as SAMPLES")
    if path.is_dir():
        return _grade_folder(args)
    if args.programs:
        programs = files.read_programs(path)
        rows = [{"id": program.id} for program in programs]
        return _grade_rows(args, rows, programs, None)
    if args.benchmark is None:
        raise FlexError(f"name the --benchmark that {path} belongs to: {', '.join(NAMES)}")
    problems = load_benchmark(args.benchmark, args.data_dir)
    rows, programs = files.read_samples(path, problems)
    expected = {problem.task_id for problem in problems}
    if args.benchmark == "mbpp":
        expected = mbpp_expected({row["task_id"] for row in rows})
    return _grade_rows(args, rows, programs, expected)


def _options(args: argparse.Namespace) -> dict:
    return {
        "workers": args.workers,
        "timeout": args.timeout,
        "unsafe_no_sandbox": args.unsafe_no_sandbox,
        "progress": not args.quiet,
    }


# Files of rows ---------------------------------------------------------------------------------


def _grade_rows(
    args: argparse.Namespace,
    rows: list[dict],
    programs: list[Program],
    expected: set[str] | None,
) -> int:
    """Grade programs into ``--out``, row by row; what is there already is not graded again."""
    default = "human-eval" if args.format == "human-eval" else "flexlib"
    if args.format == "multipl-e":
        raise FlexError("MultiPL-E's format needs a folder of its completions as SAMPLES")
    path = args.samples or args.programs
    endings = {"human-eval": "_results.jsonl", "flexlib": ".verdicts.jsonl"}
    out = args.out or path.with_name(path.name + endings[default])
    journal = out.with_name(out.name + ".partial")
    _say_trust(programs)
    verdicts = list(_resumed(journal, programs, _options(args)))
    with _whole_file(out) as file:
        for row, verdict in zip(rows, verdicts, strict=True):
            if default == "human-eval":
                written = files.human_eval_row(row, verdict)
            else:
                kept = {name: row[name] for name in ("id", "task_id", "sample") if name in row}
                written = kept | _verdict_fields(verdict)
            file.write(json.dumps(written) + "\n")
    if all(verdict.verdict != "harness_error" for verdict in verdicts):
        journal.unlink(missing_ok=True)  # else it is for the next call, which tries those again
    print(f"{len(verdicts)} verdicts in {out}")
    ids = [str(row.get("task_id", row.get("id"))) for row in rows]
    return report(ids, verdicts, expected, args.k)


def _say_trust(programs: Iterable[Program]) -> None:
    """Where a pass proves less than usual, say so."""
    for name in sorted({program.language for program in programs}):
        language = LANGUAGES[name]
        if language.judge != "apart":
            print(f"{language.title}: {language.trust}")


def _verdict_fields(verdict: Verdict) -> dict:
    return {
        "verdict": verdict.verdict,
        "passed": verdict.passed,
        "detail": verdict.detail,
        "seconds": round(verdict.seconds, 4),
    }


@contextlib.contextmanager
def _whole_file(path: Path) -> Iterator[IO[str]]:
    """A file that appears when it is complete."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with disk.open_atomically(path, "w") as file:
            yield file
    except OSError as error:
        raise FlexError(f"cannot write {path}: {error.strerror}") from None


def _key(program: Program, timeout: float | None) -> str:
    texts = [program.id, program.language, program.prompt, program.completion, program.tests]
    texts.append(f"{timeout}")
    return digest(*(text.encode("utf-8", "surrogatepass") for text in texts))


def _resumed(journal: Path, programs: list[Program], options: dict) -> Iterator[Verdict]:
    """Verdicts on ``programs``: those that ``journal`` holds, and the others, which it then holds.

    The journal is keyed by the whole program and the time limit, so that a changed sample is graded anew;
    a last line that was cut off, and harness errors, count for nothing.
    """
    known: dict[str, dict] = {}
    if journal.exists():
        for line in journal.read_text(encoding="utf-8").splitlines():
            try:
                row = json.loads(line)
                if row["verdict"] in VERDICTS and row["verdict"] != "harness_error":
                    known[row["key"]] = row
            except (ValueError, KeyError, TypeError):
                continue
        if known:
            print(f"resuming: {len(known)} verdicts are there already")
    keys = [_key(program, options["timeout"]) for program in programs]
    todo = [program for program, key in zip(programs, keys, strict=True) if key not in known]
    fresh = grade(todo, **options)
    try:
        journal.parent.mkdir(parents=True, exist_ok=True)
        file = journal.open("a", encoding="utf-8")
    except OSError as error:
        raise FlexError(f"cannot write {journal}: {error.strerror}") from None
    with file:
        if file.tell():
            file.write("\n")  # in case the last line was cut off
        for program, key in zip(programs, keys, strict=True):
            if key in known:
                row = known[key]
                yield Verdict(program.id, row["verdict"], row["detail"], row["seconds"])
                continue
            verdict = next(fresh)
            file.write(json.dumps({"key": key} | _verdict_fields(verdict)) + "\n")
            file.flush()
            yield verdict


# MultiPL-E folders -----------------------------------------------------------------------------


def _grade_folder(args: argparse.Namespace) -> int:
    """Grade a MultiPL-E folder; a problem whose results are there already is not graded again."""
    folder, out = args.samples, args.out or args.samples
    if args.format == "human-eval":
        raise FlexError("a MultiPL-E folder cannot be written as human-eval's samples")
    todo = []
    ids, passes = [], []
    for path in files.completion_files(folder):
        problem, programs = files.read_completions(path)
        target = files.results_path(path, out)
        if target == path:
            raise FlexError(f"{folder} holds results alone: name another folder for ours by --out")
        if target.exists():
            done = list(files.read_results(target))
            if len(done) == len(programs):
                ids += [name for name, _, _ in done]
                passes += [
                    Verdict(name, "pass" if ok else "wrong", "", 0.0) for name, _, ok in done
                ]
                continue
        if programs:
            todo.append((target, problem, programs))
    if ids:
        print(f"resuming: {len(set(ids))} problems have their results already")
    _say_trust(p for _, _, programs in todo for p in programs)
    verdicts = grade((p for _, _, programs in todo for p in programs), **_options(args))
    for target, problem, programs in todo:
        graded = [next(verdicts) for _ in programs]
        if any(verdict.verdict == "harness_error" for verdict in graded):
            print(f"{target.name}: not written, the harness failed")
        else:
            files.write_results(target, problem, programs, graded)
        ids += [problem["name"]] * len(graded)
        passes += graded
    print(f"results in {out}")
    return report(ids, passes, None, args.k)


# Rates -----------------------------------------------------------------------------------------


def report(ids: list[str], verdicts: list[Verdict], expected: set[str] | None, k: int) -> int:
    """Print the counts and pass@k with its interval; refuse a rate that would not be honest."""
    from flexlib.study import metrics

    counts = Counter(verdict.verdict for verdict in verdicts)
    for name in VERDICTS:
        if counts[name]:
            print(f"  {name:<14}{counts[name]:>6}")
    print(f"passed {counts['pass']}/{len(verdicts)}")
    unfit = sum(verdict.detail.startswith(UNFIT_TESTS) for verdict in verdicts)
    if unfit:
        print(f"{unfit} of the others no program could pass: the benchmark's own tests are broken")
    if counts["harness_error"]:
        first = next(v for v in verdicts if v.verdict == "harness_error")
        print(
            f"{counts['harness_error']} programs could not be judged; first {first.id}: {first.detail}"
        )
        print("no rate: a harness error is no failure of the program")
        return 1
    by_task: dict[str, list[bool]] = defaultdict(list)
    for task_id, verdict in zip(ids, verdicts, strict=True):
        by_task[str(task_id)].append(verdict.passed)
    expected = expected or set()
    missing = expected - set(by_task)
    if missing:
        print(
            f"no rate: {len(missing)} of {len(expected)} problems have no sample (first: "
            f"{min(missing)})"
        )
        return 0
    fewest = min(map(len, by_task.values()))
    if fewest < k:
        print(f"no rate: pass@{k} needs {k} samples of every problem, one has {fewest}")
        return 0
    samples = [len(passed) for passed in by_task.values()]
    correct = [sum(passed) for passed in by_task.values()]
    rate = float(metrics.pass_at_k(samples, correct, k).mean())
    low, high = metrics.wilson_interval(rate * len(by_task), len(by_task))
    print(
        f"pass@{k} {100 * rate:.1f} % [{100 * float(low):.1f}, {100 * float(high):.1f}] "
        f"(95 %, n = {len(by_task)} problems)"
    )
    return 0


# Known truth -----------------------------------------------------------------------------------


def _selfcheck(args: argparse.Namespace) -> int:
    _, missing = selfcheck.available_languages()
    for language, reason in missing.items():
        print(f"{language}: not checked: {reason}")
    options = _options(args) | {"timeout": args.timeout or 5.0}
    if args.unsafe_no_sandbox:
        raise FlexError("the selfcheck runs hostile programs: it needs the sandbox")
    findings = []
    for known in selfcheck.known_truth(args.data_dir):
        finding = selfcheck.check(known, **options)
        findings.append(finding)
        wrong = len(finding.surprises)
        print(
            f"{'ok  ' if not wrong else 'FAIL'} {finding.name}: {finding.passed} of "
            f"{finding.programs} pass, {wrong} verdicts are not as they must be",
            flush=True,
        )
        for verdict in finding.surprises:
            print(f"       {verdict.id}: {verdict.verdict}: {verdict.detail}")
    if args.out:
        write_findings(args.out, findings)
    return 1 if any(finding.surprises for finding in findings) else 0


def write_findings(path: Path, findings: Iterable[selfcheck.Finding]) -> None:
    """Write what the selfcheck found as CSV."""
    with _whole_file(path) as file:
        rows = csv.writer(file)
        rows.writerow(["set", "programs", "passed", "surprises"])
        for finding in findings:
            rows.writerow([finding.name, finding.programs, finding.passed, len(finding.surprises)])
