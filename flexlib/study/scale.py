"""What the paper's scale costs: bounds, measured speeds, and the hours that follow from them.

The speeds are those of ``benchmarks/gpu``, in ``data/benchmarks/gpu``. Both bounds are physical: training
with a frozen base takes 4 N floating-point operations a token (2 N forward, 2 N for the gradient of
the activations; the third 2 N, for the gradient of the weights, is not computed), and decoding reads
all weights and the whole key-value cache for each step.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from flexlib import paths
from flexlib.config import BEAM_SAMPLING_BATCH
from flexlib.errors import FlexError

if TYPE_CHECKING:
    from flexlib.models.memory import Shape

MEASURED = paths.MEASURED / "gpu"
TRAINING_FIELDS = (
    "setting", "sequences", "tokens_a_step", "seconds_a_step", "tokens_per_second",
    "fraction_of_peak", "peak_memory_gb",
)  # fmt: skip
GENERATION_FIELDS = (
    "setting", "rows", "prompt_tokens", "new_tokens", "seconds_a_step", "tokens_per_second",
    "bound_seconds_a_step", "fraction_of_bound", "peak_memory_gb",
)  # fmt: skip
MERGED_FIELDS = ("model", "precision", "prompts", "max_logit_difference", "changed_tokens", "n")
#: Of Code Llama 7B, which the paper trains: codellama/CodeLlama-7b-hf, config.json.
CODE_LLAMA: dict[str, Any] = {
    "vocab_size": 32016, "hidden_size": 4096, "intermediate_size": 11008,
    "num_hidden_layers": 32, "num_attention_heads": 32, "max_position_embeddings": 16384,
    "tie_word_embeddings": False,
}  # fmt: skip


def code_llama() -> Shape:
    """The sizes of Code Llama 7B."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from flexlib.models import memory

    with torch.device("meta"):
        return memory.shape_of(LlamaForCausalLM(LlamaConfig(**CODE_LLAMA)))


def training_flops(parameters: int, tokens: float) -> float:
    """Floating-point operations of training LoRA on ``tokens`` with the base frozen."""
    return 4 * parameters * tokens


def decoding_bytes(
    weight_bytes: float, cache_bytes_a_token: float, rows: int, tokens: float
) -> float:
    """Bytes that one decoding step must read, with ``tokens`` in the cache of each row."""
    return weight_bytes + rows * tokens * cache_bytes_a_token


def measured(name: str, folder: Path = MEASURED) -> pd.DataFrame | None:
    """A table of ``benchmarks/gpu`` (``training``, ``generation``, ``merged``, ``machine``), or one of
    another folder, as ``adapters`` and ``optimizers`` of `flexlib.paths.MEASURED`; None: not run.

    Raises:
        FlexError: the file is no such table.
    """
    path = Path(folder) / f"{name}.csv"
    if not path.exists():
        return None
    fields = {
        "training": TRAINING_FIELDS,
        "generation": GENERATION_FIELDS,
        "merged": MERGED_FIELDS,
    }.get(name, ())
    table = pd.read_csv(path)
    if missing := set(fields) - set(table.columns):
        raise FlexError(f"{path} lacks {', '.join(sorted(missing))}; run benchmarks/gpu again")
    return table


@dataclass(frozen=True)
class Work:
    """A kind of run of the paper, and how many there are.

    Attributes:
        name: for the table.
        trainings: adapters, each of one seed.
        training_tokens: of one of them.
        decodings: passes over a benchmark.
        problems: of the benchmark.
        rows: completions, or beams, a problem.
        steps: decoding steps a batch; a batch ends with its longest row, so it is the limit.
        at_once: rows that are decoded together; None: as many as the GPU takes.
    """

    name: str
    trainings: int
    training_tokens: int
    decodings: int
    problems: int
    rows: int
    steps: int
    at_once: int | None = None


def paper_work(seeds: int, tokens_a_problem: float) -> list[Work]:
    """All that the paper's rounds take, for ``seeds`` of every trained arm.

    Ten Fourier configurations, plain LoRA with the eight others of its sweep, and round 2's two
    optimisers on APPS are trained; each adapter writes Java as released and HumanEval greedily, and
    those of the Fourier configurations write HumanEval by each of the 15 decodings too (10 beams wide
    on average).
    """
    mbpp = round(374 * 3 * tokens_a_problem)
    apps = 325 * 3 * 512  # problems that are as long as the limit
    adapters = (10 + 9) * seeds
    return [
        Work("train on MBPP", adapters, mbpp, 0, 0, 0, 0),
        Work("train on APPS, two optimisers", 2 * seeds, apps, 0, 0, 0, 0),
        Work("Java, 10 samples", 0, 0, adapters + 2 * seeds, 158, 10, 512),
        Work("HumanEval, greedy", 0, 0, adapters + 2 * seeds, 164, 1, 256),
        Work(
            "HumanEval, 15 beam decodings",
            0,
            0,
            15 * 10 * seeds,
            164,
            10,
            256,
            at_once=10 * BEAM_SAMPLING_BATCH,
        ),
    ]


def projection(
    work: list[Work], training_tokens_per_second: float, rows: int, seconds_a_step: float
) -> pd.DataFrame:
    """Hours of each kind of work: ``name, trainings, training_tokens, decodings, steps, hours``.

    A step with fewer rows is taken to last as long: it has as many kernels to launch and weights to read.

    Args:
        rows: completions or beams that are decoded together.
        seconds_a_step: of one decoding step with so many.
    """
    table = []
    for item in work:
        batches = -(-item.problems * item.rows // (item.at_once or rows)) if item.decodings else 0
        training = item.trainings * item.training_tokens / training_tokens_per_second
        steps = item.decodings * batches * item.steps
        table.append(
            {
                "name": item.name,
                "trainings": item.trainings,
                "training_tokens": item.trainings * item.training_tokens,
                "decodings": item.decodings,
                "steps": steps,
                "hours": (training + steps * seconds_a_step) / 3600,
            }
        )
    return pd.DataFrame(table)
