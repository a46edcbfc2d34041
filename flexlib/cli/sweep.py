"""``flexlib sweep``: the runs of a registered plan, stored compactly."""

from __future__ import annotations

import argparse
import importlib

from flexlib.cli import options
from flexlib.cli.run import make

# The plans of data/claims.yml, and the modules whose ``configurations`` are their runs.
PLANS = {"strength": "flexlib.study.sweep", "data": "flexlib.study.training_data"}


def add_parser(commands: options.Commands) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "sweep", help="make the runs of a registered plan; those in the store are skipped"
    )
    parser.add_argument(
        "--plan", choices=PLANS, default="strength",
        help="of the penalty's strength (default), or of size and quality of the training set",
    )  # fmt: skip
    parser.add_argument("--list", action="store_true", help="name the runs, make none")
    options.add_machine(parser)
    parser.set_defaults(command=_sweep)


def _sweep(args: argparse.Namespace) -> None:
    wanted = importlib.import_module(PLANS[args.plan]).configurations()
    if args.list:
        for configuration in wanted:
            print(f"{configuration.profile} {configuration.label} seed {configuration.seed}")
    else:
        make(wanted, options.machine(args), compact=True)
