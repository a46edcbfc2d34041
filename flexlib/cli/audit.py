"""``flexlib audit``: what an adapter did to the languages that it was not trained on."""

from __future__ import annotations

import argparse
import traceback
from pathlib import Path

from flexlib import config
from flexlib.cli import options
from flexlib.errors import FlexError

_STATUS = {True: 1, False: 0, None: 2}  # of --fail-if-lost


def add_parser(commands: options.Commands) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "audit",
        help="what an adapter did to the languages that it was not trained on",
        epilog="Exit status with --fail-if-lost POINTS: 1 if a loss of more is established in a language, 0 "
        "if it is excluded in all, 2 if it cannot be told.",
    )
    add = parser.add_argument
    add("adapter", metavar="ADAPTER", help="folder in PEFT's format, or hub id")
    add(
        "--base-model",
        metavar="DIR",
        help="folder, GGUF file or hub id (default: the adapter's own)",
    )
    add("--profile", help=f"{', '.join(config.profiles())} (default: the base's own, else small)")
    add("--languages", type=_names, metavar="LIST", help="such as python,java (default: all)")
    add(
        "--limit",
        type=options.positive(int),
        metavar="N",
        help="first N problems of each benchmark",
    )
    add("--minutes", type=options.positive(float), metavar="M", help="plan the problems to fit")
    add("--merged", action="store_true", help="also with the adapter folded into the weights")
    add("--out", type=Path, metavar="DIR", help="of the report (default: audit-NAME)")
    add(
        "--fail-if-lost",
        type=options.positive(float),
        metavar="POINTS",
        help="exit 1 on a loss of more (default: 0, and changes of 5 points matter)",
    )
    options.add_audit(parser)
    parser.set_defaults(command=_audit)


def _names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise argparse.ArgumentTypeError("names no language; such as python,java")
    return names


def _audit(args: argparse.Namespace) -> int:
    try:
        return _report(args)
    except FlexError:
        raise
    except Exception:  # noqa: BLE001 - Python's own status would be 1, which says that a loss is established
        traceback.print_exc()
        return _STATUS[None]


def _report(args: argparse.Namespace) -> int:
    from flexlib.auditing import report, subject, tables

    out = args.out or Path("audit-" + subject.short_name(args.adapter))
    report.check_folder(out)
    args.store = args.store or subject.store()
    lost = args.fail_if_lost
    found = tables.audit(
        args.adapter,
        base_model=args.base_model,
        profile=args.profile,
        languages=args.languages,
        limit=args.limit,
        merged=args.merged,
        margin=tables.MARGIN if lost is None else lost / 100,
        minutes=args.minutes,
        machine=options.machine(args),
    )
    written = report.write(found, out)
    for line in report.summary(found):
        print(line)
    print(f"report: {written}")
    if lost is None:
        return 0
    verdict = found.lost_more_than_margin()
    said = {True: "established", False: "excluded", None: "cannot be told"}[verdict]
    print(f"a loss of more than {lost:g} points: {said}")
    return _STATUS[verdict]
