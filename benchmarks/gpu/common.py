"""What the measurements share: a random model of the true shape, clocks, and the machine's own limits.

Every script takes ``--out DIR`` (where its table goes) and ``--tiny`` (seconds on a CPU: a check of
the script, whose numbers mean nothing).
"""

from __future__ import annotations

import argparse
import csv
import gc
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers import models as tokenizer_models
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from flexlib.study.scale import CODE_LLAMA

TINY = CODE_LLAMA | {
    "vocab_size": 512, "hidden_size": 32, "intermediate_size": 86,
    "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 1024,
}  # fmt: skip


def arguments(description: str) -> argparse.Namespace:
    """The command line of every script; ends with one line where there is no GPU."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--out", type=Path, required=True, help="folder of the tables")
    parser.add_argument("--tiny", action="store_true", help="check the script on a CPU")
    parser.add_argument("--minutes", type=float, default=7.0, help="start nothing new after these")
    args = parser.parse_args()
    args.deadline = time.monotonic() + 60 * args.minutes
    if not args.tiny and not torch.cuda.is_available():
        parser.exit(2, "no CUDA GPU is visible to torch: --tiny checks the script without one\n")
    args.device = "cpu" if args.tiny else "cuda"
    args.out.mkdir(parents=True, exist_ok=True)
    return args


def random_model(tiny: bool, dtype: torch.dtype = torch.bfloat16) -> LlamaForCausalLM:
    """Code Llama's architecture with random weights, on the device that is measured."""
    config = LlamaConfig(**(TINY if tiny else CODE_LLAMA))
    config.bos_token_id, config.eos_token_id = 1, 2
    torch.manual_seed(0)
    default = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device("cpu" if tiny else "cuda"):
            return LlamaForCausalLM(config).eval()
    finally:
        torch.set_default_dtype(default)


def stand_in_tokenizer(model: LlamaForCausalLM) -> PreTrainedTokenizerFast:
    """A tokenizer with the model's vocabulary: the stop strings need texts to look at."""
    words = {f"w{i}": i for i in range(model.config.vocab_size)}
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(tokenizer_models.WordLevel(words, unk_token="w0")),
        bos_token="w1", eos_token="w2", pad_token="w2",
    )  # fmt: skip


def seconds(function: Callable[[], Any], repeats: int) -> float:
    """Median time of a call, once warm."""
    times = []
    for i in range(repeats + 2):
        synchronize()
        start = time.perf_counter()
        function()
        synchronize()
        if i >= 2:
            times.append(time.perf_counter() - start)
    return sorted(times)[len(times) // 2]


def synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def matmul_flops(tiny: bool, dtype: torch.dtype = torch.bfloat16) -> float:
    """Measured peak of matrix multiplication, in operations a second."""
    n, device = (256, "cpu") if tiny else (8192, "cuda")
    a, b = (torch.randn(n, n, device=device, dtype=dtype) for _ in range(2))
    return 2 * n**3 / seconds(lambda: a @ b, 20)


def memory_bandwidth(tiny: bool) -> float:
    """Measured bytes a second of reading and writing memory."""
    n, device = (2**20, "cpu") if tiny else (2**31, "cuda")
    source = torch.empty(n, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * n / seconds(lambda: target.copy_(source), 20)


def peak_memory_gb() -> float:
    """Most memory that was in use since the last call."""
    if not torch.cuda.is_available():
        return float("nan")
    peak = torch.cuda.max_memory_allocated() / 1e9
    gc.collect()  # a Trainer is a circle of references
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    return peak


def write(path: Path, fields: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """A table as CSV, after every row that is added: a script that is stopped leaves what it has."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fields, lineterminator="\n")
        writer.writeheader()
        writer.writerows(
            {k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()} for row in rows
        )
    print(rows[-1], flush=True)


def write_machine(args: argparse.Namespace) -> dict[str, Any]:
    """What was measured on, and its own limits, into ``machine.csv``."""
    import transformers

    facts = {
        "gpu": torch.cuda.get_device_name()
        if args.device == "cuda"
        else "none (check of the script)",
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "matmul_tflops": matmul_flops(args.tiny) / 1e12,
        "bandwidth_gb_s": memory_bandwidth(args.tiny) / 1e9,
    }
    write(args.out / "machine.csv", list(facts), [facts])
    return facts
