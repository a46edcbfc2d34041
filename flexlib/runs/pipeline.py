"""One run: config -> data -> train -> generate -> grade -> store; and many runs, and regrading.

Work in progress lies in ``.flexlib-work/<run-id>/`` and moves to the store when it is whole. Every
stage leaves its result in a file there, so that a killed run goes on where it was.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flexlib import config as configs
from flexlib import models
from flexlib.config import BenchmarkSettings, RunConfig
from flexlib.errors import FlexError
from flexlib.runs import doctor, provenance, store
from flexlib.tasks import answers, benchmarks, data, sources
from flexlib.tasks.benchmarks import Problem
from flexlib.training import distributed

WORK_DIR = store.ROOT / ".flexlib-work"
_STORE = store.DEFAULT
_WORTH_A_WARNING = 1e8  # parameters: smaller models are quick on any CPU


@dataclass(frozen=True)
class Machine:
    """Where a run happens: nothing here may change a result beyond rounding."""

    store: Path = _STORE
    work_dir: Path = WORK_DIR
    base_model: Path | None = None  # a local copy of the configuration's base model
    data_dir: Path | None = None  # a local copy of the benchmarks and training sets
    device: str | None = None  # cpu or cuda; None: a GPU where there is one
    microbatch: int | None = None  # sequences a forward pass in training
    gradient_checkpointing: bool | None = None  # None: where memory needs it
    compile: bool = False  # training and, with a cache of fixed size, generation by torch.compile
    attention: str | None = None  # transformers' name of a kernel; None: its choice
    generation_batch: int = 64  # completions (beams, in beam search) decoded together
    workers: int | None = None  # programs graded at once
    unsafe_no_sandbox: bool = False
    compact: bool = False  # store without adapter and completions
    progress: bool = True


@dataclass(frozen=True)
class Inputs:
    """What a run reads, loaded."""

    base: Path
    records: dict[str, list[data.Record]]  # by split; empty if nothing is trained
    problems: dict[str, list[Problem]]  # by benchmark


class Busy(FlexError):
    """Another process is making this run."""


def resolve(config: RunConfig, machine: Machine) -> tuple[RunConfig, Inputs]:
    """Load what the configuration names, and put the digests of it into the configuration. What is
    small comes first, so that a mistake there is not told after a download of the weights.

    Raises:
        FlexError: a model, data set or benchmark is missing or damaged, or the model does not go with
            the device or with ``lora.target_modules``.
    """
    records, training = {}, config.training
    if training:
        for split in ("train", "validation"):
            rows = data.load_records(training.dataset, split, machine.data_dir)
            records[split] = rows[: training.train_limit] if split == "train" else rows
        if training.answers == "format-only":
            records["train"] = data.format_only(records["train"], config.seed)
        training = dataclasses.replace(training, digest=data.digest(records))
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
        training=training,
        benchmarks=tuple(
            dataclasses.replace(b, digest=problems_digest(problems[b.name]))
            for b in config.benchmarks
        ),
    )
    return resolved, Inputs(base, records, problems)


def problems_digest(problems: Sequence[Problem]) -> str:
    """sha256 of a benchmark's problems, in order."""
    return configs.digest_of([dataclasses.asdict(p) for p in problems])


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
    config, inputs = resolve(config, machine)
    run_id = configs.run_id(configs.to_dict(config))
    work, bases = machine.work_dir / run_id, bases or models.BaseModels()
    if not distributed.is_main():
        if distributed.from_main():
            _train(config, inputs, machine, work, bases)
        if not distributed.from_main():
            raise Busy(f"another process is making run {run_id}; wait for it")
        return machine.store / run_id
    trained = False  # whether the other processes have been told what to do
    try:
        if not store.has(machine.store, run_id):
            with store.full_disk_is_an_error(machine.work_dir), _locked(machine.work_dir, run_id):
                if not store.has(machine.store, run_id):  # another process may just have finished
                    work.mkdir(exist_ok=True)
                    result = _prepare(config, machine, work)
                    needs_training = bool(config.training) and not (result / "adapter").exists()
                    trained = True
                    distributed.from_main(needs_training)
                    made = _make(config, inputs, machine, work, bases)
                    store.save(machine.store, run_id, made, compact=machine.compact)
                shutil.rmtree(work, ignore_errors=True)
    except Busy:
        distributed.from_main(False)  # nothing to train
        distributed.from_main(False)
        raise
    if not trained:
        distributed.from_main(False)
    distributed.from_main(True)
    return machine.store / run_id


def _check_model(config: RunConfig, machine: Machine, folder: Path) -> None:
    """What can be known before the weights are there."""
    from flexlib.models import memory, speed
    from flexlib.training.trainer import check_target_modules

    model = models.skeleton(folder)
    if config.lora:
        check_target_modules(model, config.lora)
    device = models.pick_device(machine.device)
    shape = memory.shape_of(model)
    memory.check_device(shape, device, asked_for=machine.device is not None)
    in_bf16 = [s.precision == "bf16" for s in (config.training, *config.benchmarks) if s]
    if device == "cpu" and any(in_bf16) and shape.parameters > _WORTH_A_WARNING:
        bf16, fp32 = speed.matmul_rate("bf16"), speed.matmul_rate("fp32")
        if bf16 < fp32:
            print(
                f"flexlib: this CPU has no fast bf16 ({bf16 / 1e9:.0f} GFLOP/s, {fp32 / 1e9:.0f} in fp32): "
                f"training and decoding a model of 0.5 billion parameters takes about "
                f"{speed.arm_minutes(bf16) / 60:.0f} hours an arm",
                file=sys.stderr,
            )


def _prepare(config: RunConfig, machine: Machine, work: Path) -> Path:
    """The folder that a run's files are collected in, with those that need no work: its configuration
    and, where a stored run was trained the same way, that one's adapter."""
    _check_grading({b.language for b in config.benchmarks}, machine)  # now, not after the training
    result = work / "result"
    result.mkdir(exist_ok=True)
    store.write_atomically(result / "config.json", store.to_json(configs.to_dict(config)))
    if config.training and not (result / "adapter").exists():
        twin = store.trained_alike(machine.store, configs.to_dict(config))
        if twin:
            shutil.copy(twin / "training.csv", result)
            shutil.copytree(twin / "adapter", work / "adapter", dirs_exist_ok=True)
            (work / "adapter").rename(result / "adapter")
            store.write_atomically(work / "adapter-from", twin.name.encode())
    return result


def _train(
    config: RunConfig, inputs: Inputs, machine: Machine, work: Path, bases: models.BaseModels
) -> None:
    """Train the adapter into ``work/result``."""
    from flexlib.models import memory
    from flexlib.training.trainer import train

    settings, device = config.training, models.pick_device(machine.device)
    checkpointing = bool(machine.gradient_checkpointing)
    if device == "cuda" and not distributed.is_sharded():
        share = max(1, settings.batch_size // distributed.processes())
        checkpointing = memory.plan_training(
            memory.shape_of(models.skeleton(inputs.base)),
            settings,
            config.lora,
            sequences=min(machine.microbatch or share, share),
            memory=memory.available(),
            checkpointing=machine.gradient_checkpointing,
        )
    model = bases.take(inputs.base, settings.precision, device, machine.attention)
    with memory.enough("--microbatch"):
        train(
            config,
            inputs.base,
            inputs.records,
            work / "result",
            checkpoints=work / "checkpoints",
            device=device,
            microbatch=machine.microbatch,
            progress=machine.progress,
            model=model,
            checkpointing=checkpointing,
            compiled=machine.compile,
        )
    bases.give_back(model)


def _make(
    config: RunConfig, inputs: Inputs, machine: Machine, work: Path, bases: models.BaseModels
) -> Path:
    """Everything up to the store: fill ``work/result`` with the files of a run and return it."""
    device = models.pick_device(machine.device)
    result = work / "result"
    clock = Clock.load(work / "clock.json")
    if config.training and not (result / "adapter").exists():
        with clock.stage("train"):
            _train(config, inputs, machine, work, bases)
    if config.training and not (result / "spectra.csv.gz").exists():
        from flexlib.analysis import spectra

        table = spectra.of_factors(spectra.read_adapter(result / "adapter"))
        content = store.to_csv_gz(store.SPECTRA_FIELDS, table)
        store.write_atomically(result / "spectra.csv.gz", content)
    with clock.stage("generate"):
        completions = _generate(config, inputs, machine, work, device, bases)
    for settings in config.benchmarks:
        verdicts = result / f"verdicts-{settings.name}.csv"
        if not verdicts.exists():
            with clock.stage("grade"):
                programs = completions[settings.name]
                rows = grade_completions(
                    inputs.problems[settings.name], programs, settings, machine
                )
            stored = result / f"completions-{settings.name}.jsonl.gz"
            store.write_atomically(stored, store.to_jsonl_gz(programs))
            store.write_atomically(verdicts, store.to_csv(store.VERDICT_FIELDS, rows))
    adapter_from = work / "adapter-from"
    facts = {
        **provenance.describe(device),
        "seconds": {stage: round(s, 1) for stage, s in clock.seconds.items()},
        "processes": clock.processes,  # more than 1: the run was interrupted
        "launched": distributed.processes(),  # that trained together
        "generation_batch": machine.generation_batch,
        "microbatch": machine.microbatch,
        "compile": machine.compile,
        "attention": machine.attention,
        "sandboxed": not machine.unsafe_no_sandbox,
        "data": _data_sources(config, machine),
        # The run that this one's adapter was trained in, if it was not in this one.
        "adapter_from": adapter_from.read_text() if adapter_from.exists() else None,
    }
    store.write_atomically(result / "provenance.json", store.to_json(facts))
    return result


def _data_sources(config: RunConfig, machine: Machine) -> dict[str, str]:
    """Where each benchmark was read, and the sha256 that its content was held against."""
    tables = {b.name: benchmarks.source(b.name) for b in config.benchmarks}
    return {
        name: sources.describe(table, machine.data_dir) for name, table in tables.items() if table
    }


def _check_grading(languages: Iterable[str], machine: Machine) -> None:
    for language in sorted(languages):
        check = doctor.check_language(language, unsafe_no_sandbox=machine.unsafe_no_sandbox)
        if not check.ok:
            raise FlexError(f"cannot grade {language} here: {check.detail}; {check.remedy}")


def _generate(
    config: RunConfig,
    inputs: Inputs,
    machine: Machine,
    work: Path,
    device: str,
    bases: models.BaseModels,
) -> dict[str, list[dict[str, Any]]]:
    """Complete every benchmark, through ``work/completions-<benchmark>.jsonl``."""
    from flexlib.generation.decoding import generate
    from flexlib.models import memory

    tokenizer = models.load_tokenizer(inputs.base)
    problems = {
        b.name: answers.asked(inputs.problems[b.name], b, tokenizer) for b in config.benchmarks
    }
    if device == "cuda":
        longest = [
            (b, max(len(tokenizer(p.prompt)["input_ids"]) for p in problems[b.name]))
            for b in config.benchmarks
        ]
        shape = memory.shape_of(models.skeleton(inputs.base))
        memory.check_generation(shape, longest, machine.generation_batch, memory.available())
    completions = {}
    model, loaded = None, None
    for settings in config.benchmarks:
        wanted = (settings.precision, settings.merge_adapter and config.training is not None)
        if loaded != wanted:
            if model is not None and not loaded[1]:
                bases.give_back(model)
            model = None  # its memory is needed for the next
            model = bases.take(inputs.base, settings.precision, device, machine.attention)
            loaded = wanted
            if config.training:
                adapter = work / "result" / "adapter"
                model = models.with_adapter(model, adapter, merge=settings.merge_adapter)
        with memory.enough("--generation-batch"):
            completions[settings.name] = generate(
                model,
                tokenizer,
                problems[settings.name],
                settings,
                work / f"completions-{settings.name}.jsonl",
                seed=config.seed,
                batch_size=machine.generation_batch,
                static_cache=machine.compile and device == "cuda" and not settings.num_beams,
                progress=machine.progress,
                description=f"generate {settings.name}",
            )
    if not loaded[1]:  # a merged base is no longer the base
        bases.give_back(model)
    return completions


def grade_completions(
    problems: Sequence[Problem],
    completions: Sequence[dict[str, Any]],
    settings: BenchmarkSettings,
    machine: Machine,
) -> list[dict[str, Any]]:
    """Compile and run what the settings say of every completion; rows in the order of ``completions``.

    A program or two that cannot be judged are rows like the others, with the verdict
    ``harness_error``.

    Raises:
        FlexError: a toolchain or the sandbox is missing, or too many programs could not be judged.
    """
    from flexlib.grading import Program, grade
    from flexlib.study import metrics

    by_id = {p.task_id: p for p in problems}
    programs = [
        Program(
            id=f"{c['task_id']}#{c['sample']}",
            language=by_id[c["task_id"]].language,
            prompt=by_id[c["task_id"]].prompt,
            completion=answers.graded(by_id[c["task_id"]], c["completion"], settings),
            tests=by_id[c["task_id"]].tests,
        )
        for c in completions
    ]
    judged = grade(
        programs,
        workers=machine.workers,
        unsafe_no_sandbox=machine.unsafe_no_sandbox,
        progress=machine.progress,
    )
    rows = []
    for completion, program, verdict in zip(completions, programs, judged, strict=True):
        detail = " ".join(verdict.detail.split())
        whole = program.completion.startswith(completion["completion"])  # nothing was cut off
        if completion["truncated"] and whole and not verdict.passed:
            detail = f"truncated; {detail}" if detail else "truncated"
        rows.append(
            {
                "task_id": completion["task_id"],
                "sample": completion["sample"],
                "verdict": verdict.verdict,
                "passed": verdict.passed,
                "detail": detail,
            }
        )
    unjudged = [row for row in rows if row["verdict"] == "harness_error"]
    if unjudged and not metrics.is_tolerable(len(unjudged), len(rows)):
        first = "{task_id}#{sample}: {detail}".format(**unjudged[0])
        raise FlexError(
            f"the grader could not judge {len(unjudged)} of {len(rows)} programs (first {first}); "
            "see `flexlib doctor`, and give the same command again: it goes on from here"
        )
    return rows


def grid(wanted: Iterable[RunConfig], machine: Machine) -> Iterator[tuple[RunConfig, Path | None]]:
    """Make many runs, one after the other; yields each with its folder.

    None instead of a folder: another process is at it. The same run asked for twice, such as a greedy
    base under several seeds, is made once. The base model stays loaded from run to run.
    """
    bases = models.BaseModels()
    for config in dict.fromkeys(wanted):
        try:
            yield config, run(config, machine, bases)
        except Busy:
            yield config, None


@dataclass(frozen=True)
class Regraded:
    """What regrading one benchmark of one run changed: (task_id, sample, old verdict, new verdict).

    No ``programs``: the run was stored compactly, and there is nothing to grade.
    """

    run_id: str
    benchmark: str
    programs: int
    changes: list[tuple[str, int, str, str]]


def regrade(
    machine: Machine, run_ids: Sequence[str] = (), *, write: bool = True
) -> Iterator[Regraded]:
    """Grade the stored completions of runs (all without ``run_ids``) anew.

    With ``write``, the new verdicts replace those of a run in which any changed or whose file was
    damaged. Runs that were stored compactly are passed over, unless they are asked for.

    Raises:
        FlexError: no such run; it has no completions, or they are corrupt; the benchmark is not the one
            it was run on; a program that has a verdict cannot be judged now.
    """
    folders = {run.name: run for run in store.run_folders(machine.store)}
    for run_id in run_ids or folders:
        if run_id not in folders:
            raise FlexError(
                f"no run {run_id!r} in {machine.store}; the store has {len(folders)} runs"
            )
        if not run_ids and store.is_compact(folders[run_id]):
            names = store.read_config(folders[run_id])["benchmarks"]
            yield from (Regraded(run_id, name, 0, []) for name in names)
        else:
            yield from _regrade_run(folders[run_id], machine, write)


def _regrade_run(run: Path, machine: Machine, write: bool) -> Iterator[Regraded]:
    config = store.read_config(run)
    replaced = {}
    for name, settings in config["benchmarks"].items():
        completions = store.read_completions(run, name)
        problems = benchmarks.load_benchmark(name, machine.data_dir, config.get("limit"))
        if problems_digest(problems) != settings["digest"]:
            raise FlexError(
                f"benchmark {name} is not the one that run {run.name} was made with; restore its "
                "data, or remove the run and make it again"
            )
        rows = grade_completions(
            problems, completions, BenchmarkSettings(name=name, **settings), machine
        )
        try:
            old = {
                (r["task_id"], int(r["sample"])): r["verdict"]
                for r in store.read_verdicts(run, name)
            }
        except FlexError:  # the file is damaged, which is what regrading is for
            old = {}
        for row in rows:
            before = old.get((row["task_id"], row["sample"]))
            if row["verdict"] == "harness_error" and before not in (None, "harness_error"):
                raise FlexError(
                    f"run {run.name}: the grader could not judge {row['task_id']}#{row['sample']} "
                    f"({row['detail']}), which was {before}; regrade it again"
                )
        changes = [
            (row["task_id"], row["sample"], before, row["verdict"])
            for row in rows
            if (before := old.get((row["task_id"], row["sample"]), "none")) != row["verdict"]
        ]
        if changes:
            replaced[name] = rows
        yield Regraded(run.name, name, len(rows), changes)
    if replaced and write:
        note = provenance.describe("cpu")
        store.replace_verdicts(run, replaced, {k: note[k] for k in ("utc", "git", "toolchains")})


def summary(run: Path) -> str:
    """One line a benchmark: passed of how many, the rate and its 95 % interval; and one on the programs
    that could not be judged, if there are any."""
    from flexlib.study import metrics

    config, verdicts = store.read_config(run), store.verdicts_of(run)
    lines = [
        f"  {row.benchmark}: pass@1 {100 * row.pass_at_k:.1f} % "
        f"[{100 * row.low:.1f}, {100 * row.high:.1f}] (95 %), {row.tasks} problems"
        + (
            f" x {samples} samples"
            if (samples := config["benchmarks"][row.benchmark]["samples"]) > 1
            else ""
        )
        for row in metrics.counts(verdicts).itertuples()
    ]
    unjudged = verdicts[verdicts["verdict"] == "harness_error"]
    if len(unjudged):
        first = unjudged.iloc[0]
        lines.append(
            f"  programs not judged, whose problems are left out: {len(unjudged)} (first "
            f"{first['task_id']}: {first['detail']}); `flexlib regrade {run.name}` tries again"
        )
    return "\n".join(lines)


@dataclass
class Clock:
    """Seconds a stage, added up over the processes that worked on a run."""

    path: Path
    processes: int = 0
    seconds: dict[str, float] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path) -> Clock:
        clock = cls(path)
        if path.exists():
            clock = cls(path, **json.loads(path.read_text(encoding="utf-8")))
        clock.processes += 1
        clock._save()
        return clock

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage; what a killed process spent in it is lost."""
        start = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - start
            self._save()

    def _save(self) -> None:
        state = {"processes": self.processes, "seconds": self.seconds}
        store.write_atomically(self.path, store.to_json(state))


@contextlib.contextmanager
def _locked(work_dir: Path, run_id: str) -> Iterator[None]:
    """Hold the run's lock; the kernel frees it when the process ends, however it ends."""
    work_dir.mkdir(parents=True, exist_ok=True)
    path = work_dir / f"{run_id}.lock"
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy(f"another process is making run {run_id}; wait for it") from None
        yield
        # Who opened the file before it goes and locks it afterwards finds the run in the store.
        path.unlink(missing_ok=True)
