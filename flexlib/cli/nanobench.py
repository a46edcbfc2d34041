"""The commands that make what data/nano ships: `flexlib nanobench` and `flexlib pretrain`."""

from __future__ import annotations

import argparse
from pathlib import Path

from flexlib import paths
from flexlib.cli import options


def add_parser(commands: options.Commands) -> None:
    """Add both commands to the command line."""
    build = commands.add_parser("nanobench", help="make the NanoBench splits anew from their seed")
    build.add_argument("--out", type=Path, help="folder to write to (default: data/nano/nanobench)")
    build.add_argument("--seed", type=int, help="another seed makes another benchmark")
    build.add_argument(
        "--further",
        action="store_true",
        help="make the further training tasks of the folder's training split (minutes)",
    )
    build.set_defaults(command=_build)

    pretrain = commands.add_parser("pretrain", help="pretrain the nano base; resumes when repeated")
    pretrain.add_argument(
        "--work", type=Path, default=paths.WORK / "nano-base", help="corpus and checkpoints"
    )
    pretrain.add_argument(
        "--out", type=Path, help="model folder to write (default: data/nano/base)"
    )
    pretrain.add_argument(
        "--documents", type=int, help="corpus size; the shipped base has the default"
    )
    pretrain.add_argument("--seed", type=int, help="seed of corpus and weights")
    pretrain.add_argument("--threads", type=int, help="torch threads")
    pretrain.add_argument(
        "--no-compile", action="store_true", help="half as fast, but needs no C++ compiler"
    )
    pretrain.set_defaults(command=_pretrain)


def _build(args: argparse.Namespace) -> None:
    from flexlib.nanobench import benchmark

    folder = args.out or paths.NANOBENCH
    seed = benchmark.SEED if args.seed is None else args.seed
    if args.further:
        benchmark.write_further(folder, seed)
        print(f"wrote further training tasks, {benchmark.LARGE} in all, to {folder}")
        return
    benchmark.write(folder, seed)
    sizes = benchmark.SIZES | {"hard": sum(benchmark.HARD.values())}
    print(f"wrote {', '.join(f'{n} {name}' for name, n in sizes.items())} to {folder}")


def _pretrain(args: argparse.Namespace) -> None:
    import torch  # slow to import, and not needed to show --help

    from flexlib.training import pretraining

    if args.threads:
        torch.set_num_threads(args.threads)
    given = {name: getattr(args, name) for name in ("documents", "seed")}
    config = pretraining.PretrainConfig(**{k: v for k, v in given.items() if v is not None})
    pretraining.pretrain(
        args.work, args.out or paths.NANO_BASE, config, compiled=not args.no_compile
    )
    print(f"wrote the nano base to {args.out or paths.NANO_BASE}")
