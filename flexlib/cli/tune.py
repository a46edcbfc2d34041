"""``flexlib tune``: the trials that choose the settings of optimisers and adapters."""

from __future__ import annotations

import argparse

from flexlib import config
from flexlib.cli import options


def add_parser(commands: options.Commands) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser("tune", help="the trials that choose learning rates")
    parser.add_argument("--arm", action="append", help="repeat for several (default: all)")
    parser.add_argument("--profile", default="nano", help=", ".join(config.profiles()))
    options.add_machine(parser)
    parser.set_defaults(command=_tune)


def _tune(args: argparse.Namespace) -> None:
    from flexlib.study import tuning

    machine = options.machine(args)
    for arm in args.arm or tuning.tuned(args.profile):
        for settings, loss, _ in tuning.tune(arm, machine, profile=args.profile):
            chosen = ", ".join(f"{key}={value:g}" for key, value in settings.items())
            print(f"{arm} {chosen}: final validation loss {loss:.4f}", flush=True)
    print(f"\n{tuning.to_do(args.profile)}", end="")
