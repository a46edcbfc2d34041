"""``flexlib analyse``: compute something from stored runs, and keep it with them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from flexlib.analysis import ANALYSES, analyse
from flexlib.cli import options

if TYPE_CHECKING:
    from flexlib.runs.machine import Machine


def add_parser(commands: options.Commands) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser("analyse", help="compute something from stored runs")
    parser.add_argument("name", choices=ANALYSES, metavar="NAME", help=", ".join(ANALYSES))
    parser.add_argument("runs", nargs="*", metavar="RUN", help="run ids (default: all)")
    parser.add_argument("--again", action="store_true", help="also where it is there already")
    options.add_base(parser)
    options.add_device(parser)
    options.add_grading(parser)
    parser.set_defaults(command=_analyse)


def _analyse(args: argparse.Namespace) -> None:
    for run_id, outcome in analyse(args.name, options.machine(args), args.runs, again=args.again):
        print(f"{run_id}: {outcome}", flush=True)


def after_run(run: Path, machine: Machine) -> bool:
    """Make the automatic analyses of a run that was stored just now. Whatever fails, the run is whole,
    and so are those that follow: it is told, and returned is whether none failed."""
    from flexlib.runs import store

    fine = True
    for name, analysis in ANALYSES.items():
        if not analysis.automatic:
            continue
        try:
            [(_, outcome)] = analyse(name, machine, [run.name])
        except Exception as error:  # noqa: BLE001 - see above
            again = store.command(f"analyse {name}", run)
            outcome = f"failed ({type(error).__name__}: {error}); `{again}`"
            fine = False
        if outcome not in ("made", "there already", "nothing to analyse"):
            print(f"  {name}: {outcome}")
    return fine
