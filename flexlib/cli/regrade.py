"""``flexlib regrade``: every verdict again, from the stored completions."""

from __future__ import annotations

import argparse
import sys

from flexlib.cli import options


def add_parser(commands: options.Commands) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser("regrade", help="rebuild verdicts from the stored completions")
    parser.add_argument("runs", nargs="*", metavar="RUN", help="run ids (default: all)")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 on a change")
    options.add_grading(parser)
    parser.set_defaults(command=_regrade)


def _regrade(args: argparse.Namespace) -> int:
    from flexlib.runs import regrade

    changed = programs = 0
    for result in regrade.regrade(options.machine(args), args.runs, write=not args.check):
        programs += result.programs
        changed += len(result.changes)
        if not result.programs:
            print(f"{result.run_id} {result.benchmark}: stored compactly, without completions")
            continue
        outcome = f"{len(result.changes)} changed" if result.changes else "unchanged"
        print(f"{result.run_id} {result.benchmark}: {result.programs} verdicts, {outcome}")
        for task_id, sample, old, new in result.changes:
            print(f"  {task_id} sample {sample}: {old} -> {new}")
        sys.stdout.flush()
    print(f"{changed} of {programs} verdicts changed" if changed else "nothing changed")
    return 1 if changed and args.check else 0
