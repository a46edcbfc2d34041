"""``flexlib run`` and ``flexlib grid``: make one run, or many."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from flexlib import config
from flexlib.cli import analyse, options

if TYPE_CHECKING:
    from flexlib.runs.machine import Machine


def add_parser(commands: options.Commands) -> None:
    """Add both commands to the command line."""
    run = commands.add_parser("run", help="train, generate, grade and store one run")
    run.add_argument("--arm", required=True, help=", ".join(config.arms()))
    run.add_argument("--seed", type=options.seed, default=1)
    options.add_configuration(run)
    options.add_machine(run)
    run.set_defaults(command=_run)

    grid = commands.add_parser("grid", help="make many runs; those in the store are skipped")
    grid.add_argument("--arm", action="append", required=True, help="repeat for several")
    grid.add_argument("--seeds", type=options.seeds, default=[1], metavar="1..5", help="or 1,3,8")
    grid.add_argument(
        "--slurm", nargs="*", metavar="KEY=VALUE",
        help="a job a run; submitit's parameters such as slurm_partition=gpu (cluster=local: here)",
    )  # fmt: skip
    grid.add_argument(
        "--compact", action="store_true",
        help="of runs made now, keep neither adapter nor completions",
    )  # fmt: skip
    options.add_known_verdicts(grid)
    options.add_configuration(grid)
    options.add_machine(grid)
    grid.set_defaults(command=_grid)


def _run(args: argparse.Namespace) -> None:
    from flexlib.runs import pipeline

    wanted, machine = options.load(args, args.arm, args.seed), options.machine(args)
    _report(wanted, pipeline.run(wanted, machine), machine)


def _grid(args: argparse.Namespace) -> None:
    wanted = [options.load(args, arm, seed) for seed in args.seeds for arm in args.arm]
    make(wanted, options.machine(args), slurm=args.slurm, compact=args.compact)


def make(
    wanted: Sequence[config.RunConfig],
    machine: Machine,
    *,
    slurm: Sequence[str] | None = None,
    compact: bool = False,
) -> None:
    """Make runs, each a line or two. With ``compact``, those that the store does not have yet are left
    without adapter and completions once they are analysed."""
    from flexlib.runs import cluster, grid, store

    wanted = list(dict.fromkeys(wanted))
    whole = {run.name for run in store.run_folders(machine.store)}
    if slurm is None:
        made = grid.grid(wanted, machine)
    else:
        where, parameters = cluster.parse(slurm)
        made = cluster.grid(wanted, machine, cluster=where, parameters=parameters)
    for i, (configuration, folder) in enumerate(made, start=1):
        analysed = _report(configuration, folder, machine, f"[{i}/{len(wanted)}] ")
        if compact and analysed and folder and folder.name not in whole:
            store.compact(folder)


def _report(
    made: config.RunConfig, folder: Path | None, machine: Machine, prefix: str = ""
) -> bool:
    """What became of a run, in a few lines; whether it is here and was analysed, by this process."""
    from flexlib.training import distributed

    if not distributed.is_main():
        return False
    analysed = False
    name = f"{prefix}{made.profile} {made.label} seed {made.seed}"
    if folder is None:
        print(f"{name}: another process is making it")
    else:
        print(f"{name}: {folder}")
        for line in _rates(folder):
            print(f"  {line}")
        analysed = analyse.after_run(folder, machine)
    sys.stdout.flush()
    return analysed


def _rates(run: Path) -> list[str]:
    """One line a benchmark: the rate and its 95 % interval; and one on the programs that could not be
    judged, if there are any."""
    from flexlib.runs import store
    from flexlib.study import metrics

    benchmarks, verdicts = store.read_config(run)["benchmarks"], store.verdicts_of(run)
    lines = []
    for row in metrics.counts(verdicts).itertuples():
        samples = benchmarks[row.benchmark]["samples"]
        lines.append(
            f"{row.benchmark}: pass@1 {100 * row.pass_at_k:.1f} % "
            f"[{100 * row.low:.1f}, {100 * row.high:.1f}] (95 %), {row.tasks} problems"
            + (f" x {samples} samples" if samples > 1 else "")
        )
    unjudged = verdicts[verdicts["verdict"] == "harness_error"]
    if len(unjudged):
        first = unjudged.iloc[0]
        lines.append(
            f"programs not judged, whose problems are left out: {len(unjudged)} (first "
            f"{first['task_id']}: {first['detail']}); `{store.command('regrade', run)}` tries again"
        )
    return lines
