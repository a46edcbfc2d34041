"""What a machine's choices change by rounding: texts and verdicts of the same greedy decoding.

``flexlib.runs.machine.Machine`` holds what a run's identity leaves out because it changes results by rounding
alone: the batch of generation, the attention kernel, compilation; and a CPU without bf16 computes in
float32 (:func:`flexlib.models.speed.arithmetic`). Here a stored run's model decodes
its benchmarks once as a reference (batch 64, sdpa, not compiled) and once more with each choice
changed alone, in fp32 and in bf16. A row says how many programs then differ and how many verdicts do;
the row "again" changes nothing, and shows that the rest is the choice. Rows are written as they are
done; those that are there are skipped:

    python benchmarks/rounding.py --out data/benchmarks/rounding.csv
    python benchmarks/rounding.py --out ... --base-model DIR --benchmark humaneval --data-dir DIR

The second decodes a model as it is, in place of a stored run's.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from flexlib import disk, formats, models, paths
from flexlib.config import BenchmarkSettings, Precision
from flexlib.generation.decoding import generate
from flexlib.grading.completions import grade_completions
from flexlib.models import adapters
from flexlib.runs import provenance, store
from flexlib.runs.machine import Machine
from flexlib.tasks import benchmarks
from flexlib.tasks.benchmarks import Problem

FIELDS = (
    "model", "benchmark", "precision", "change", "device", "threads", "programs", "changed_texts",
    "changed_verdicts", "passed_reference", "passed_changed",
)  # fmt: skip
KEY = FIELDS[:5]


@dataclass(frozen=True)
class Choice:
    """What of a ``Machine`` is varied."""

    batch: int = 64
    attention: str = "sdpa"
    compiled: bool = False
    arithmetic: Precision | None = None  # None: that of the weights


REFERENCE = Choice()
CHANGES = {
    "again": Choice(),
    "batch 16": Choice(batch=16),
    "eager attention": Choice(attention="eager"),
    "compiled": Choice(compiled=True),
    "fp32 from bf16 weights": Choice(arithmetic="fp32"),
}


@dataclass(frozen=True)
class Subject:
    """A model, with the adapter of a stored run or as it is, and the benchmarks that it decodes."""

    name: str
    base: Path
    adapter: Path | None
    settings: list[BenchmarkSettings]


def decode(
    subject: Subject,
    settings: BenchmarkSettings,
    problems: list[Problem],
    choice: Choice,
    device: str,
) -> list[dict[str, Any]]:
    """The completions of all problems, in their order."""
    model = models.load_model(
        subject.base, settings.precision, device, choice.attention, arithmetic=choice.arithmetic
    )
    if subject.adapter:
        model = adapters.load(model, subject.adapter, merge=False)
    if choice.compiled and device == "cpu":  # on a GPU transformers does it for a static cache
        torch.compiler.reset()
        causal = model.get_base_model() if subject.adapter else model  # whose forward is called
        causal.forward = torch.compile(causal.forward)
    with tempfile.TemporaryDirectory() as scratch:
        return generate(
            model, models.load_tokenizer(subject.base), problems, settings, Path(scratch) / "c.jsonl",
            seed=0, batch_size=choice.batch, static_cache=choice.compiled,
            description=f"{settings.name} {settings.precision} {choice}",
        )  # fmt: skip


def rows(
    subject: Subject,
    settings: BenchmarkSettings,
    problems: list[Problem],
    changes: list[str],
    machine: Machine,
) -> Iterator[dict[str, Any]]:
    """A row a change, each as it is done. Equal texts have equal verdicts: the others are graded."""
    device = models.pick_device(machine.device)
    reference = decode(subject, settings, problems, REFERENCE, device)
    verdicts = [
        r["verdict"] for r in grade_completions(problems, reference, settings, **machine.grading)
    ]
    for change in changes:
        try:
            changed = decode(subject, settings, problems, CHANGES[change], device)
        except Exception as error:  # torch.compile has many ways not to work on a machine
            if not CHANGES[change].compiled:
                raise
            print(f"{change}: not here ({type(error).__name__})", flush=True)
            continue
        differ = [
            i
            for i, (a, b) in enumerate(zip(reference, changed, strict=True))
            if a["completion"] != b["completion"]
        ]
        graded = grade_completions(
            problems, [changed[i] for i in differ], settings, **machine.grading
        )
        after = dict(zip(differ, (r["verdict"] for r in graded), strict=True))
        others = [after.get(i, verdict) for i, verdict in enumerate(verdicts)]
        yield {
            "change": change,
            "programs": len(problems),
            "changed_texts": len(differ),
            "changed_verdicts": sum(a != b for a, b in zip(verdicts, others, strict=True)),
            "passed_reference": verdicts.count("pass"),
            "passed_changed": others.count("pass"),
        }


def stored_run(args: argparse.Namespace) -> Subject | None:
    """The first seed of an arm."""
    found = []
    for folder in store.run_folders(args.store):
        config = store.read_config(folder)
        if (config["profile"], config["arm"], "variant" in config) == (
            args.profile,
            args.arm,
            False,
        ):
            found.append((config["seed"], folder, config))
    if not found:
        return None
    seed, folder, config = min(found, key=lambda f: f[0])
    return Subject(
        f"{args.profile} {args.arm} seed {seed}",
        models.locate(config["base_model"], revision=config.get("base_revision")),
        store.adapter_folder(folder),
        [
            BenchmarkSettings(name, b["language"], max_new_tokens=b["max_new_tokens"])
            for name, b in config["benchmarks"].items()
            if not args.benchmark or name in args.benchmark
        ],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--profile", default="nano")
    parser.add_argument("--arm", default="lora")
    parser.add_argument("--base-model", type=Path, help="decode this model as it is")
    parser.add_argument("--benchmark", action="append", help="(default: those of the run)")
    parser.add_argument("--max-new-tokens", type=int, default=256, help="with --base-model")
    parser.add_argument("--precision", action="append", choices=["fp32", "bf16", "fp16"])
    parser.add_argument("--change", action="append", choices=CHANGES, help="(default: all)")
    parser.add_argument("--limit", type=int, help="first N problems of each benchmark")
    parser.add_argument("--store", type=Path, default=paths.RUNS)
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--unsafe-no-sandbox", action="store_true")
    args = parser.parse_args()
    machine = Machine(data_dir=args.data_dir, unsafe_no_sandbox=args.unsafe_no_sandbox)
    problems = {
        name: benchmarks.load_benchmark(name, args.data_dir, args.limit)
        for name in args.benchmark or ()
    }
    if args.base_model:
        if not problems:
            parser.exit(2, "--base-model goes with --benchmark\n")
        settings = [
            BenchmarkSettings(name, of[0].language, max_new_tokens=args.max_new_tokens)
            for name, of in problems.items()
        ]
        subject = Subject(
            args.base_model.name, models.locate("", folder=args.base_model), None, settings
        )
    else:
        subject = stored_run(args)
        if subject is None:
            parser.exit(2, f"the store has no run of {args.profile} {args.arm}: make one first\n")

    device = models.pick_device()
    where = torch.cuda.get_device_name() if device == "cuda" else provenance.cpu_model()
    done: list[dict] = []
    if args.out.exists():
        with args.out.open(newline="") as file:
            done = list(csv.DictReader(file))
    for settings in subject.settings:
        of = problems.get(settings.name) or benchmarks.load_benchmark(
            settings.name, args.data_dir, args.limit
        )
        for precision in args.precision or ("fp32", "bf16"):
            identity = dict(
                zip(KEY, (subject.name, settings.name, precision, None, where), strict=True)
            )
            there = {tuple(row[k] for k in KEY) for row in done}
            todo = [
                change
                for change in args.change or CHANGES
                if tuple((identity | {"change": change}).values()) not in there
                and (precision == "bf16" or CHANGES[change].arithmetic is None)
            ]
            if not todo:
                continue
            wanted = BenchmarkSettings(**{**vars(settings), "precision": precision})
            for row in rows(subject, wanted, of, todo, machine):
                done.append(identity | {"threads": torch.get_num_threads()} | row)
                args.out.parent.mkdir(parents=True, exist_ok=True)
                disk.write_atomically(args.out, formats.to_csv(FIELDS, done))
                print(done[-1], flush=True)


if __name__ == "__main__":
    main()
