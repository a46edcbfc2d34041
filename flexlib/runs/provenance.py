"""With what a run was made: code, packages, machine. No host name, user name or path."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flexlib import paths
from flexlib.config import RunConfig
from flexlib.grading import tools
from flexlib.models import speed
from flexlib.runs.machine import Machine
from flexlib.tasks import benchmarks, sources
from flexlib.tasks.languages import LANGUAGES
from flexlib.training import distributed

PACKAGES = ("torch", "transformers", "peft", "accelerate", "tokenizers", "safetensors", "numpy")


def describe(device: str) -> dict[str, Any]:
    """Commit, versions and hardware of this process, and the time in UTC."""
    import torch

    return {
        "utc": datetime.now(UTC).isoformat(timespec="seconds"),
        "git": git_state(),
        "python": platform.python_version(),
        "packages": package_versions(),
        "toolchains": {language: toolchain_version(language) for language in LANGUAGES},
        "os": f"{platform.system()} {platform.machine()}",
        "cpu": cpu_model(),
        "gpu": torch.cuda.get_device_name() if device == "cuda" else None,
        "device": device,
        "threads": torch.get_num_threads(),
    }


def of_run(config: RunConfig, machine: Machine, device: str) -> dict[str, Any]:
    """What provenance says of a run, beside its times."""
    tables = {b.name: benchmarks.source(b.name) for b in config.benchmarks}
    return {
        **describe(device),
        "launched": distributed.processes(),  # that trained together
        "generation_batch": machine.generation_batch,
        "microbatch": machine.microbatch,
        "compile": machine.compile,
        "attention": machine.attention,
        "arithmetic": _arithmetic(config, device),
        "sandboxed": not machine.unsafe_no_sandbox,
        "known_verdicts": machine.known_verdicts,
        # Where each benchmark was read, and the sha256 that its content was held against.
        "data": {n: sources.describe(t, machine.data_dir) for n, t in tables.items() if t},
    }


def _arithmetic(config: RunConfig, device: str) -> dict[str, str]:
    """The precision that training and each benchmark were computed in, where it is not theirs."""
    parts = [(b.name, b.precision, b.merge_adapter) for b in config.benchmarks]
    if config.training:
        parts.append(("training", config.training.precision, False))
    used = {name: speed.arithmetic(wanted, device, merged=merged) for name, wanted, merged in parts}
    return {name: used[name] for name, wanted, _ in parts if used[name] != wanted}


def git_state() -> dict[str, Any] | None:
    """Commit, and whether code, benchmark or base model differ from it; None outside a checkout."""
    commit = _output("git", "-C", str(paths.ROOT), "rev-parse", "HEAD")
    if commit is None:
        return None
    changes = _output("git", "-C", str(paths.ROOT), "status", "--porcelain", "flexlib", "data/nano")
    return {"commit": commit, "dirty": bool(changes)}


def package_versions() -> dict[str, str]:
    """Versions of the packages that a result can depend on."""
    return {name: importlib.metadata.version(name) for name in PACKAGES}


def toolchain_version(language: str) -> str | None:
    """First line of what a language's compiler or interpreter says of itself; None if missing."""
    known = LANGUAGES[language]
    command, *options = known.version
    program = tools.locate(command, system=known.judge != "apart")
    text = _output(program, *options) if program else None
    return text.splitlines()[0] if text else None


def cpu_model() -> str:
    """The processor's name and the number of logical cores this process may use."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
    return f"{name}, {len(os.sched_getaffinity(0))} cores"


def _output(*command: str) -> str | None:
    """What a command prints, or None if it is missing, fails or does not answer."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return (done.stdout + done.stderr).strip()
