"""``flexlib sweep``: the runs of a registered plan, stored compactly unless it says otherwise."""

from __future__ import annotations

import argparse

from flexlib.cli import options
from flexlib.cli.run import make
from flexlib.study import bases, plans


def add_parser(commands: options.Commands) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "sweep", help="make the runs of a registered plan; those in the store are skipped"
    )
    parser.add_argument(
        "--plan", choices=plans.ALL, default=plans.STRENGTH,
        help="of the penalty's strength (default), of size and quality of the training set, of the "
             "released configurations, of the regime in which Sophia could win, of several bases, of "
             "NanoBench in four languages, of its harder tasks, of adapters (tuned before), or of the real "
             "code model (real-model-norm needs its calibration, real-model-languages six more toolchains)",
    )  # fmt: skip
    parser.add_argument("--list", action="store_true", help="name the runs, make none")
    options.add_known_verdicts(parser)
    options.add_machine(parser)
    parser.set_defaults(command=_sweep)


def _sweep(args: argparse.Namespace) -> None:
    wanted = plans.configurations(args.plan)
    if args.list:
        for configuration in wanted:
            print(f"{configuration.profile} {configuration.label} seed {configuration.seed}")
    else:
        if args.plan == bases.PLAN:
            bases.check()
        compact = args.plan == plans.STRENGTH or plans.plan(args.plan).get("compact", True)
        make(wanted, options.machine(args), compact=compact)
