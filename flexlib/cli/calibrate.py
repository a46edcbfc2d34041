"""``flexlib calibrate``: the strength at which a penalty leaves an update of a given norm."""

from __future__ import annotations

import argparse

from flexlib import config
from flexlib.cli import options


def add_parser(commands: options.Commands) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "calibrate", help="find the strength at which a penalty leaves an update of a given norm"
    )
    parser.add_argument("--arm", action="append", required=True, help="repeat for several")
    parser.add_argument("--profile", default="nano", help=", ".join(config.profiles()))
    options.add_machine(parser)
    parser.set_defaults(command=_calibrate)


def _calibrate(args: argparse.Namespace) -> None:
    from flexlib.study import calibration

    for arm in args.arm:
        for trial in calibration.calibrate(args.profile, arm, options.machine(args)):
            print(
                f"{trial.arm} strength {trial.strength:g}: norm {trial.norm:.4g}, "
                f"validation loss {trial.eval_loss:.4f}",
                flush=True,
            )
        print(f"# for config/profiles/{args.profile}.toml\n[arms.{arm}.regularizer]")
        print(f"strength = {trial.strength:g}\n")  # the last, which is within the tolerance
