"""All that can fail early, before anything is trained.

:func:`resolve` finds and loads what the configuration names, smallest first: training set, benchmarks,
the model's configuration, its weights. Their digests complete the configuration, which is its identity.
:func:`check` then sees that the rest of the way is open: settings that go together, toolchains, memory.
A run that is in the store already needs the first only.
"""

from __future__ import annotations

import dataclasses
import functools
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flexlib import formats, models
from flexlib.config import DataSettings, RunConfig
from flexlib.errors import FlexError
from flexlib.models import adapters
from flexlib.runs import doctor
from flexlib.runs.machine import Machine
from flexlib.tasks import answers, benchmarks, training_sets, transforms
from flexlib.tasks.benchmarks import Problem
from flexlib.tasks.training_sets import Record
from flexlib.training import distributed

_WORTH_A_WARNING = 1e8  # parameters: smaller models are quick on any CPU


@dataclass(frozen=True)
class Inputs:
    """What a run reads, loaded."""

    base: Path
    records: dict[str, list[Record]]  # by split; empty if nothing is trained
    problems: dict[str, list[Problem]]  # by benchmark


def resolve(config: RunConfig, machine: Machine) -> tuple[RunConfig, Inputs]:
    """Load what the configuration names, and put the digests of it into the configuration.

    Raises:
        FlexError: a model, data set or benchmark is missing or damaged, the model does not go with
            the device, with ``adapter.target_modules`` or with the machine's adapter, the optimiser does not
            go with what is trained, or an adapter is given to an arm that trains one.
    """
    if config.training and machine.adapter:
        raise FlexError(
            f"arm {config.arm!r} trains an adapter of its own, whose place {machine.adapter} would take; "
            "run a given adapter with an arm that does not train, such as base"
        )
    records, training = {}, config.training
    if training:
        records = _records(config, machine)
        training = dataclasses.replace(training, digest=training_sets.digest(records))
    problems = {
        b.name: benchmarks.load_benchmark(b.name, machine.data_dir, config.limit)
        for b in config.benchmarks
    }
    base = models.locate(
        config.base_model,
        revision=config.base_revision,
        file=config.base_file,
        sha256=config.base_sha256,
        folder=machine.base_model,
        before_weights=lambda folder: _check_model(config, machine, folder),
    )
    resolved = dataclasses.replace(
        config,
        base_digest=models.digest(base),
        adapter_digest=adapters.digest(machine.adapter) if machine.adapter else None,
        training=training,
        benchmarks=tuple(
            dataclasses.replace(b, digest=problems_digest(problems[b.name]))
            for b in config.benchmarks
        ),
    )
    return resolved, Inputs(base, records, problems)


def _records(config: RunConfig, machine: Machine) -> dict[str, list[Record]]:
    """The training set, by split, after what the configuration says is to become of it."""
    training, _ = config.method()
    data = config.data or DataSettings()
    train, validation = (
        training_sets.load_records(training.dataset, split, machine.data_dir)
        for split in ("train", "validation")
    )
    seed = config.seed if data.subset_seed is None else data.subset_seed
    train = transforms.subset(train[: training.train_limit], data.size, seed)
    train = transforms.transformed(train, data.transform, config.seed, data.share)
    return {"train": train, "validation": validation}


def problems_digest(problems: Sequence[Problem]) -> str:
    """sha256 of a benchmark's problems, in order."""
    return formats.digest_of([dataclasses.asdict(p) for p in problems])


def check(config: RunConfig, inputs: Inputs, machine: Machine) -> None:
    """See that nothing that can be known now stops the run later.

    Raises:
        FlexError: a setting of the arm is to be tuned first, a language cannot be graded here, the model
            cannot be asked in the way that the configuration says, the batch cannot be cut as the machine
            wants it, a package is missing, or the memory does not suffice.
    """
    if config.training:
        _check_training(config, machine)
    for language in sorted({b.language for b in config.benchmarks}):
        found = doctor.check_language(language, unsafe_no_sandbox=machine.unsafe_no_sandbox)
        if not found.ok:
            raise FlexError(f"cannot grade {language} here: {found.detail}; {found.remedy}")
    tokenizer = models.load_tokenizer(inputs.base)
    prompts = asked(config, inputs, tokenizer)
    if models.pick_device(machine.device) == "cuda":
        _check_memory(config, inputs, machine, tokenizer, prompts)


def asked(config: RunConfig, inputs: Inputs, tokenizer: Any) -> dict[str, list[Problem]]:
    """The problems of each benchmark with the prompts that the model gets.

    Raises:
        FlexError: decoding settings that do not go together; a chat with a model that knows none.
    """
    from flexlib.generation import decoding

    for settings in config.benchmarks:
        decoding.check(settings)
    return {b.name: answers.asked(inputs.problems[b.name], b, tokenizer) for b in config.benchmarks}


def checkpointing(config: RunConfig, inputs: Inputs, machine: Machine) -> bool:
    """Whether training computes activations again in the backward pass, to save memory.

    Raises:
        FlexError: training does not fit into the GPU's memory either way.
    """
    from flexlib.models import memory

    if models.pick_device(machine.device) != "cuda" or distributed.is_sharded():
        return bool(machine.gradient_checkpointing)
    training, adapter = config.method()
    share = max(1, training.batch_size // distributed.processes())
    return memory.plan_training(
        memory.shape_of(models.skeleton(inputs.base)),
        training,
        adapter,
        sequences=min(machine.microbatch or share, share),
        memory=memory.available(),
        checkpointing=machine.gradient_checkpointing,
    )


def _check_training(config: RunConfig, machine: Machine) -> None:
    """That the settings of training go with each other and with the machine."""
    from flexlib.training import fourier, trainer
    from flexlib.training.optimizers import optimizer_class

    if config.untuned:
        raise FlexError(
            f"arm {config.arm!r} is not tuned for profile {config.profile}: find its best "
            f"{' and '.join(config.untuned)} with `flexlib tune --arm {config.arm} --profile "
            f"{config.profile}` and write it into the profile, or name one with --set"
        )
    training, _ = config.method()
    trainer.microbatches(training, models.pick_device(machine.device), machine.microbatch)
    optimizer_class(config)
    if config.regularizer:
        fourier.check(config.regularizer)
        if distributed.is_sharded():  # which replaces the factors that the penalty was given
            raise FlexError(
                f"arm {config.arm!r} has a penalty, which FSDP would leave without effect; train it with "
                "several processes that hold the whole model (accelerate without --use_fsdp), or on one GPU"
            )


def _check_memory(
    config: RunConfig,
    inputs: Inputs,
    machine: Machine,
    tokenizer: Any,
    prompts: dict[str, list[Problem]],
) -> None:
    from flexlib.generation.decoding import prompt_ids
    from flexlib.models import memory

    if config.training:
        checkpointing(config, inputs, machine)
    longest = [
        (b, max(len(prompt_ids(p.prompt, b, tokenizer)) for p in prompts[b.name]))
        for b in config.benchmarks
    ]
    shape = memory.shape_of(models.skeleton(inputs.base))
    memory.check_generation(shape, longest, machine.generation_batch, memory.available())


def _check_model(config: RunConfig, machine: Machine, folder: Path) -> None:
    """What can be known before the weights are there."""
    from flexlib.models import memory
    from flexlib.training.optimizers import check_fit

    model = models.skeleton(folder)
    shape = memory.shape_of(model)
    if config.adapter:
        trained = adapters.check(model, config.adapter)
        if config.training:
            check_fit(config, trained)
    if machine.adapter:
        merge = any(b.merge_adapter for b in config.benchmarks)
        adapters.check_stored(models.skeleton(folder), machine.adapter, merge=merge)
    device = models.pick_device(machine.device)
    memory.check_device(shape, device, asked_for=machine.device is not None)
    in_bf16 = [s.precision == "bf16" for s in (config.training, *config.benchmarks) if s]
    if device == "cpu" and any(in_bf16) and shape.parameters > _WORTH_A_WARNING:
        _warn_of_bf16()


@functools.cache  # once a process, however many runs it makes
def _warn_of_bf16() -> None:
    from flexlib.models import speed

    used = speed.arithmetic("bf16", "cpu")
    if used != "bf16":
        rate = speed.matmul_rate(used)
        print(
            "flexlib: this CPU does not multiply bf16; weights are rounded to it and the run computes in "
            f"{used} ({rate / 1e9:.0f} GFLOP/s): training and decoding a model of 0.5 billion parameters "
            f"takes about {speed.arm_minutes(rate) / 60:.1f} hours an arm",
            file=sys.stderr,
        )
