"""Training on a CPU: a step of flexlib's Trainer against bare forward and backward passes over the same
sequences, and validation against the forward pass of each alone.

The profile ``small`` (bf16, batches of 4 of MBPP) in rounds of one step each: the Trainer's step, with
loading, clipping, optimiser and log, and at once, on the batch that it had, each bare way; then a part of the
validation set. A ratio is to the first way of its kind *in the same round*; medians and ranges over
the rounds are kept, but for the first, which warms up. Every token counts once; padding does not.

- ``bare``: the model's own loss, forward and backward, over each sequence alone
- ``padded``, ``one row``: the same, over the batch padded to its longest, and laid end to end in one row
  under the mask that keeps its sequences apart
- ``forward``: the first half of ``bare``
- ``one row of 32``: validation as it was up to November 2026, records laid end to end

Written to ``training.csv`` and ``training.json``:

    python benchmarks/training.py --base-model FOLDER --data-dir FOLDER [--rounds 5]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers

from flexlib import config, disk, formats, models, paths
from flexlib.models import adapters
from flexlib.tasks import training_sets
from flexlib.training import attention, encoding
from flexlib.training.loss import chunk_loss
from flexlib.training.optimizers import optimizer_class
from flexlib.training.trainer import FlexTrainer, training_arguments

DEFAULT_OUT = paths.MEASURED / "training.csv"
FIELDS = ("kind", "way", "rounds", "ms_per_token", "ratio", "ratio_low", "ratio_high")
OLD_BATCH = 32


class Rounds(transformers.TrainerCallback):
    """Seconds and tokens of each way, a list of rounds each, taken between the steps of a Trainer."""

    def __init__(
        self,
        examples: dict[str, list[encoding.Example]],
        pad_token_id: int,
        clock: Callable[[], float],
    ) -> None:
        self.clock = clock
        self.padded, self.one_row = encoding.collator(pad_token_id), encoding.collator(0, "flatten")
        self.validation = sorted(examples["validation"], key=lambda e: len(e["input_ids"]))
        self.old = examples["validation"][:OLD_BATCH]
        self.seen: list[dict[str, Any]] = []  # the inputs of the step's microbatches
        self.per_token: dict[tuple[str, str], list[float]] = defaultdict(list)

    def attach(self, trainer: FlexTrainer) -> None:
        self.trainer = trainer
        training_step = trainer.training_step

        def noted(model, inputs, *args):
            self.seen.append(inputs)
            return training_step(model, inputs, *args)

        trainer.training_step = noted
        trainer.add_callback(self)

    def on_train_begin(self, args, state, control, **kwargs):
        self.start = self.clock()

    def on_log(self, args, state, control, logs=None, **kwargs):
        """The end of a step: the Trainer logs each."""
        if "loss" not in (logs or {}):
            return
        seconds = self.clock() - self.start
        batch = [e for inputs in self.seen for e in sequences(inputs)]
        tokens = sum(len(e["input_ids"]) for e in batch)
        alone, forward = self.bare([self.one_row([e]) for e in batch])
        self.note("training", "bare", alone, tokens)
        self.note("training", "flexlib", seconds, tokens)
        self.note("training", "padded", self.bare([self.padded(batch)])[0], tokens)
        self.note("training", "one row", self.bare([self.one_row(batch)])[0], tokens)
        self.note("validation", "forward", forward, tokens)
        self.validate(state.global_step)
        self.seen = []
        self.start = self.clock()

    def validate(self, number: int) -> None:
        trainer, inner = self.trainer, self.trainer.model.get_base_model()
        part = self.validation[number % 6 :: 6]
        trainer.eval_dataset = part
        tokens = sum(len(e["input_ids"]) for e in part)
        start = self.clock()
        log, trainer.log = trainer.log, lambda *_: None  # no step of the training
        trainer.evaluate()
        self.note("validation", "flexlib", self.clock() - start, tokens)
        trainer.log = log
        row = self.one_row(self.old)
        start = self.clock()
        with torch.no_grad(), trainer.compute_loss_context_manager():
            inner(**row)
        tokens = row["input_ids"].numel()
        self.note("validation", f"one row of {OLD_BATCH}", self.clock() - start, tokens)
        trainer.model.train()

    def bare(self, batches: list[dict[str, Any]]) -> tuple[float, float]:
        """Seconds of forward and backward, and of forward alone, with the model's own loss."""
        model = self.trainer.model
        chunked = vars(model.get_base_model()).pop("forward")
        forward = 0.0
        begin = self.clock()
        for batch in batches:
            start = self.clock()
            with self.trainer.compute_loss_context_manager():
                loss = model(**batch).loss
            forward += self.clock() - start
            loss.backward()
        seconds = self.clock() - begin
        model.zero_grad()
        model.get_base_model().forward = chunked
        return seconds, forward

    def note(self, kind: str, way: str, seconds: float, tokens: int) -> None:
        self.per_token[kind, way].append(seconds / tokens)


def sequences(inputs: dict[str, torch.Tensor]) -> list[encoding.Example]:
    """The examples of a flattened batch."""
    starts = (inputs["position_ids"][0] == 0).nonzero()[:, 0].tolist()
    ends = [*starts[1:], inputs["input_ids"].shape[1]]
    ids = inputs["input_ids"][0].tolist()
    return [{"input_ids": ids[a:b], "labels": ids[a:b]} for a, b in zip(starts, ends, strict=True)]


def machine() -> dict[str, Any]:
    return {
        "processor": platform.processor() or platform.machine(),
        "processors": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load_before": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--base-model", type=Path, required=True, help="model folder")
    parser.add_argument("--data-dir", type=Path, help="local copy of MBPP")
    parser.add_argument("--rounds", type=int, default=5, help="the first warms up")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--cpu-time", action="store_true", help="processor time: on a busy machine, with one thread"
    )
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    facts = machine()
    wanted = config.load("small", "lora", 1)
    settings = wanted.training
    tokenizer = models.load_tokenizer(args.base_model)
    examples = {
        split: encoding.encode_all(
            training_sets.load_records(settings.dataset, split, args.data_dir),
            tokenizer,
            loss_on=settings.loss_on,
            max_length=settings.max_length,
        )
        for split in ("train", "validation")
    }
    transformers.set_seed(wanted.seed)
    model = models.load_model(args.base_model, settings.precision, "cpu")
    facts["parameters"] = sum(p.numel() for p in model.parameters())
    chunk_loss(model)
    model = adapters.add(model, wanted.adapter)
    model.config.use_cache = False
    clock = time.process_time if args.cpu_time else time.perf_counter
    facts["clock"] = clock.__name__
    rounds = Rounds(examples, tokenizer.pad_token_id, clock)
    with tempfile.TemporaryDirectory() as folder:
        arguments = training_arguments(settings, Path(folder), wanted.seed)
        arguments.max_steps, arguments.save_strategy = args.rounds, "no"
        facts["microbatch"] = arguments.per_device_train_batch_size
        trainer = FlexTrainer(
            model=model,
            args=arguments,
            train_dataset=examples["train"],
            eval_dataset=examples["validation"],
            data_collator=encoding.collator(tokenizer.pad_token_id, settings.packing, ends=True),
            optimizer_cls_and_kwargs=optimizer_class(wanted),
        )
        trainer.remove_callback(transformers.PrinterCallback)
        rounds.attach(trainer)
        with models.quiet(), attention.by_sequence(model.get_base_model()):
            trainer.train()

    rows = []
    first: dict[str, list[float]] = {}
    for (kind, way), with_first in rounds.per_token.items():
        taken = with_first[1:]
        ratios = [a / b for a, b in zip(taken, first.setdefault(kind, taken), strict=True)]
        figures = (1000 * statistics.median(taken), statistics.median(ratios))
        low_and_high = (round(min(ratios), 3), round(max(ratios), 3))
        values = (kind, way, len(taken), *(round(f, 3) for f in figures), *low_and_high)
        rows.append(dict(zip(FIELDS, values, strict=True)))
        print(rows[-1], flush=True)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    disk.write_atomically(args.out, formats.to_csv(FIELDS, rows))
    content = (json.dumps(facts, indent=2) + "\n").encode()
    disk.write_atomically(args.out.with_suffix(".json"), content)


if __name__ == "__main__":
    main()
