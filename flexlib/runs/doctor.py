"""What this machine can run, found out by trying, and what to install for the rest."""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import os
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from flexlib import config, disk, grading, paths
from flexlib.errors import FlexError
from flexlib.grading import Program
from flexlib.runs import provenance
from flexlib.tasks.languages import LANGUAGES

_HUB = "https://huggingface.co"
_HUB_TIMEOUT = 3.0  # seconds
PROFILES = ("nano", "small", "paper")
# Bytes that a profile needs where the store is (checkpoints and results of a grid), in the hub's cache, and
# in flexlib's: of small the file and its dequantised copy, of paper Code Llama 7B as safetensors and .bin.
_DISK = {
    "nano": (2**29, 0, 0),
    "small": (2**30, 2**30, 2**31),
    "paper": (12 * 2**30, 28 * 2**30, 0),
}


@dataclass(frozen=True)
class Check:
    """One finding. ``needed_for``: the profiles that cannot run without it ("" for none)."""

    name: str
    ok: bool
    detail: str
    remedy: str = ""
    needed_for: tuple[str, ...] = ()


def examine(folder: Path = paths.RUNS, *, hub: str | None = None) -> Iterator[Check]:
    """All checks, one after the other, as each is done.

    Args:
        folder: the store, whose disk is looked at.
        hub: address to try instead of the model hub's (default: ``HF_ENDPOINT``, else the hub).
    """
    yield from check_packages()
    for language in LANGUAGES:
        yield check_language(language)
    yield check_nano_model()
    yield check_gpu()
    hub_answers = check_hub(hub or os.environ.get("HF_ENDPOINT", _HUB))
    yield hub_answers
    yield check_small_model(hub_answers.ok)
    yield check_speed()
    yield check_disk(folder)


def can_run(profile: str, checks: list[Check]) -> bool:
    """Whether nothing that the profile needs is missing."""
    return all(check.ok or profile not in check.needed_for for check in checks)


def check_packages() -> Iterator[Check]:
    """Python and the declared dependencies, against the ranges that flexlib was installed with."""
    from packaging.requirements import Requirement
    from packaging.specifiers import SpecifierSet

    try:
        declared = importlib.metadata.metadata("flexlib")
    except importlib.metadata.PackageNotFoundError:
        detail = "flexlib is not installed, so what it needs is not known"
        remedy = "pip install -e . -c constraints.txt"
        yield Check("packages", False, detail, remedy, PROFILES)
        return
    version = ".".join(map(str, sys.version_info[:3]))
    yield Check(
        "python",
        SpecifierSet(declared["Requires-Python"]).contains(version),
        f"{version} (declared: {declared['Requires-Python']})",
        "make a fresh environment with Python 3.11",
        PROFILES,
    )
    wrong = []
    requirements = [Requirement(text) for text in declared.get_all("Requires-Dist") or []]
    requirements = [r for r in requirements if r.marker is None or r.marker.evaluate()]  # no extras
    for requirement in requirements:
        try:
            installed = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            wrong.append(f"{requirement.name} is missing")
            continue
        if not requirement.specifier.contains(installed, prereleases=True):
            wrong.append(f"{requirement.name} {installed} is not {requirement.specifier}")
    yield Check(
        "packages",
        not wrong,
        "; ".join(wrong) or f"{len(requirements)} of {len(requirements)} as declared",
        "pip install -e . -c constraints.txt",
        PROFILES,
    )


def check_language(language: str, *, unsafe_no_sandbox: bool = False) -> Check:
    """Grade one correct program of the language, in the sandbox unless told otherwise."""
    known = LANGUAGES[language]
    name, remedy = f"grade {language}", f"apt install {' '.join(known.packages.values())}"
    if known.optional:
        remedy += ", where it is wanted (tools/system-tools --optional for all such)"
    needed_for = tuple(p for p in PROFILES if language in _languages_of(p))
    probe = Program("probe", language, *known.probe)
    try:
        [verdict] = grading.grade(
            [probe], workers=1, unsafe_no_sandbox=unsafe_no_sandbox, progress=False
        )
    except FlexError as error:
        return Check(name, False, str(error), remedy, needed_for)
    if not verdict.passed:
        detail = f"a correct program was judged {verdict.verdict}: {verdict.detail}"
        return Check(name, False, detail, remedy, needed_for)
    detail = f"{provenance.toolchain_version(language)}, in the sandbox"
    if known.judge != "apart":
        detail += f"; {known.trust}"
    return Check(name, True, detail, needed_for=needed_for)


@functools.cache
def _languages_of(profile: str) -> set[str]:
    """The languages that a profile's runs are graded in, unless told otherwise."""
    return {b.language for b in config.load(profile, "base", 0).benchmarks}


def check_nano_model() -> Check:
    """The base model that ships with the study."""
    from flexlib import models

    name = config.load("nano", "base", 0).base_model
    try:
        folder = models.locate(name)
        models.load_tokenizer(folder)
    except FlexError as error:
        return Check(
            "nano base model",
            False,
            str(error),
            f"restore {name} from git, or make it: flexlib pretrain",
            ("nano",),
        )
    return Check("nano base model", True, name, needed_for=("nano",))


def check_small_model(hub_answers: bool) -> Check:
    """The base of the profile small: dequantised already, or to be had."""
    from flexlib import config
    from flexlib.models import gguf

    base = config.load("small", "base", 0)
    name = "small base model"
    cache = paths.cache_folder()
    if base.base_sha256 and gguf.origin(gguf.folder_of(base.base_sha256, cache)):
        return Check(name, True, f"{base.base_file}, dequantised", needed_for=("small",))
    if importlib.util.find_spec("gguf") is None:
        return Check(
            name, False, "no package gguf", "pip install gguf -c constraints.txt", ("small",)
        )
    if hub_answers:
        return Check(name, True, f"{base.base_model} from the hub, 0.5 GB", needed_for=("small",))
    remedy = f"connect once, or bring {base.base_file} and name it by --base-model"
    return Check(name, False, "not here, and the hub is out of reach", remedy, ("small",))


def check_speed() -> Check:
    """How long an arm of the profile small takes here."""
    import torch

    from flexlib.models import speed

    if torch.cuda.is_available():
        return Check("speed", True, "an arm of small takes a minute or two on a GPU")
    used = speed.arithmetic("bf16", "cpu")
    rate = speed.matmul_rate(used)
    minutes = speed.arm_minutes(rate)
    detail = (
        f"{used} at {rate / 1e9:.0f} GFLOP/s: an arm of small takes about {minutes:.0f} minutes"
    )
    if used != "bf16":
        detail += f" (in {used}, since this CPU does not multiply bf16)"
    return Check("speed", True, detail)


def check_gpu() -> Check:
    """A CUDA GPU with room for Code Llama 7B in half precision."""
    import torch

    if not torch.cuda.is_available():
        return Check(
            "gpu",
            False,
            "no CUDA GPU is visible to torch",
            "a GPU with 24 GB and a CUDA build of torch (see environment.yml)",
            ("paper",),
        )
    gpu = torch.cuda.get_device_properties(0)
    return Check(
        "gpu",
        gpu.total_memory >= 20 * 2**30,
        f"{gpu.name}, {gpu.total_memory / 2**30:.0f} GiB",
        "a GPU with 24 GB, or a smaller model (--set base_model=Qwen/Qwen2.5-Coder-0.5B)",
        ("paper",),
    )


def check_hub(address: str) -> Check:
    """Whether the model hub answers within a few seconds. A connection is opened, nothing is sent."""
    parts = urlsplit(address)
    port = parts.port or {"http": 80}.get(parts.scheme, 443)
    try:
        socket.create_connection((parts.hostname, port), timeout=_HUB_TIMEOUT).close()
    except OSError as error:
        return Check(
            "model hub",
            False,
            f"{parts.hostname} is out of reach ({error.strerror or error})",
            "connect, or bring the files and name them by --base-model and --data-dir",
        )
    return Check("model hub", True, f"{parts.hostname} answers")


def check_disk(folder: Path) -> Check:
    """Free space where the store is, and in the caches of models."""
    from huggingface_hub import constants

    places = (folder, Path(constants.HF_HUB_CACHE), paths.cache_folder())
    systems = [disk.device(place) for place in places]
    free = {system: disk.free_bytes(place) for system, place in zip(systems, places, strict=True)}

    def lacks(profile: str) -> bool:
        needed = dict.fromkeys(free, 0)
        for system, need in zip(systems, _DISK[profile], strict=True):
            needed[system] += need
        return any(free[system] < need for system, need in needed.items())

    lacking = tuple(filter(lacks, _DISK))
    told = [f"{free[systems[0]] / 2**30:.1f} GiB free"]
    told += [
        f"{free[system] / 2**30:.1f} GiB in {place}"
        for system, place in zip(systems, places, strict=True)
        if system != systems[0]
    ]
    needs = (f"{sum(need) / 2**30:.1f} GiB for {profile}" for profile, need in _DISK.items())
    return Check("disk", not lacking, ", ".join(told), "free " + ", ".join(needs), lacking)
