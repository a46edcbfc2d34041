"""Decoding at the true 7B shape against the bandwidth bound, by cache and batch.

A step must read the weights and the cache of every row once; ``fraction_of_bound`` is the time that
takes at the measured bandwidth over the measured time, the mean over the steps that follow the
prompts. Stop strings are looked for, as in a real run, and no text ends. Written to
``generation.csv``:

    python measurements/gpu/generation.py --out data/measurements/gpu
"""

from __future__ import annotations

import dataclasses
import itertools
import time
from unittest import mock

import torch
from common import (
    arguments,
    memory_bandwidth,
    peak_memory_gb,
    random_model,
    stand_in_tokenizer,
    synchronize,
    write,
    write_machine,
)

from flexlib import config
from flexlib.generation import decoding
from flexlib.models import adapters, memory
from flexlib.study import scale
from flexlib.tasks.benchmarks import HUMANEVAL_STOP, Problem

PROMPT, NEW = 300, 128  # tokens; MultiPL-E's Java prompts have about so many


def steps(model, tokenizer, rows: int, cache: str, new: int, prompt: int) -> list[float]:
    """Seconds of each step of decoding ``rows`` together, once the prompts have passed."""
    java = next(b for b in config.load("paper", "base", 1).benchmarks if b.language == "java")
    settings = dataclasses.replace(java, max_new_tokens=new)
    work = [(Problem(f"t/{i}", "java", "", "", HUMANEVAL_STOP), 0) for i in range(rows)]
    generator = torch.Generator().manual_seed(0)
    prompts = torch.randint(
        3, model.config.vocab_size, (rows, prompt), generator=generator
    ).tolist()
    ticks: list[float] = []

    def tick() -> None:
        synchronize()
        ticks.append(time.perf_counter())

    class Watched(decoding.StopStrings):
        """transformers calls it once a step."""

        def __call__(self, *args, **kwargs):
            tick()
            return super().__call__(*args, **kwargs)

    with (
        mock.patch.object(
            decoding, "end_tokens", lambda model, _: frozenset({model.config.vocab_size})
        ),
        mock.patch.object(decoding, "StopStrings", Watched),
    ):
        if cache == "growing":
            ids = {problem.task_id: p for (problem, _), p in zip(work, prompts, strict=True)}
            for _ in decoding.complete(model, tokenizer, work, ids, settings, 1, rows):
                tick()
        else:  # transformers' own loop, and its own caches
            decoding.complete_batch(
                model, tokenizer, work, prompts, settings, 1, static_cache=cache == "static"
            )
    return [later - earlier for earlier, later in itertools.pairwise(ticks[-new:])]


def main() -> None:
    args = arguments(__doc__)
    write_machine(args)
    bandwidth = memory_bandwidth(args.tiny)
    model = random_model(args.tiny)
    shape = memory.shape_of(model)
    tokenizer = stand_in_tokenizer(model)
    prompt, new = (20, 12) if args.tiny else (PROMPT, NEW)
    # Reading starts with the prompt in the cache and ends with all: the mean is half-way.
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    weights -= model.get_input_embeddings().weight.nbytes  # of which a few rows are read
    a_token = shape.layers * shape.key_value * model.dtype.itemsize
    rows_ = []

    def add(setting: str, rows: int, cache: str, model) -> None:
        if time.monotonic() > args.deadline:
            return
        steps(model, tokenizer, rows, cache, new, prompt)  # warm; a fixed cache is compiled for it
        peak_memory_gb()
        seconds = steps(model, tokenizer, rows, cache, new, prompt)
        a_step = sum(seconds) / len(seconds)
        mean = prompt + new / 2
        bound = scale.decoding_bytes(weights, a_token, rows, mean) / bandwidth
        rows_.append(
            {
                "setting": setting,
                "rows": rows,
                "prompt_tokens": prompt,
                "new_tokens": new,
                "seconds_a_step": a_step,
                "tokens_per_second": rows / a_step,
                "bound_seconds_a_step": bound,
                "fraction_of_bound": bound / a_step,
                "peak_memory_gb": peak_memory_gb(),
            }
        )
        write(args.out / "generation.csv", scale.GENERATION_FIELDS, rows_)

    batches = (4,) if args.tiny else (128, 256, 32)
    for rows in batches:
        add("growing cache, merged", rows, "growing", model)
    add("concatenating cache, merged", batches[0], "concatenating", model)
    add("released: one problem at a time, merged", 1, "concatenating", model)
    adapted = adapters.add(model, config.load("paper", "lora", 1).adapter).eval()
    add("growing cache, unmerged", batches[0], "growing", adapted)
    model = adapted.unload()
    for rows in batches:
        add("static cache, compiled, merged", rows, "static", model)


if __name__ == "__main__":
    main()
