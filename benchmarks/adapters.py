"""Time of a training step with each kind of adapter, beside plain LoRA in one run.

    python benchmarks/adapters.py [--base data/nano/base] [--device cpu] [--rounds 5] [--out FILE]

Each arm of the comparison trains for 20 steps as it does in a run; the time of a round is the median of its
steps after the first, from the forward pass to the end of the optimiser's step. Arms are interleaved round
by round; a ratio is to LoRA *of the same round*, and its median and range over the rounds are kept.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path

import rounds
import transformers

from flexlib import config, disk, formats, models, paths
from flexlib.study.adapters import ARMS
from flexlib.tasks import training_sets
from flexlib.training import trainer

DEFAULT_OUT = paths.MEASURED / "adapters.csv"
CONTROL = "lora"
STEPS = 20
FIELDS = ("arm", *rounds.FIELDS)


class Steps(transformers.TrainerCallback):
    """Seconds of each step."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_step_begin(self, args, state, control, **kwargs):
        self._began = rounds.now(args.device)

    def on_step_end(self, args, state, control, **kwargs):
        self.seconds.append(rounds.now(args.device) - self._began)


def seconds_a_step(arm: str, base: Path, device: str) -> float:
    """Median over the steps of one short training."""
    overrides = ["training.learning_rate=1e-3", "training.epochs=1", "training.evaluations=1"]
    wanted = config.load("nano", arm, 1, overrides=overrides)
    settings, _ = wanted.method()
    sizes = {"train": STEPS * settings.batch_size, "validation": settings.batch_size}
    records = {
        split: training_sets.load_records(settings.dataset, split)[:n] for split, n in sizes.items()
    }
    steps = Steps()
    with tempfile.TemporaryDirectory() as folder, models.quiet():
        trainer.train(
            wanted,
            base,
            records,
            Path(folder),
            checkpoints=Path(folder) / "checkpoints",
            device=device,
            progress=False,
            callbacks=[steps],
        )
    assert len(steps.seconds) == STEPS
    return statistics.median(steps.seconds[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base", type=Path, default=paths.NANO_BASE)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT)
    args = parser.parse_args()
    seconds: dict[str, list[float]] = {arm: [] for arm in (CONTROL, *ARMS)}
    seconds_a_step(CONTROL, args.base, args.device)  # what is loaded once is not LoRA's
    for round_ in range(args.rounds):
        for arm, of_arm in seconds.items():
            of_arm.append(seconds_a_step(arm, args.base, args.device))
        print(f"round {round_ + 1} of {args.rounds}", flush=True)
    rows = []
    for arm in ARMS:
        found = rounds.summary(seconds[arm], seconds[CONTROL], device=args.device, steps=STEPS - 1)
        rows.append({"arm": arm, **found})
        print(", ".join(f"{key} {value}" for key, value in rows[-1].items()), flush=True)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    disk.write_atomically(args.out, formats.to_csv(FIELDS, rows))


if __name__ == "__main__":
    main()
