"""Writing completions on a CPU: rows that leave the batch, against fixed batches and transformers' own.

Real prompts (the first of HumanEval and of MultiPL-E Java), greedy, bf16, up to 512 new tokens. Every
way looks for the stop strings of a problem while it decodes:

- ``fixed batches``: ``model.generate`` on prompts of like length; a batch goes on until its last row
  ends;
- ``generate_batch``: transformers' continuous batching, whose requests are cancelled at their stop
  strings, for which ``generate_batch`` itself does not look; weights packed as ours are;
- ``flexlib``, and the same without packed weights.

``tokens`` are those that the completions have: a fixed batch is not paid for what it wastes. The floor,
in the JSON, passes all prompts and takes all tokens at the rates of a full batch, each measured alone.
Written to ``generation.csv`` and ``generation.json``:

    python benchmarks/generation.py --base-model FOLDER --data-dir FOLDER
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import transformers
from transformers import ContinuousBatchingConfig, GenerationConfig

from flexlib import disk, formats, models, paths
from flexlib.config import BenchmarkSettings
from flexlib.generation import decoding
from flexlib.generation.packing import packed
from flexlib.tasks import benchmarks
from flexlib.tasks.benchmarks import Problem

DEFAULT_OUT = paths.MEASURED / "generation.csv"
BENCHMARKS = ("humaneval", "multipl-e-java")
BATCH = 64  # rows, flexlib's default


class Task:
    """The problems of a benchmark, those with the longest prompts first, and the prompts' token ids."""

    def __init__(self, name: str, problems: list[Problem], tokenizer: Any, new: int) -> None:
        self.prompts = {p.task_id: tokenizer(p.prompt)["input_ids"] for p in problems}
        self.problems = sorted(problems, key=lambda p: -len(self.prompts[p.task_id]))
        self.settings = BenchmarkSettings(name, problems[0].language, max_new_tokens=new)
        self.prompt_tokens = sum(map(len, self.prompts.values()))


def fixed_batches(model, tokenizer, task: Task) -> list[dict]:
    completions = []
    for start in range(0, len(task.problems), BATCH):
        batch = [(problem, 0) for problem in task.problems[start : start + BATCH]]
        prompts = [task.prompts[problem.task_id] for problem, _ in batch]
        completions += decoding.complete_batch(
            model, tokenizer, batch, prompts, task.settings, seed=0
        )
    return completions


def flexlib(model, tokenizer, task: Task, pack: bool = True) -> list[dict]:
    work = [(problem, 0) for problem in task.problems]
    with packed(model) if pack else contextlib.nullcontext():
        passes = decoding.complete(model, tokenizer, work, task.prompts, task.settings, 0, BATCH)
        return list(itertools.chain.from_iterable(passes))


def generate_batch(model, tokenizer, task: Task) -> list[dict]:
    """By the manager of which ``generate_batch`` collects the results."""
    ends = sorted(decoding.end_tokens(model, tokenizer))
    wanted = GenerationConfig(
        max_new_tokens=task.settings.max_new_tokens,
        eos_token_id=ends,
        pad_token_id=tokenizer.pad_token_id,
    )
    # Without a GPU it does not see how much memory there is. A block holds 256 tokens.
    size = ContinuousBatchingConfig(
        num_blocks=4 * BATCH, max_batch_tokens=1024, max_requests_per_batch=BATCH
    )
    waiting = {problem.task_id: problem for problem in task.problems}
    completions = []
    with (
        packed(model),
        model.continuous_batching_context_manager(
            generation_config=wanted, continuous_batching_config=size
        ) as manager,
    ):
        for name in waiting:
            manager.add_request(
                task.prompts[name], request_id=name, streaming=True, eos_token_id=ends
            )
        while waiting:
            result = manager.get_result(timeout=60)
            if result is None or result.error:
                raise RuntimeError(f"continuous batching ended: {result and result.error}")
            problem = waiting.get(result.request_id)
            if problem is None:  # cancelled, with a step on its way
                continue
            new = list(result.generated_tokens)
            tail = tokenizer.decode(new[-12:])  # longer than any stop string
            stopped = any(s in tail for s in problem.stop)
            if stopped and not result.is_finished():
                manager.cancel_request(result.request_id)
            if stopped or result.is_finished():
                del waiting[problem.task_id]
                text = tokenizer.decode(new, skip_special_tokens=True)
                text, _ = decoding.cut_at_stop(text, problem.stop)
                completions.append(
                    {"task_id": problem.task_id, "completion": text, "tokens": len(new)}
                )
    return completions


WAYS: dict[str, Callable[..., list[dict]]] = {
    "fixed batches": fixed_batches,
    "generate_batch": generate_batch,
    "flexlib": flexlib,
    "flexlib, weights not packed": lambda *args: flexlib(*args, pack=False),
}


def measure(way: str, model, tokenizer, task: Task) -> tuple[dict[str, Any], dict[str, str]]:
    """A row of the table, and the texts by task."""
    start, busy = time.perf_counter(), time.process_time()
    completions = WAYS[way](model, tokenizer, task)
    seconds, busy = time.perf_counter() - start, time.process_time() - busy
    tokens = sum(c["tokens"] for c in completions)
    row = {
        "benchmark": task.settings.name,
        "way": way,
        "problems": len(completions),
        "prompt_tokens": task.prompt_tokens,
        "tokens": tokens,
        "seconds": round(seconds, 1),
        "processor_seconds": round(busy, 1),
        "tokens_per_second": round(tokens / seconds, 1),
    }
    return row, {c["task_id"]: c["completion"] for c in completions}


def rates(model, tokenizer, task: Task) -> dict[str, float]:
    """What the machine does at best: prompts of the mean length in parts, and steps of a full batch and of
    one row, with as many tokens after them as a completion has on average; the least of some passes."""
    length = task.prompt_tokens // len(task.problems)
    ids = torch.randint(1000, (BATCH, length), generator=torch.Generator().manual_seed(0)).tolist()
    found = {}
    for rows, new in ((BATCH, 60), (1, 60)):
        settings = BenchmarkSettings(task.settings.name, "python", max_new_tokens=new)
        work = [(Problem(str(i), "python", "", "", ()), 0) for i in range(rows)]
        prompts = {problem.task_id: ids[i] for i, (problem, _) in enumerate(work)}
        ticks = [time.perf_counter()]
        # No token of no text ends one.
        with packed(model), mock.patch.object(decoding, "end_tokens", lambda *_: frozenset()):
            for _ in decoding.complete(model, tokenizer, work, prompts, settings, 0, rows):
                ticks.append(time.perf_counter())
        seconds = [after - before for before, after in itertools.pairwise(ticks)]
        parts = len(seconds) - (new - 1)  # before the steps
        found[f"seconds_a_step_{rows}_rows"] = min(seconds[parts:])
        if rows > 1:
            found["prompt_tokens_per_second"] = rows * length / parts / min(seconds[:parts])
    return found


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
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base-model", type=Path, required=True, help="model folder")
    parser.add_argument("--data-dir", type=Path, help="local copy of the benchmarks")
    parser.add_argument("--problems", type=int, default=64, help="the first N of each benchmark")
    parser.add_argument("--max-new-tokens", type=int, default=512)
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS))
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT)
    args = parser.parse_args()
    facts = machine()
    tokenizer = models.load_tokenizer(args.base_model)
    model = models.load_model(args.base_model, "bf16", "cpu")
    facts |= {
        "parameters": sum(p.numel() for p in model.parameters()),
        "max_new_tokens": args.max_new_tokens,
        "batch": BATCH,
        "floor": {},
    }
    rows: list[dict[str, Any]] = []
    for name in BENCHMARKS:
        problems = benchmarks.load_benchmark(name, args.data_dir, args.problems)
        task = Task(name, problems, tokenizer, args.max_new_tokens)
        first: tuple[dict, dict] | None = None
        for way in args.ways:
            row, texts = measure(way, model, tokenizer, task)
            first = first or (row, texts)
            row["times_the_first"] = round(first[0]["seconds"] / row["seconds"], 2)
            row["same_texts"] = sum(texts[task_id] == text for task_id, text in first[1].items())
            rows.append(row)
            print(row, flush=True)
        best = rates(model, tokenizer, task)
        prompts = task.prompt_tokens / best["prompt_tokens_per_second"]
        decoding = row["tokens"] * best[f"seconds_a_step_{BATCH}_rows"] / BATCH
        facts["floor"][name] = {
            key: round(value, 4)
            for key, value in (best | {"prompts": prompts, "decoding": decoding}).items()
        }
        print(facts["floor"][name], flush=True)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    disk.write_atomically(args.out, formats.to_csv(list(rows[0]), rows))
    disk.write_atomically(
        args.out.with_suffix(".json"), (json.dumps(facts, indent=2) + "\n").encode()
    )


if __name__ == "__main__":
    main()
