"""Many runs on a cluster: each is one job of an existing scheduler, through submitit.

submitit writes the batch script, pickles the call and collects what it returns; it also has an
executor for this machine, which starts a process a run. A run that is already in the store costs one
short job, and a job that the scheduler kills is resumed when the grid is submitted again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from flexlib.config import RunConfig
from flexlib.errors import Busy, FlexError
from flexlib.runs.machine import Machine
from flexlib.runs.pipeline import run

DEFAULTS = {"timeout_min": 240, "gpus_per_node": 1, "cpus_per_task": 8, "mem_gb": 64}


def parse(options: Sequence[str]) -> tuple[str | None, dict[str, Any]]:
    """``["cluster=local", "timeout_min=60", "slurm_partition=gpu"]`` as the cluster (None: whatever is
    there) and submitit's parameters.

    Raises:
        FlexError: an option that is not ``key=value``.
    """
    parameters: dict[str, Any] = dict(DEFAULTS)
    for option in options:
        key, equals, value = option.partition("=")
        if not equals or not key:
            raise FlexError(f"--slurm takes key=value such as slurm_partition=gpu, not {option!r}")
        parameters[key] = int(value) if value.isdecimal() else value
    return parameters.pop("cluster", None), parameters


def grid(
    wanted: Sequence[RunConfig],
    machine: Machine,
    *,
    cluster: str | None,
    parameters: Mapping[str, Any],
) -> Iterator[tuple[RunConfig, Path | None]]:
    """Submit every run as a job and yield it, with its folder, in the order given, as it is done.

    None instead of a folder: another process is at it.

    Raises:
        FlexError: submitit or the scheduler is missing, it does not know a parameter, or a run failed.
    """
    try:
        import submitit
    except ImportError:
        raise FlexError("--slurm needs submitit: pip install submitit") from None
    wanted = list(dict.fromkeys(wanted))
    try:
        executor = submitit.AutoExecutor(folder=machine.work_dir / "jobs", cluster=cluster)
        executor.update_parameters(name="flexlib", **parameters)
        jobs = executor.map_array(_job, wanted, [machine] * len(wanted))
    except (NameError, RuntimeError, submitit.core.utils.FailedJobError) as error:
        raise FlexError(f"cannot submit: {' '.join(str(error).split())}") from error
    for config, job in zip(wanted, jobs, strict=True):
        try:
            yield config, job.result()
        except submitit.core.utils.UncompletedJobError as error:  # FailedJobError is one
            raise FlexError(
                f"job {job.job_id} ({config.label} seed {config.seed}) failed: {_cause(error)}; "
                f"its log is {job.paths.stderr}"
            ) from error


def _cause(error: Exception) -> str:
    """The last line of the job's traceback, which submitit puts between two rules."""
    _, _, trace = str(error).partition("\n---")
    lines = trace.partition("\n---")[0].strip().splitlines() or str(error).strip().splitlines()
    return lines[-1].removeprefix("flexlib.errors.FlexError: ")


def _job(config: RunConfig, machine: Machine) -> Path | None:
    try:
        return run(config, machine)
    except Busy:
        return None
