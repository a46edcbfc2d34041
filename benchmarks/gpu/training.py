"""Training steps at the true 7B shape, with the released loop beside ours.

Every setting goes through flexlib's Trainer, on sequences as long as MBPP's. Written to
``training.csv`` (see flexlib.study.scale) and ``overheads.csv``, the cost of penalty and curvature
in per cent of a step. Takes some minutes:

    python benchmarks/gpu/training.py --out data/benchmarks/gpu
"""

from __future__ import annotations

import random
import tempfile
import time

import torch
import transformers
from common import (
    arguments,
    matmul_flops,
    peak_memory_gb,
    random_model,
    synchronize,
    write,
    write_machine,
)

from flexlib import config, models
from flexlib.models import adapters
from flexlib.study import scale
from flexlib.training import encoding, fourier
from flexlib.training.loss import chunk_loss
from flexlib.training.optimizers import optimizer_class
from flexlib.training.trainer import FlexTrainer, training_arguments

WARM, TIMED, CHECKED = 5, 15, 6  # steps; CHECKED: timed where only the script is checked
# Sequences laid end to end. The mask that keeps them apart is dense, so that the cost of attention is
# quadratic in the whole row: nothing at 2,000 tokens, as much as the layers at 16,000.
AT_ONCE = 16
# Lengths of MBPP's 374 training texts: a median of 411 characters and a standard deviation of 0.33 in
# their logarithm; 3 characters a token are assumed.
MEDIAN_TOKENS, LOG_DEVIATION = 137, 0.33


class Clock(transformers.TrainerCallback):
    """Seconds and tokens of the steps after the warm ones."""

    def __init__(self) -> None:
        self.seconds, self.tokens = [], []

    def on_step_begin(self, args, state, control, **kwargs):
        synchronize()
        self.start, self.seen = time.perf_counter(), state.num_input_tokens_seen

    def on_step_end(self, args, state, control, **kwargs):
        synchronize()
        if state.global_step > WARM:
            self.seconds.append(time.perf_counter() - self.start)
            self.tokens.append(state.num_input_tokens_seen - self.seen)


def examples(count: int, vocabulary: int, longest: int) -> list[encoding.Example]:
    """Random tokens in sequences as long as MBPP's."""
    rng = random.Random(0)
    rows = []
    for _ in range(count):
        length = min(longest, max(16, round(rng.lognormvariate(0, LOG_DEVIATION) * MEDIAN_TOKENS)))
        ids = [rng.randrange(3, vocabulary) for _ in range(length)]
        rows.append({"input_ids": ids, "labels": list(ids)})
    return rows


def ours(model, args, arm: str, sequences: int, *, compiled: bool = False, extra=()) -> Clock:
    """Steps of flexlib's Trainer in the configuration of an arm."""
    wanted = config.load("paper", arm, 1, overrides=[f"training.batch_size={sequences}", *extra])
    settings = wanted.training
    chunk_loss(model)
    adapted = adapters.add(model, wanted.adapter)
    adapted.config.use_cache = False
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        arguments_ = training_arguments(
            settings,
            folder,
            1,
            device=args.device,
            microbatch=min(sequences, AT_ONCE),
            compiled=compiled,
        )
        arguments_.max_steps, arguments_.save_strategy = args.steps, "no"
        trainer = FlexTrainer(
            model=adapted,
            args=arguments_,
            train_dataset=examples(
                sequences * args.steps, model.config.vocab_size, settings.max_length
            ),
            data_collator=encoding.collator(0, settings.packing),
            callbacks=[clock],
            optimizer_cls_and_kwargs=optimizer_class(wanted),
        )
        equip(trainer, adapted, wanted)
        trainer.remove_callback(transformers.PrinterCallback)
        with models.quiet():
            trainer.train()
    adapted.unload()
    del model.forward
    model.requires_grad_(False)
    return clock


def equip(trainer: FlexTrainer, model, wanted: config.RunConfig) -> None:
    """Penalty and curvature, as flexlib.training.trainer sets them up."""
    if wanted.regularizer:
        trainer.regularizer = fourier.Regularizer(
            wanted.regularizer, fourier.lora_factors(model), wanted.seed
        )
    if wanted.sophia:
        trainer.estimate_curvature(wanted)


def released(model, args, sequences: int = 4) -> Clock:
    """The released loop: one sequence at a time, the losses of four summed, AdamW in a Python loop."""
    wanted = config.load("paper", "lora", 1)
    adapted = adapters.add(model, wanted.adapter).train()
    factors = [p for p in adapted.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(factors, lr=2e-4, weight_decay=0.01, foreach=False)
    rows = examples(sequences * args.steps, model.config.vocab_size, 512)
    clock = Clock()
    for step in range(args.steps):
        synchronize()
        start, tokens = time.perf_counter(), 0
        for row in rows[step * sequences : (step + 1) * sequences]:
            ids = torch.tensor([row["input_ids"]], device=args.device)
            with torch.autocast(args.device, model.dtype):
                loss = adapted(input_ids=ids, labels=ids).loss
            loss.backward()
            tokens += ids.numel()
            loss.item()  # it is printed
        torch.nn.utils.clip_grad_norm_(factors, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        synchronize()
        if step >= WARM:
            clock.seconds.append(time.perf_counter() - start)
            clock.tokens.append(tokens)
    adapted.unload()
    model.requires_grad_(False)
    return clock


def main() -> None:
    args = arguments(__doc__)
    args.steps = WARM + (CHECKED if args.tiny else TIMED)
    write_machine(args)
    model = random_model(args.tiny)
    parameters = sum(p.numel() for p in model.parameters())
    peak = matmul_flops(args.tiny)
    rows, overheads = [], []

    def add(setting: str, sequences: int, clock: Clock) -> float:
        order = sorted(s / t for s, t in zip(clock.seconds, clock.tokens, strict=True))
        per_token = order[len(order) // 2]
        tokens = sum(clock.tokens) / len(clock.tokens)
        rows.append(
            {
                "setting": setting,
                "sequences": sequences,
                "tokens_a_step": tokens,
                "seconds_a_step": per_token * tokens,
                "tokens_per_second": 1 / per_token,
                "fraction_of_peak": scale.training_flops(parameters, 1) / per_token / peak,
                "peak_memory_gb": peak_memory_gb(),
            }
        )
        write(args.out / "training.csv", scale.TRAINING_FIELDS, rows)
        return per_token

    add("released loop", 4, released(model, args))
    plain = add("flattened", 4, ours(model, args, "lora", 4))
    for arm, what in (
        ("fourier-released", "factor penalty"),
        ("fourier-delta", "penalty on the product"),
        ("sophia", "Gauss-Newton-Bartlett every 10 steps"),
    ):
        with_it = add(f"flattened, {arm}", 4, ours(model, args, arm, 4))
        overheads.append({"what": what, "per_cent_of_a_step": 100 * (with_it / plain - 1)})
        write(args.out / "overheads.csv", ["what", "per_cent_of_a_step"], overheads)
    for sequences in (8,) if args.tiny else (16, 64):
        if time.monotonic() < args.deadline:
            add("flattened", sequences, ours(model, args, "lora", sequences))
    for sequences in () if args.tiny else (4, 64):
        if time.monotonic() < args.deadline:
            add(
                "flattened, compiled",
                sequences,
                ours(model, args, "lora", sequences, compiled=True),
            )


if __name__ == "__main__":
    main()
