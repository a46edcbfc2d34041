"""The command line: arguments in, one plain function called, lines out. One module a command.

Exit status: 0 done; 1 done, and the answer is no (``doctor``, ``regrade --check``, ``audit
--fail-if-lost``); 2 a FlexError, in one line on stderr, or that ``audit --fail-if-lost`` cannot tell; 130
interrupted; 141 whoever reads the output has closed it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import NoReturn

from flexlib import __version__
from flexlib.cli import (
    analyse,
    audit,
    calibrate,
    doctor,
    grade,
    nanobench,
    regrade,
    run,
    sweep,
    tune,
)
from flexlib.errors import FlexError

# Each has ``add_parser(commands)``, and imports what is slow to import when its command is called.
COMMANDS = (run, audit, regrade, analyse, doctor, grade, nanobench, tune, calibrate, sweep)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    args = parser().parse_args(argv)
    try:
        status = args.command(args) or 0
        sys.stdout.flush()  # here, where a closed pipe is caught
        return status
    except BrokenPipeError:  # the reader has seen enough, as `head` has
        return 141  # what a shell says of a program that SIGPIPE ended
    except FlexError as error:
        print(f"flexlib: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("flexlib: interrupted; give the same command again and it goes on", file=sys.stderr)
        return 130


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line, as for every other mistake, instead of the whole usage."""
        self.exit(2, f"flexlib: {message}; see {self.prog} --help\n")


def parser() -> argparse.ArgumentParser:
    """The parser of all commands; ``command`` of what it parses is the function to call."""
    parser = _Parser(prog="flexlib", description="FLeX, reproduced and audited.")
    parser.add_argument("--version", action="version", version=f"flexlib {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)
    for module in COMMANDS:
        module.add_parser(commands)
    return parser
