"""Time and memory of a training step with each optimiser, beside AdamW in one run.

    python benchmarks/optimizers.py [--base data/nano/base] [--device cpu] [--rounds 7] [--out FILE]

Each way trains the nano arm of its name in flexlib's own Trainer, from the second step to the last of
two cycles of curvature (20 steps, 2 estimates), so that the extra passes are amortised as in a run.
Ways are interleaved round by round; a ratio is to AdamW *of the same round*, and its median and range
over the rounds are kept. Memory is the peak of a process (CPU: resident, in a process for each way;
CUDA: allocated by torch); state is what the optimiser keeps for each trained parameter.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import rounds
import torch
import transformers

from flexlib import config, disk, formats, models, paths
from flexlib.models import adapters
from flexlib.tasks import training_sets
from flexlib.training import encoding
from flexlib.training.optimizers import optimizer_class
from flexlib.training.trainer import FlexTrainer, training_arguments

DEFAULT_OUT = paths.MEASURED / "optimizers.csv"
DEFAULT_BASE = paths.NANO_BASE
WAYS = {
    "adamw": ("adamw",),
    "lion": ("lion",),
    "sophia": ("sophia",),
    "sophia, shared forward": ("sophia", "sophia.shared_forward=true"),
    "sophia-corrected": ("sophia-corrected",),
    "sophia-released": ("sophia-released",),
    "muon": ("muon",),
    "schedule-free": ("schedule-free",),
}
STEPS = 21  # one to warm up, then two cycles of ten
FIELDS = ("way", *rounds.FIELDS, "peak_mb", "state_bytes_per_parameter")


class Stopwatch(transformers.TrainerCallback):
    """Seconds from the beginning of the second step to the end of the last, estimates included."""

    seconds = 0.0

    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == 1:
            self.seconds -= rounds.now(args.device)

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == state.max_steps:
            self.seconds += rounds.now(args.device)


def train(way: str, base: Path, device: str) -> tuple[float, float]:
    """Seconds a step, and bytes of optimiser state a trained parameter."""
    arm, *overrides = WAYS[way]
    wanted = config.load("nano", arm, 1, overrides=overrides)
    settings = wanted.training
    tokenizer = models.load_tokenizer(base)
    records = training_sets.load_records(settings.dataset, "train")[: STEPS * settings.batch_size]
    examples = encoding.encode_all(
        records, tokenizer, loss_on=settings.loss_on, max_length=settings.max_length
    )
    transformers.set_seed(1)
    model = adapters.add(models.load_model(base, settings.precision, device), wanted.adapter)
    with tempfile.TemporaryDirectory() as folder:
        args = training_arguments(settings, Path(folder), 1, device=device)
        args.num_train_epochs, args.save_strategy = 1.0, "no"
        trainer = FlexTrainer(
            model=model,
            args=args,
            train_dataset=examples,
            data_collator=encoding.collator(tokenizer.pad_token_id),
            optimizer_cls_and_kwargs=optimizer_class(wanted),
        )
        trainer.estimate_curvature(wanted)
        trainer.remove_callback(transformers.PrinterCallback)
        stopwatch = Stopwatch()  # after the estimator's callback
        trainer.add_callback(stopwatch)
        with models.quiet(), contextlib.redirect_stdout(io.StringIO()):
            trainer.train()
    assert trainer.state.global_step == STEPS
    tensors = [
        value
        for state in trainer.optimizer.state.values()
        for value in state.values()
        if torch.is_tensor(value) and value.ndim > 0
    ]
    state = sum(t.numel() * t.element_size() for t in tensors)
    parameters = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return stopwatch.seconds / (STEPS - 1), state / parameters


def peak_mb(way: str, base: Path, device: str) -> float:
    """Peak memory of a process that trains this way and does nothing else."""
    command = [sys.executable, __file__, "--memory-of", way, "--base", str(base)]
    done = subprocess.run(
        [*command, "--device", device], check=True, capture_output=True, text=True
    )
    return float(done.stdout.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base", type=Path, default=DEFAULT_BASE)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT)
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.memory_of:
        train(args.memory_of, args.base, args.device)
        if args.device == "cuda":
            print(torch.cuda.max_memory_allocated() / 2**20)
        else:
            print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        return

    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    state: dict[str, float] = {}
    train("adamw", args.base, args.device)  # what is loaded once is not AdamW's
    for _ in range(args.rounds):
        for way in WAYS:
            step, state[way] = train(way, args.base, args.device)
            seconds[way].append(step)
    rows = []
    for way, steps in seconds.items():
        rows.append(
            {
                "way": way,
                **rounds.summary(steps, seconds["adamw"], device=args.device, steps=STEPS - 1),
                "peak_mb": round(peak_mb(way, args.base, args.device)),
                "state_bytes_per_parameter": round(state[way], 2),
            }
        )
        print(", ".join(f"{key} {value}" for key, value in rows[-1].items()), flush=True)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    disk.write_atomically(args.out, formats.to_csv(FIELDS, rows))


if __name__ == "__main__":
    main()
