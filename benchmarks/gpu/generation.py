"""Decoding at the true 7B shape against the bandwidth bound, by cache and batch.

A step must read the weights and the cache of every row once; ``fraction_of_bound`` is the time that
takes at the measured bandwidth over the measured time. Stop strings are looked for, as in a real run,
and never found. Written to ``generation.csv``:

    python benchmarks/gpu/generation.py --out data/benchmarks/gpu
"""

from __future__ import annotations

import dataclasses
import time
from contextlib import nullcontext
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
from flexlib.models import memory
from flexlib.study import scale
from flexlib.tasks.benchmarks import HUMANEVAL_STOP, Problem
from flexlib.training.trainer import add_lora

PROMPT, NEW = 300, 128  # tokens; MultiPL-E's Java prompts have about so many


def measure(model, tokenizer, rows: int, cache: str, new: int, prompt: int) -> float:
    """Seconds of decoding ``rows`` together, prompts included."""
    java = next(b for b in config.load("paper", "base", 1).benchmarks if b.language == "java")
    settings = dataclasses.replace(java, max_new_tokens=new)
    batch = [(Problem(f"t/{i}", "java", "", "", HUMANEVAL_STOP), 0) for i in range(rows)]
    generator = torch.Generator().manual_seed(0)
    prompts = torch.randint(
        3, model.config.vocab_size, (rows, prompt), generator=generator
    ).tolist()
    # transformers' own cache, for comparison, in place of ours
    concatenating = mock.patch.object(decoding, "growing_cache", lambda config: None)
    with concatenating if cache == "concatenating" else nullcontext():
        synchronize()
        start = time.perf_counter()
        decoding.complete_batch(
            model, tokenizer, batch, prompts, settings, 1, static_cache=cache == "static"
        )
        synchronize()
    return time.perf_counter() - start


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
        for n in (new // 4, new):  # warm; a cache of fixed size is compiled for each
            measure(model, tokenizer, rows, cache, n, prompt)
        peak_memory_gb()
        # Two lengths: their difference is decoding alone, without the prompts.
        short, long = (measure(model, tokenizer, rows, cache, n, prompt) for n in (new // 4, new))
        a_step = (long - short) / (new - new // 4)
        mean = prompt + (new + new // 4) / 2
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
    adapted = add_lora(model, config.load("paper", "lora", 1).lora).eval()
    add("growing cache, unmerged", batches[0], "growing", adapted)
    model = adapted.unload()
    for rows in batches:
        add("static cache, compiled, merged", rows, "static", model)


if __name__ == "__main__":
    main()
