"""``flexlib sweep``: the runs of the registered sweep, stored compactly."""

from __future__ import annotations

import argparse

from flexlib.cli import options
from flexlib.cli.run import make


def add_parser(commands: options.Commands) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "sweep", help="make the runs of the registered sweep; those in the store are skipped"
    )
    parser.add_argument("--list", action="store_true", help="name the runs, make none")
    options.add_machine(parser)
    parser.set_defaults(command=_sweep)


def _sweep(args: argparse.Namespace) -> None:
    from flexlib.study import sweep

    wanted = sweep.configurations()
    if args.list:
        for configuration in wanted:
            print(f"{configuration.profile} {configuration.label} seed {configuration.seed}")
    else:
        make(wanted, options.machine(args), compact=True)
