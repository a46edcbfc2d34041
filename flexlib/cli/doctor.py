"""``flexlib doctor``: what this machine can run."""

from __future__ import annotations

import argparse
from pathlib import Path

from flexlib import paths
from flexlib.cli import options


def add_parser(commands: options.Commands) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser("doctor", help="say what this machine can run")
    parser.add_argument("--store", type=Path, default=paths.RUNS, help="folder of the runs")
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
