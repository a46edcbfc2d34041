"""What the penalty costs at the size of Code Llama 7B, beside the dense transform of each update.

    python benchmarks/fourier.py [--device cuda] [--threads 1] [--rounds 5] [--out FILE]

64 adapters of 4096 x 4096 with rank 8, as FLeX has on q_proj and v_proj; float32. Every way computes
the penalty and its gradient with respect to all factors, in one process, round by round in turn; the
median counts.

- ``delta``: `flexlib.training.fourier`, all adapters in one graph, as in training
- ``factor``: the same for the factor form
- ``dense``: dW = s B A and its two-dimensional real transform, one adapter at a time with its
  backward pass, so that only one is held; measured on ``--dense`` adapters and scaled to all

Memory is the peak above what the factors and their gradients take: allocated by torch on a GPU; on a CPU the
growth of the resident set, measured in a fresh process for each way. ``dense`` holds one
adapter at a time, so its memory is not scaled; ``delta, one at a time`` is the like of it.

With ``--step``, a training step of the shape given by ``--base-model`` (default: Code Llama 7B's,
random weights, bf16, batch 4 x 512; 14 GB) is timed with and without the penalty.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import multiprocessing
import os
import platform
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from flexlib import paths
from flexlib.config import RegularizerSettings
from flexlib.training import fourier
from flexlib.training.fourier import Factors

DEFAULT_OUT = paths.MEASURED / "fourier.csv"
MODULES, SIZE, RANK = 64, 4096, 8
DELTA = RegularizerSettings("delta", low_weight=0.1, high_weight=1.0)
FACTOR = RegularizerSettings("factor", low_weight=0.1, high_weight=1.0)


def adapters(count: int, device: str) -> list[Factors]:
    rng = torch.Generator().manual_seed(0)
    return [
        Factors(
            f"layers.{i}",
            torch.randn(RANK, SIZE, generator=rng).mul(0.01).to(device).requires_grad_(),
            torch.randn(SIZE, RANK, generator=rng).mul(0.01).to(device).requires_grad_(),
            2.0,
        )
        for i in range(count)
    ]


def dense_penalty(f: Factors, s: RegularizerSettings) -> torch.Tensor:
    """The definition of the delta form: rectangular bands of the half transform of the whole dW."""
    spectrum = torch.fft.rfft2(f.scaling * f.B @ f.A, norm="ortho")
    u = torch.as_tensor(fourier.frequencies(SIZE) <= s.threshold, device=f.A.device)
    low = u[:, None] & u[None, : SIZE // 2 + 1]
    weights = torch.where(low, s.low_weight, s.high_weight)
    weights[:, 1 : (SIZE + 1) // 2] *= 2  # bins that stand for their conjugates too
    return (weights * torch.view_as_real(spectrum).square().sum(-1)).sum()


def one_graph(settings: RegularizerSettings) -> Callable[[list[Factors]], float]:
    def work(factors: list[Factors]) -> float:
        total = fourier.penalty(settings, factors)
        total.backward()
        return total.item()

    return work


def one_at_a_time(factors: list[Factors]) -> float:
    return sum(one_graph(DELTA)([f]) for f in factors)


def dense(factors: list[Factors]) -> float:
    total = 0.0
    for f in factors:
        value = dense_penalty(f, DELTA)
        value.backward()
        total += value.item()
    return total


WAYS: dict[str, Callable[[list[Factors]], float]] = {
    "delta": one_graph(DELTA),
    "delta, one at a time": one_at_a_time,
    "factor": one_graph(FACTOR),
    "dense": dense,
}


def milliseconds(work: Callable[[list[Factors]], float], factors: list[Factors]) -> float:
    """Factors keep their gradients, so that none is allocated anew. One thread's time on a CPU is that
    which it got, so that other work on the machine does not count."""
    alone = torch.get_num_threads() == 1 and not factors[0].A.is_cuda
    clock = time.process_time if alone else time.perf_counter
    _synchronize(factors)
    start = clock()
    work(factors)
    _synchronize(factors)
    return 1000 * (clock() - start)


def _synchronize(factors: list[Factors]) -> None:
    if factors[0].A.is_cuda:
        torch.cuda.synchronize()


# --- memory -------------------------------------------------------------------------------------


def peak_mib(way: str, count: int, device: str, threads: int) -> float:
    """Peak memory of one way beyond factors and gradients, in MiB."""
    # glibc reads this at the start of a process: what is freed goes back at once, so that the resident
    # set shows what is held.
    os.environ["MALLOC_MMAP_THRESHOLD_"] = "65536"
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(_peak, (way, count, device, threads))


def _peak(way: str, count: int, device: str, threads: int) -> float:
    torch.set_num_threads(threads)
    factors = adapters(count, device)
    for f in factors:
        f.A.grad, f.B.grad = torch.zeros_like(f.A), torch.zeros_like(f.B)
    WAYS["delta"](factors[:1])  # libraries load and start their threads
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        WAYS[way](factors)
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    with _watched() as peak:
        WAYS[way](factors)
    return peak[0]


@contextlib.contextmanager
def _watched() -> Iterator[list[float]]:
    """Growth of the resident set while the block runs, in MiB, looked at every 0.2 ms."""

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    before, peak, done = resident(), [0.0], threading.Event()

    def watch() -> None:
        while not done.is_set():
            peak[0] = max(peak[0], (resident() - before) / 2**20)
            time.sleep(0.0002)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield peak
    finally:
        done.set()
        watcher.join()


# --- a training step ----------------------------------------------------------------------------


def training_step(base: str | None, device: str, batch: int, length: int, rounds: int) -> dict:
    """Milliseconds of forward, backward and update of LoRA on q_proj and v_proj, and of the penalty."""
    import peft
    from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig

    shape = AutoConfig.from_pretrained(base) if base else LlamaConfig(vocab_size=32016)
    with torch.device(device):
        dtype = torch.bfloat16 if device == "cuda" else torch.float32
        model = AutoModelForCausalLM.from_config(shape, dtype=dtype)
    lora = peft.LoraConfig(r=RANK, lora_alpha=16, target_modules=["q_proj", "v_proj"])
    model = peft.get_peft_model(model, lora).train()
    factors = fourier.lora_factors(model)
    optimizer = torch.optim.AdamW([m for f in factors for m in (f.A, f.B)], lr=2e-4, fused=True)
    ids = torch.randint(shape.vocab_size, (batch, length), device=device)
    times: dict[str, list[float]] = {}

    def step(regularizer: fourier.Regularizer | None) -> float:
        loss = model(input_ids=ids, labels=ids).loss
        (loss if regularizer is None else loss + regularizer()).backward()
        optimizer.step()
        optimizer.zero_grad()
        return 0.0

    ways = {
        "step, delta": fourier.Regularizer(DELTA, factors),
        "step, factor": fourier.Regularizer(FACTOR, factors),
    }
    for i in range(rounds + 2):
        for name, regularizer in {"step": None, **ways}.items():
            elapsed = milliseconds(lambda _, r=regularizer: step(r), factors)
            times.setdefault(name, []).extend([elapsed] if i >= 2 else [])
        for name, regularizer in ways.items():  # by itself, which is less noisy than a difference
            elapsed = milliseconds(lambda _, r=regularizer: r().backward() or 0.0, factors)
            times.setdefault(name.removeprefix("step, "), []).extend([elapsed] if i >= 2 else [])
        optimizer.zero_grad()
    return {name: statistics.median(values) for name, values in times.items()}


# --- the table ----------------------------------------------------------------------------------


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dense", type=int, help="adapters that dense is measured on")
    parser.add_argument("--step", action="store_true", help="time a training step too")
    parser.add_argument("--base-model", help="folder or id whose shape the step has")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    some = args.dense or (MODULES if args.device == "cuda" else 2)

    factors = adapters(MODULES, args.device)
    agree = one_graph(DELTA)(factors[:1]) / dense(factors[:1])
    if abs(agree - 1) > 1e-4:
        raise SystemExit(f"delta and dense disagree: ratio {agree}")
    times: dict[str, list[float]] = {way: [] for way in WAYS}
    for i in range(args.rounds + 1):
        for way, work in WAYS.items():
            chosen = factors[:some] if way == "dense" else factors
            elapsed = milliseconds(work, chosen) * MODULES / len(chosen)
            times[way] += [elapsed] if i else []  # the first round warms up
    rows = []
    processor = torch.cuda.get_device_name() if args.device == "cuda" else _processor()
    common = {"device": processor, "threads": args.threads if args.device == "cpu" else ""}
    for way in WAYS:
        count = some if way == "dense" else MODULES
        row = {
            "way": way,
            "adapters": MODULES,
            "measured_on": count,
            "ms": statistics.median(times[way]),
            "peak_mib": peak_mib(way, count, args.device, args.threads),
        }
        rows.append(common | row)
    reference = rows[-1]
    for row in rows:
        row["times_less_time"] = reference["ms"] / row["ms"]
        row["times_less_memory"] = reference["peak_mib"] / row["peak_mib"]
    if args.step:
        found = training_step(args.base_model, args.device, args.batch, args.length, args.rounds)
        name = Path(args.base_model).name if args.base_model else "Code Llama 7B"
        for way, ms in found.items():
            label = f"{way} ({name}, {args.batch} x {args.length})"
            share = ms / found["step"] if way in ("delta", "factor") else None
            rows.append(common | {"way": label, "ms": ms, "share_of_step": share})
    _write(args.out, rows)
    for row in rows:
        print({k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()})


FIELDS = (
    *("device", "threads", "way", "adapters", "measured_on", "ms", "peak_mib"),
    *("times_less_time", "times_less_memory", "share_of_step"),
)


def _write(path: Path, rows: list[dict]) -> None:
    """Replace the rows of this device, keep those of others."""
    kept = []
    if path.exists():
        with path.open(newline="") as file:
            kept = [r for r in csv.DictReader(file) if r["device"] != rows[0]["device"]]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        writer.writeheader()
        for row in [*kept, *rows]:
            writer.writerow({k: f"{v:.4g}" if isinstance(v, float) else v for k, v in row.items()})


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


if __name__ == "__main__":
    main()
