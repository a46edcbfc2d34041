"""The command line: arguments in, one plain function called, lines out.

Exit status: 0 done; 1 done, and the answer is no (``doctor``, ``regrade --check``); 2 a FlexError, in
one line on stderr; 130 interrupted.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from flexlib import __version__, config
from flexlib.errors import FlexError
from flexlib.runs import store

# Commands that live with their subject: each module has ``add_parser(subparsers)``.
_ELSEWHERE = (
    "flexlib.grading.cli",
    "flexlib.nanobench.cli",
    "flexlib.study.tuning",
    "flexlib.study.calibration",
    "flexlib.study.sweep",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    args = _parser().parse_args(argv)
    try:
        return args.command(args) or 0
    except FlexError as error:
        print(f"flexlib: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("flexlib: interrupted; give the same command again and it goes on", file=sys.stderr)
        return 130


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line, as for every other mistake, instead of the whole usage."""
        self.exit(2, f"flexlib: {message}; see {self.prog} --help\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="flexlib", description="FLeX, reproduced and audited.")
    parser.add_argument("--version", action="version", version=f"flexlib {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)
    _add_run(commands)
    _add_grid(commands)
    _add_regrade(commands)
    _add_doctor(commands)
    for module in _ELSEWHERE:
        importlib.import_module(module).add_parser(commands)
    return parser


# --- run and grid -------------------------------------------------------------------------------


def _add_run(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("run", help="train, generate, grade and store one run")
    parser.add_argument("--arm", required=True, help=", ".join(config.arms()))
    parser.add_argument("--seed", type=_seed, default=1)
    _add_configuration(parser)
    _add_machine(parser)
    parser.set_defaults(command=_run)


def _add_grid(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("grid", help="make many runs; those in the store are skipped")
    parser.add_argument("--arm", action="append", required=True, help="repeat for several")
    parser.add_argument("--seeds", type=_seeds, default=[1], metavar="1..5", help="or 1,3,8")
    parser.add_argument(
        "--slurm", nargs="*", metavar="KEY=VALUE",
        help="a job a run; submitit's parameters such as slurm_partition=gpu (cluster=local: here)",
    )  # fmt: skip
    parser.add_argument(
        "--compact", action="store_true", default=None,
        help="store curve, verdicts and spectra, but neither adapter nor completions",
    )  # fmt: skip
    _add_configuration(parser)
    _add_machine(parser)
    parser.set_defaults(command=_grid)


def _add_configuration(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--profile", default="nano", help=", ".join(config.profiles()))
    parser.add_argument("--decoding", metavar="NAME", help="such as " + config.decodings()[0])
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="such as training.epochs=1"
    )
    parser.add_argument("--limit", type=int, help="first N problems of each benchmark only")


def _add_machine(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("where and how; changes no result").add_argument
    add("--store", type=Path, default=store.DEFAULT, help="folder of the runs")
    add("--work-dir", type=Path, help="folder of unfinished work")
    add("--base-model", type=Path, metavar="DIR", help="local copy of the base model")
    add("--data-dir", type=Path, metavar="DIR", help="local copy of training sets and benchmarks")
    add("--device", help="cpu or cuda (default: a GPU where there is one)")
    add("--microbatch", type=_positive, metavar="N", help="sequences a forward pass in training")
    add(
        "--gradient-checkpointing",
        action=argparse.BooleanOptionalAction,
        help="less memory, a third more time (default: where memory needs it)",
    )
    add("--compile", action="store_true", default=None, help="torch.compile; pays on a GPU")
    add("--attention", metavar="NAME", help="such as sdpa or flash_attention_2")
    add("--generation-batch", type=_positive, metavar="N", help="completions decoded together")
    add("--workers", type=_positive, metavar="N", help="programs graded at once")
    add("--unsafe-no-sandbox", action="store_true", help="run generated programs unprotected")
    add("--quiet", action="store_true", help="no progress lines")


def _machine(args: argparse.Namespace):
    from flexlib.runs.pipeline import Machine

    chosen = {
        name: getattr(args, name)
        for name in (
            "store", "work_dir", "base_model", "data_dir", "device", "microbatch",
            "gradient_checkpointing", "compile", "attention", "generation_batch", "workers",
            "unsafe_no_sandbox", "compact",
        )
        if getattr(args, name, None) is not None
    }  # fmt: skip
    return Machine(**chosen, progress=not getattr(args, "quiet", False))


def _run(args: argparse.Namespace) -> None:
    from flexlib.runs import pipeline

    wanted = _configuration(args, args.arm, args.seed)
    _report(wanted, pipeline.run(wanted, _machine(args)))


def _grid(args: argparse.Namespace) -> None:
    from flexlib.runs import pipeline

    wanted = [_configuration(args, arm, seed) for seed in args.seeds for arm in args.arm]
    wanted = list(dict.fromkeys(wanted))
    if args.slurm is None:
        made = pipeline.grid(wanted, _machine(args))
    else:
        from flexlib.runs import cluster

        where, parameters = cluster.parse(args.slurm)
        made = cluster.grid(wanted, _machine(args), cluster=where, parameters=parameters)
    for i, (config_, folder) in enumerate(made, start=1):
        _report(config_, folder, f"[{i}/{len(wanted)}] ")


def _configuration(args: argparse.Namespace, arm: str, seed: int) -> config.RunConfig:
    return config.load(
        args.profile, arm, seed, decoding=args.decoding, overrides=args.set, limit=args.limit
    )


def _report(made: config.RunConfig, folder: Path | None, prefix: str = "") -> None:
    from flexlib.runs import pipeline
    from flexlib.training import distributed

    if not distributed.is_main():
        return
    name = f"{prefix}{made.profile} {made.label} seed {made.seed}"
    if folder is None:
        print(f"{name}: another process is making it")
    else:
        print(f"{name}: {folder}\n{pipeline.summary(folder)}")
    sys.stdout.flush()


# --- regrade and doctor -------------------------------------------------------------------------


def _add_regrade(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("regrade", help="rebuild verdicts from the stored completions")
    parser.add_argument("runs", nargs="*", metavar="RUN", help="run ids (default: all)")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 on a change")
    add = parser.add_argument
    add("--store", type=Path, default=store.DEFAULT, help="folder of the runs")
    add("--data-dir", type=Path, metavar="DIR", help="local copy of the benchmarks")
    add("--workers", type=_positive, metavar="N", help="programs graded at once")
    add("--unsafe-no-sandbox", action="store_true", help="run generated programs unprotected")
    add("--quiet", action="store_true", help="no progress lines")
    parser.set_defaults(command=_regrade)


def _regrade(args: argparse.Namespace) -> int:
    from flexlib.runs import pipeline

    changed = programs = 0
    for result in pipeline.regrade(_machine(args), args.runs, write=not args.check):
        programs += result.programs
        changed += len(result.changes)
        outcome = f"{len(result.changes)} changed" if result.changes else "unchanged"
        if not result.programs:
            print(f"{result.run_id} {result.benchmark}: stored compactly, without completions")
            continue
        print(f"{result.run_id} {result.benchmark}: {result.programs} verdicts, {outcome}")
        for task_id, sample, old, new in result.changes:
            print(f"  {task_id} sample {sample}: {old} -> {new}")
        sys.stdout.flush()
    print(f"{changed} of {programs} verdicts changed" if changed else "nothing changed")
    return 1 if changed and args.check else 0


def _add_doctor(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("doctor", help="say what this machine can run")
    parser.add_argument("--store", type=Path, default=store.DEFAULT, help="folder of the runs")
    parser.set_defaults(command=_doctor)


def _doctor(args: argparse.Namespace) -> int:
    from flexlib.runs import doctor

    checks = []
    for check in doctor.examine(args.store):
        checks.append(check)
        remedy = "" if check.ok else f" -> {check.remedy}"
        print(f"{'ok' if check.ok else '--'}  {check.name:<18} {check.detail}{remedy}", flush=True)
    for profile in doctor.PROFILES:
        verdict = "can run" if doctor.can_run(profile, checks) else "cannot run here"
        print(f"profile {profile}: {verdict}")
    return 0 if doctor.can_run("nano", checks) else 1


# --- values -------------------------------------------------------------------------------------


def _seed(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no seed; take 0 or a whole number above")
    return int(text)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of 1 or more")
    return int(text)


def _seeds(text: str) -> list[int]:
    """``1..3`` and ``1,2,3`` -> [1, 2, 3]; both forms mix."""
    seeds: list[int] = []
    for part in text.split(","):
        first, dots, last = part.partition("..")
        if not first.isdecimal() or (dots and not last.isdecimal()):
            raise argparse.ArgumentTypeError(f"{text!r} is no list of seeds such as 1..5 or 1,3,8")
        seeds += range(int(first), int(last or first) + 1)
    if not seeds:
        raise argparse.ArgumentTypeError(f"{text!r} holds no seed")
    return seeds
