"""Merged against unmerged on stored adapters: logits, and verdicts of generated programs, by precision.

For every stored run of an arm, and each of fp32, bf16 and fp16: the largest difference of a logit over
the prompts of the benchmark, and how many verdicts change when the same greedy decoding is done with
the adapter merged. Rows are written as they are done; those that are there are skipped:

    python benchmarks/merged.py --arm lora --limit 100 --out data/benchmarks/merged.csv
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import tempfile
from pathlib import Path
from typing import Any

from flexlib import disk, formats, models, paths
from flexlib.analysis import merging
from flexlib.config import BenchmarkSettings
from flexlib.generation.decoding import generate
from flexlib.grading.completions import grade_completions
from flexlib.models import adapters
from flexlib.runs import store
from flexlib.runs.machine import Machine
from flexlib.tasks import benchmarks

FIELDS = (
    "profile", "arm", "seed", "benchmark", "precision", "prompts", "max_logit_difference",
    "changed_tokens", "n", "programs", "changed_texts", "changed_verdicts", "passed_unmerged",
    "passed_merged",
)  # fmt: skip


def compare(
    folder: Path, base: Path, settings: BenchmarkSettings, problems: list, machine: Machine
) -> dict[str, Any]:
    """One row: logits, texts and verdicts of one run's adapter in one precision."""
    tokenizer = models.load_tokenizer(base)
    device = models.pick_device(machine.device)

    def adapted(merge: bool):
        model = models.load_model(base, settings.precision, device)
        return adapters.load(model, store.adapter_folder(folder), merge=merge)

    prompts = [tokenizer(p.prompt)["input_ids"] for p in problems]
    row = merging.compare(adapted(merge=False), prompts)
    texts, verdicts = [], []
    for merge in (False, True):
        with tempfile.TemporaryDirectory() as scratch:
            completions = generate(
                adapted(merge), tokenizer, problems, settings, Path(scratch) / "c.jsonl",
                seed=0, batch_size=machine.generation_batch,
            )  # fmt: skip
        texts.append([c["completion"] for c in completions])
        verdicts.append(
            [
                row["verdict"]
                for row in grade_completions(problems, completions, settings, **machine.grading)
            ]
        )
    return row | {
        "programs": len(problems),
        "changed_texts": sum(a != b for a, b in zip(*texts, strict=True)),
        "changed_verdicts": sum(a != b for a, b in zip(*verdicts, strict=True)),
        "passed_unmerged": verdicts[0].count("pass"),
        "passed_merged": verdicts[1].count("pass"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--arm", default="lora")
    parser.add_argument("--profile", default="nano")
    parser.add_argument("--limit", type=int, help="first N problems of each benchmark")
    parser.add_argument("--runs", type=int, default=3, help="adapters: the first N seeds")
    parser.add_argument("--store", type=Path, default=paths.RUNS)
    parser.add_argument("--base-model", type=Path)
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--unsafe-no-sandbox", action="store_true")
    args = parser.parse_args()
    machine = Machine(data_dir=args.data_dir, unsafe_no_sandbox=args.unsafe_no_sandbox)

    rows: list[dict] = []
    if args.out.exists():
        with args.out.open(newline="") as file:
            rows = list(csv.DictReader(file))
    key = lambda r: tuple(str(r[k]) for k in FIELDS[:5])
    done = {key(row) for row in rows}

    found = []
    for folder in store.run_folders(args.store):
        config = store.read_config(folder)
        wanted = config["profile"], config["arm"], "variant" not in config
        if wanted == (args.profile, args.arm, True) and "training" in config:
            found.append((config["seed"], folder, config))
    if not found:
        parser.exit(2, f"the store has no run of {args.profile} {args.arm}: make one first\n")
    for seed, folder, config in sorted(found)[: args.runs]:
        base = models.locate(
            config["base_model"], revision=config.get("base_revision"), folder=args.base_model
        )
        for name, stored in config["benchmarks"].items():
            problems = benchmarks.load_benchmark(name, args.data_dir, args.limit)
            for precision in ("fp32", "bf16", "fp16"):
                identity = dict(
                    zip(FIELDS[:5], (args.profile, args.arm, seed, name, precision), strict=True)
                )
                if key(identity) in done:
                    continue
                settings = BenchmarkSettings(
                    name, stored["language"], max_new_tokens=stored["max_new_tokens"]
                )
                settings = dataclasses.replace(settings, precision=precision)
                rows.append(identity | compare(folder, base, settings, problems, machine))
                args.out.parent.mkdir(parents=True, exist_ok=True)
                disk.write_atomically(args.out, formats.to_csv(FIELDS, rows))
                print(rows[-1], flush=True)


if __name__ == "__main__":
    main()
