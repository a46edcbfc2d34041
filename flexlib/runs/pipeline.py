"""One run, read from top to bottom: preflight, then train, generate, grade, and the store.

Work in progress lies in ``.flexlib-work/<run-id>/``. Every stage leaves its result in a file there,
and finds it when it is called again: a killed run goes on where it was. When all are there, the
folder ``result`` moves to the store as a whole. What is computed *from* a run comes after that
(:mod:`flexlib.analysis`).
"""

from __future__ import annotations

import contextlib
import itertools
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flexlib import config as configs
from flexlib import disk, formats, models
from flexlib.config import RunConfig
from flexlib.errors import Busy
from flexlib.models import adapters
from flexlib.runs import preflight, provenance, store
from flexlib.runs.clock import Clock
from flexlib.runs.machine import Machine
from flexlib.runs.preflight import Inputs
from flexlib.training import distributed

Completions = dict[str, list[dict[str, Any]]]  # by benchmark


@dataclass(frozen=True)
class Job:
    """One run in the making: ``config`` is resolved, ``folder`` is that of its work."""

    config: RunConfig
    inputs: Inputs
    machine: Machine
    folder: Path
    bases: models.BaseModels

    @property
    def result(self) -> Path:
        """The folder that becomes the stored run."""
        return self.folder / "result"

    @property
    def device(self) -> str:
        return models.pick_device(self.machine.device)


def run(config: RunConfig, machine: Machine, bases: models.BaseModels | None = None) -> Path:
    """Make one run, or find it in the store; returns its folder.

    Called by several processes that were launched together, it trains in all of them, and the main one
    does the rest.

    Args:
        bases: keeps the base model loaded from one call to the next.

    Raises:
        Busy: another process is at it.
        FlexError: bad input, no space, too little memory, a missing toolchain; what was done so far is
            kept, and the next call goes on from there.
    """
    distributed.join(models.pick_device(machine.device))
    config, inputs = preflight.resolve(config, machine)
    run_id = configs.run_id(configs.to_dict(config))
    work, stored = machine.work_dir / run_id, machine.store / run_id
    job = Job(config, inputs, machine, work, bases or models.BaseModels())
    if not distributed.is_main():
        if not distributed.follow(lambda: train(job)):
            raise Busy(f"another process is making run {run_id}; wait for it")
        return stored
    with distributed.lead() as call_others:
        if not store.has(machine.store, run_id):
            with disk.full_disk_is_an_error(machine.work_dir), locked(machine.work_dir, run_id):
                if not store.has(machine.store, run_id):  # another process may just have finished
                    make(job, call_others)
                    store.save(machine.store, run_id, job.result)
        shutil.rmtree(work, ignore_errors=True)  # also what a process left that was killed here
    return stored


def forget(config: RunConfig, machine: Machine) -> None:
    """Remove the unfinished work of a run, so that it is made from the beginning.

    Args:
        config: as :func:`flexlib.runs.preflight.resolve` returns it.

    Raises:
        Busy: another process is at it.
    """
    run_id = configs.run_id(configs.to_dict(config))
    if (machine.work_dir / run_id).exists():
        with locked(machine.work_dir, run_id):
            shutil.rmtree(machine.work_dir / run_id, ignore_errors=True)


def make(job: Job, call_others: Callable[[], None] = lambda: None) -> None:
    """Fill ``job.result`` with the files of a run; ``call_others`` makes the processes train that were
    launched together with this one."""
    preflight.check(job.config, job.inputs, job.machine)
    job.result.mkdir(parents=True, exist_ok=True)
    clock = Clock.load(job.folder / "clock.json")
    described = configs.to_dict(job.config)
    disk.write_atomically(job.result / "config.json", formats.to_json(described))
    if job.config.training and not (job.result / "adapter").exists():
        twin = store.trained_alike(job.machine.store, described)
        disk.write_atomically(job.folder / "adapter-from", (twin.name if twin else "").encode())
        if twin:
            _adopt(twin, job)
        else:
            call_others()
            with clock.stage("train"):
                train(job)
    if job.machine.adapter:
        adapters.copy(job.machine.adapter, job.result / "adapter")
    with clock.stage("generate"):
        completions = generate(job)
    with clock.stage("grade"):
        grade(job, completions)
    facts = provenance.of_run(job.config, job.machine, job.device) | clock.facts()
    # The run that this one's adapter was trained in, if it was not in this one.
    adopted = job.folder / "adapter-from"
    facts["adapter_from"] = (adopted.read_text() if adopted.exists() else "") or None
    if facts["adapter_from"]:
        facts["arithmetic"].pop("training", None)  # that run says how it was trained
    disk.write_atomically(job.result / "provenance.json", formats.to_json(facts))


def train(job: Job) -> None:
    """Train the adapter: ``adapter/`` and ``training.csv``."""
    from flexlib.models import memory, speed
    from flexlib.training import trainer

    (settings, adapter), machine = job.config.method(), job.machine
    # Sharding replaces the weights of the model that it was given.
    spoils = configs.ADAPTERS[adapter.kind].changes_base or distributed.is_sharded()
    checkpointing = preflight.checkpointing(job.config, job.inputs, machine)
    base, attention = job.inputs.base, machine.attention
    arithmetic = speed.arithmetic(settings.precision, job.device)
    sequences, _ = trainer.microbatches(settings, job.device, machine.microbatch)
    with (
        memory.enough(memory.training_remedy(sequences, checkpointing=checkpointing)),
        job.bases.lend(
            base, settings.precision, job.device, attention, spoils=spoils, arithmetic=arithmetic
        ) as model,
    ):
        trainer.train(
            job.config,
            base,
            job.inputs.records,
            job.result,
            checkpoints=job.folder / "checkpoints",
            device=job.device,
            microbatch=machine.microbatch,
            progress=machine.progress,
            model=model,
            arithmetic=arithmetic,
            checkpointing=checkpointing,
            compiled=machine.compile,
        )


def generate(job: Job) -> Completions:
    """Complete every benchmark, through ``completions-<benchmark>.jsonl`` in the work folder."""
    tokenizer = models.load_tokenizer(job.inputs.base)
    problems = preflight.asked(job.config, job.inputs, tokenizer)
    completions: Completions = {}
    # Neighbours that are decoded with the same weights share a model.
    for _, group in itertools.groupby(job.config.benchmarks, _weights):
        completions |= _complete(job, tokenizer, problems, list(group))
    return completions


def grade(job: Job, completions: Completions) -> None:
    """Judge every completion: the files of answers and ``verdicts-<benchmark>.csv``."""
    from flexlib.grading.completions import grade_completions

    for settings in job.config.benchmarks:
        name, verdicts = settings.name, job.result / f"verdicts-{settings.name}.csv"
        if verdicts.exists():
            continue
        problems, programs = job.inputs.problems[name], completions[name]
        rows = grade_completions(problems, programs, settings, **job.machine.grading)
        stored = job.result / store.completions_name(name)
        disk.write_atomically(stored, formats.to_jsonl_gz(programs))
        disk.write_atomically(verdicts, formats.to_csv(formats.VERDICT_FIELDS, rows))


def locked(work_dir: Path, run_id: str) -> contextlib.AbstractContextManager[None]:
    """Hold a run's lock. Raises: Busy, if another process has it."""
    busy = f"another process is making run {run_id}; wait for it"
    return disk.lock(work_dir / f"{run_id}.lock", busy)


def _adopt(twin: Path, job: Job) -> None:
    """Take the adapter of a stored run that was trained in the same way, to decode with: the store does not
    keep it twice."""
    shutil.copy(twin / "training.csv", job.result)
    with disk.folder_atomically(job.result / "adapter") as folder:
        shutil.copytree(twin / "adapter", folder, dirs_exist_ok=True)


def _weights(settings: configs.BenchmarkSettings) -> tuple[configs.Precision, bool]:
    return settings.precision, settings.merge_adapter


def _complete(
    job: Job, tokenizer: Any, problems: dict[str, Any], group: list[configs.BenchmarkSettings]
) -> Completions:
    """The completions of benchmarks that are decoded with the same weights."""
    from flexlib.generation.decoding import generate
    from flexlib.models import memory, speed

    machine, (precision, merge) = job.machine, _weights(group[0])
    foreign = job.config.adapter_digest is not None
    adapter = job.result / "adapter" if job.config.training or foreign else None
    base, attention = job.inputs.base, machine.attention
    arithmetic = speed.arithmetic(precision, job.device, merged=merge)
    with (
        memory.enough(memory.generation_remedy(group, machine.generation_batch)),
        # An adapter from elsewhere may change more than it takes with it, such as embeddings or biases.
        job.bases.lend(
            base,
            precision,
            job.device,
            attention,
            adapter,
            merge=merge,
            spoils=foreign,
            arithmetic=arithmetic,
        ) as model,
    ):
        return {
            settings.name: generate(
                model,
                tokenizer,
                problems[settings.name],
                settings,
                job.folder / f"completions-{settings.name}.jsonl",
                seed=job.config.seed,
                batch_size=machine.generation_batch,
                static_cache=machine.compile and job.device == "cuda" and not settings.num_beams,
                progress=machine.progress,
                description=f"generate {settings.name}",
            )
            for settings in group
        }
