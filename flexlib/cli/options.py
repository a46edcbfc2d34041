"""Options that several commands share, and values as argparse reads them."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from flexlib import config, paths

if TYPE_CHECKING:
    from flexlib.runs.machine import Machine

T = TypeVar("T", int, float)

Commands = argparse._SubParsersAction  # what ``add_parser`` of a command gets


def add_configuration(parser: argparse.ArgumentParser) -> None:
    """What is run, beside arm and seed."""
    add = parser.add_argument
    add("--profile", default="nano", help=", ".join(config.profiles()))
    add("--decoding", metavar="NAME", help="such as " + config.decodings()[0])
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="such as training.epochs=1")
    add("--limit", type=int, help="first N problems of each benchmark only")


def load(args: argparse.Namespace, arm: str, seed: int) -> config.RunConfig:
    """The configuration that the options of ``add_configuration`` describe."""
    return config.load(
        args.profile, arm, seed, decoding=args.decoding, overrides=args.set, limit=args.limit
    )


def add_machine(parser: argparse.ArgumentParser) -> None:
    """Where and how a run is made."""
    group = parser.add_argument_group("where and how; changes no result")
    add_grading(group)
    _add_generation(group)
    add_base(group)
    add = group.add_argument
    add(
        "--microbatch", type=positive(int), metavar="N", help="sequences a forward pass in training"
    )
    add(
        "--gradient-checkpointing",
        action=argparse.BooleanOptionalAction,
        help="less memory, a third more time (default: where memory needs it)",
    )


def add_known_verdicts(parser: argparse.ArgumentParser) -> None:
    """Of a command that makes many runs."""
    parser.add_argument(
        "--known-verdicts", action="store_true", default=None,
        help="do not judge programs again that a run in the store has (`flexlib regrade` judges all)",
    )  # fmt: skip


def add_audit(parser: argparse.ArgumentParser) -> None:
    """Where and how what is run as it is, is run: nothing of training."""
    group = parser.add_argument_group("where and how; changes no result")
    add_grading(group, store=None)
    _add_generation(group)


def add_base(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """The base model, where it is not found by its name."""
    parser.add_argument(
        "--base-model", type=Path, metavar="DIR", help="local copy of the base model"
    )


def add_device(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Where a model is computed."""
    parser.add_argument("--device", help="cpu or cuda (default: a GPU where there is one)")


def _add_generation(group: argparse._ArgumentGroup) -> None:
    add_device(group)
    add = group.add_argument
    add("--work-dir", type=Path, help="folder of unfinished work")
    add("--compile", action="store_true", default=None, help="torch.compile; pays on a GPU")
    add("--attention", metavar="NAME", help="such as sdpa or flash_attention_2")
    add("--generation-batch", type=positive(int), metavar="N", help="completions decoded together")


def add_grading(
    parser: argparse.ArgumentParser | argparse._ArgumentGroup, store: Path | None = paths.RUNS
) -> None:
    """Where the runs are (None: the command knows a place of its own), and how programs are graded."""
    add = parser.add_argument
    add("--store", type=Path, default=store, help="folder of the runs")
    add("--data-dir", type=Path, metavar="DIR", help="local copy of training sets and benchmarks")
    add("--workers", type=positive(int), metavar="N", help="programs graded at once")
    add("--unsafe-no-sandbox", action="store_true", help="run generated programs unprotected")
    add("--quiet", action="store_true", help="no progress lines")


def machine(args: argparse.Namespace) -> Machine:
    """The machine that the options of ``add_machine`` or ``add_grading`` describe."""
    import dataclasses

    from flexlib.runs.machine import Machine

    names = {f.name for f in dataclasses.fields(Machine)}
    given = {k: v for k, v in vars(args).items() if k in names and v is not None}
    return Machine(**given, progress=not args.quiet)


def positive(kind: type[T]) -> Callable[[str], T]:
    """A finite number above 0."""

    def parse(text: str) -> T:
        value = kind(text)
        if not value > 0:
            raise argparse.ArgumentTypeError(f"{text} is not above 0")
        if value == math.inf:
            raise argparse.ArgumentTypeError(f"{text} is without end; name a number")
        return value

    parse.__name__ = kind.__name__  # argparse: "invalid int value"
    return parse


def seed(text: str) -> int:
    """A whole number from 0."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no seed; take 0 or a whole number above")
    return int(text)


def seeds(text: str) -> list[int]:
    """``1..3`` and ``1,2,3`` -> [1, 2, 3]; both forms mix."""
    found: list[int] = []
    for part in text.split(","):
        first, dots, last = part.partition("..")
        if not first.isdecimal() or (dots and not last.isdecimal()):
            raise argparse.ArgumentTypeError(f"{text!r} is no list of seeds such as 1..5 or 1,3,8")
        found += range(int(first), int(last or first) + 1)
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} holds no seed")
    return found
