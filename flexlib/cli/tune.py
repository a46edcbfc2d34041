"""``flexlib tune``: the trials that choose the settings of optimisers and adapters."""

from __future__ import annotations

import argparse

from flexlib.cli import options


def add_parser(commands: options.Commands) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser("tune", help="the trials that choose learning rates")
    parser.add_argument("--arm", action="append", help="repeat for several (default: all)")
    options.add_base(parser)
    parser.add_argument("--quiet", action="store_true", help="no progress lines")
    parser.set_defaults(command=_tune)


def _tune(args: argparse.Namespace) -> None:
    from flexlib.study import tuning

    machine = options.machine(args)
    for arm in args.arm or tuning.tuned():
        for settings, loss, _ in tuning.tune(arm, machine):
            chosen = ", ".join(f"{key}={value:g}" for key, value in settings.items())
            print(f"{arm} {chosen}: final validation loss {loss:.4f}", flush=True)
    best = tuning.as_toml(tuning.best(tuning.table()))
    profile = tuning.plans()["optimisers"]["profile"]
    print(f"\n# for config/profiles/{profile}.toml\n{best}", end="")
