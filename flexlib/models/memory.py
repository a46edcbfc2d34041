"""How much memory a run needs, told before its weights are loaded.

The parameters are counted on a model without weights. Activations are estimated: per token and layer
``17 d + 6 f`` bytes for a Llama block of width ``d`` and feed-forward width ``f`` in half precision, and 6
bytes an input feature for each linear layer with LoRA, whose fp32 branch keeps its dropped-out input.
The coefficients were fitted to what autograd saves (tests hold the estimate against it).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from flexlib.config import (
    ADAPTERS,
    BEAM_SAMPLING_BATCH,
    Adapter,
    BenchmarkSettings,
    TrainingSettings,
)
from flexlib.errors import FlexError

GB = 1e9
_HALF = 2  # bytes a parameter in bf16 and fp16
_ADAM = 16  # bytes a trained parameter: fp32 weight, gradient and two moments
_OVERHEAD = 1.5 * GB  # CUDA context, workspaces, fragmentation
_TOO_LARGE_FOR_A_CPU = 1.5e9  # parameters; a run of a model of this size takes days there
SMALLER = "a smaller model such as --set base_model=Qwen/Qwen2.5-Coder-0.5B"


@dataclass(frozen=True)
class Shape:
    """The sizes of a decoder that memory depends on.

    Attributes:
        parameters: of the base model.
        layers, width, feedforward: number of blocks, ``d`` and ``f``.
        key_value: numbers that a token leaves in the cache of a layer.
        vocabulary: words.
        linear: input and output features of the linear layers of a block, by name.
    """

    parameters: int
    layers: int
    width: int
    feedforward: int
    key_value: int
    vocabulary: int
    linear: dict[str, tuple[int, int]]


def shape_of(model: PreTrainedModel) -> Shape:
    """The sizes of a model, with weights or on the meta device.

    Raises:
        FlexError: it is no transformer of text alone.
    """
    config = model.config
    heads = getattr(config, "num_attention_heads", None)
    if not isinstance(heads, int):  # recurrent, or of text and images
        raise FlexError(
            f"a model of type {config.model_type} is no transformer of text alone; take one that is"
        )
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // heads
    return Shape(
        parameters=sum(p.numel() for p in model.parameters()),
        layers=config.num_hidden_layers,
        width=config.hidden_size,
        # GPT-2's configuration has another name for it, which may be empty.
        feedforward=getattr(config, "intermediate_size", None)
        or getattr(config, "n_inner", None)
        or 4 * config.hidden_size,
        key_value=2 * (getattr(config, "num_key_value_heads", None) or heads) * head_dim,
        vocabulary=config.vocab_size,
        linear={
            name.rpartition(".")[2]: (module.in_features, module.out_features)
            for name, module in model.named_modules()
            if isinstance(module, torch.nn.Linear) and ".layers.0." in f".{name}."
        },
    )


def training_bytes(
    shape: Shape,
    training: TrainingSettings,
    adapter: Adapter,
    *,
    sequences: int,
    checkpointing: bool,
) -> int:
    """Peak of training with the base frozen, for ``sequences`` of the full length in one pass."""
    width = 4 if training.precision == "fp32" else _HALF
    inputs = sum(n for n, _ in _adapted(shape, adapter))
    block = 17 * shape.width + 6 * shape.feedforward + 6 * inputs
    block = block * width // _HALF
    if checkpointing:  # the inputs of every block, and one block computed again
        kept = shape.layers * shape.width * width + block
    else:
        kept = shape.layers * block
    tokens = sequences * training.max_length
    logits = 3 * 4 * min(tokens, 512) * shape.vocabulary  # see flexlib.training.loss
    trained = trained_parameters(shape, adapter)
    return int(shape.parameters * width + trained * _ADAM + tokens * kept + logits + _OVERHEAD)


def trained_parameters(shape: Shape, adapter: Adapter) -> int:
    """How many numbers are trained, roughly; of the kinds without a rank so few that they do not count."""
    if ADAPTERS[adapter.kind].peft is None:
        return shape.parameters
    rank = getattr(adapter, "rank", 0)
    return shape.layers * sum(rank * (n + m) for n, m in _adapted(shape, adapter))


def _adapted(shape: Shape, adapter: Adapter) -> list[tuple[int, int]]:
    """Input and output features of the layers of a block that get an adapter."""
    targets = getattr(adapter, "target_modules", ())
    return [shape.linear[name] for name in targets if name in shape.linear]


def generation_bytes(shape: Shape, settings: BenchmarkSettings, rows: int, prompt: int) -> int:
    """Peak of decoding ``rows`` (completions or beams) together, with prompts of ``prompt`` tokens."""
    width = 4 if settings.precision == "fp32" else _HALF
    tokens = prompt + settings.max_new_tokens
    cache = rows * tokens * shape.layers * shape.key_value * width
    logits = rows * shape.vocabulary * (8 + 8 + 4)  # fp64 softmax and sum of the sampler, fp32
    return int(shape.parameters * width + cache + logits + _OVERHEAD)


def available() -> int:
    """Bytes of the GPU's memory that this process can use."""
    free, _ = torch.cuda.mem_get_info()
    return free + torch.cuda.memory_reserved()


def check_device(shape: Shape, device: str, *, asked_for: bool) -> None:
    """Refuse to start on a CPU, unless asked to, what would take days there.

    Raises:
        FlexError: the model is too large for a CPU.
    """
    if device == "cpu" and not asked_for and shape.parameters > _TOO_LARGE_FOR_A_CPU:
        raise FlexError(
            f"no CUDA GPU is visible to torch, and a model of {shape.parameters / 1e9:.1f} billion "
            f"parameters takes days on a CPU: use a GPU, {SMALLER}, or insist by --device cpu"
        )


def plan_training(
    shape: Shape,
    training: TrainingSettings,
    adapter: Adapter,
    *,
    sequences: int,
    memory: int,
    checkpointing: bool | None = None,
) -> bool:
    """Whether to checkpoint gradients: as asked, else only if memory needs it.

    Raises:
        FlexError: it does not fit either way; says how much is needed and what would fit.
    """

    def needed(sequences: int, checkpointing: bool) -> int:
        return training_bytes(
            shape, training, adapter, sequences=sequences, checkpointing=checkpointing
        )

    for choice in [checkpointing] if checkpointing is not None else [False, True]:
        if needed(sequences, choice) <= memory:
            return choice
    problem = (
        f"training needs about {needed(sequences, choice) / GB:.0f} GB of memory and "
        f"{memory / GB:.0f} GB are free"
    )
    if not choice and needed(sequences, True) <= memory:
        raise FlexError(f"{problem}: leave out --no-gradient-checkpointing")
    for fewer in (2, 1):
        if fewer < sequences and needed(fewer, True) <= memory:
            raise FlexError(f"{problem}: --microbatch {fewer} would fit")
    raise FlexError(
        f"{problem}: use a larger GPU, for an arm without a penalty several with FSDP, or {SMALLER}"
    )


def check_generation(
    shape: Shape, benchmarks: Sequence[tuple[BenchmarkSettings, int]], rows: int, memory: int
) -> None:
    """See that ``rows`` fit together, for each benchmark and the tokens of its longest prompt. Beam
    sampling has batches of its own.

    Raises:
        FlexError: they do not; says how many would.
    """
    for settings, prompt in benchmarks:
        beams = settings.num_beams or 0
        fixed = beams > 0 and settings.temperature > 0
        together = BEAM_SAMPLING_BATCH * beams if fixed else rows
        needed = generation_bytes(shape, settings, together, prompt)
        if needed <= memory:
            continue
        problem = (
            f"writing {settings.name} needs about {needed / GB:.0f} GB of memory and "
            f"{memory / GB:.0f} GB are free"
        )
        # Plain beam search has the beams of one problem at least.
        fewer, least = together, together if fixed else max(1, beams)
        while fewer > least and generation_bytes(shape, settings, fewer, prompt) > memory:
            fewer = max(least, fewer // 2)
        if generation_bytes(shape, settings, fewer, prompt) <= memory:
            raise FlexError(f"{problem}: --generation-batch {fewer} would fit")
        raise FlexError(f"{problem}: use a larger GPU, or {SMALLER}")


@contextlib.contextmanager
def enough(remedy: str) -> Iterator[None]:
    """Turn an estimate that was wrong into a FlexError that names the remedy."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise FlexError(
            f"the GPU's memory did not last: {remedy}; the work so far is kept"
        ) from error


def training_remedy(sequences: int, *, checkpointing: bool) -> str:
    """What saves memory in training, given how many sequences it passes at once."""
    if sequences > 1:
        return "give a smaller --microbatch"
    return f"use a larger GPU, or {SMALLER}" if checkpointing else "give --gradient-checkpointing"


def generation_remedy(benchmarks: Sequence[BenchmarkSettings], rows: int) -> str:
    """What saves memory in generation of so many rows at once; beam sampling has batches of its own."""
    if rows == 1 or any(b.num_beams and b.temperature > 0 for b in benchmarks):
        return f"use a larger GPU, or {SMALLER}"
    return "give a smaller --generation-batch"
