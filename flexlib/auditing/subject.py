"""Which adapter is audited, on which base, in which languages."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flexlib import config as configs
from flexlib import disk, models, paths
from flexlib.config import RunConfig
from flexlib.errors import FlexError
from flexlib.models import adapters
from flexlib.runs import doctor
from flexlib.runs import store as stored
from flexlib.runs.machine import Machine

#: Profiles whose own base is looked for, in this order; an adapter of any other base is asked by `ELSE`.
PROFILES = ("nano", "small", "paper-corrected")
ELSE = "small"


@dataclass(frozen=True)
class Subject:
    """What is audited.

    Attributes:
        folder: of the adapter.
        about: its configuration, as PEFT stored it.
        base: the name of its base.
        base_folder: a local copy of the base; None: the base is found by its name.
        profile: by which it is asked.
    """

    folder: Path
    about: dict[str, Any]
    base: str
    base_folder: Path | None
    profile: str


def choose(adapter: str | Path, base_model: str | None, profile: str | None) -> Subject:
    """Find an adapter and what it belongs to.

    Args:
        adapter: a folder in PEFT's format, or a hub id; ``adapter`` in the folder of a run that adopted it
            is that of the run which has it.
        base_model: a folder, a GGUF file or a hub id; None: what the adapter says of itself.
        profile: None: the one that has this base, else `ELSE`.

    Raises:
        FlexError: no adapter there, or none that says what its base is.
    """
    folder = models.locate_adapter(_kept(Path(adapter).expanduser()) or adapter)
    about = adapters.read_config(folder)
    said = about.get("base_model_name_or_path")
    base = str(base_model or said or "")
    if not base:
        raise FlexError(f"{adapter} does not say which base it belongs to; name it by --base-model")
    own = {configs.load(name, "base", 0).base_model: name for name in reversed(PROFILES)}
    profile = profile or own.get(base) or own.get(said or "") or ELSE
    if base in own and own[base] == profile:
        return Subject(folder, about, base, None, profile)
    local = Path(base).expanduser()
    if (local.is_absolute() or local.suffix == ".gguf") and not local.exists():
        raise FlexError(f"there is no base model {base} here; name a copy by --base-model")
    if local.is_dir() or local.suffix == ".gguf":
        return Subject(folder, about, local.resolve().name, local, profile)
    return Subject(folder, about, base, None, profile)


def _kept(adapter: Path) -> Path | None:
    """The folder of an adapter that is named by the run which adopted it; None of any other."""
    run = adapter.parent
    named = adapter.name == "adapter" and (run / "provenance.json").is_file()
    return stored.adapter_folder(run) if named and not adapter.exists() else None


def gradable(
    profile: str, languages: Sequence[str] | None, machine: Machine
) -> tuple[list[str], dict[str, str]]:
    """The languages that can be graded here, and those that cannot, with the reason.

    Args:
        languages: None: all that the profile has a benchmark for.

    Raises:
        FlexError: the profile has no such language, or one that is named, or all, cannot be graded here.
    """
    offered = list(dict.fromkeys(configs.benchmarks_of(profile).values()))
    wanted = list(dict.fromkeys(languages or offered))
    for language in wanted:
        if language not in offered:
            raise FlexError(
                f"unknown language {language!r}; profile {profile} has {', '.join(offered)}"
            )
    left_out = {}
    for language in wanted:
        found = doctor.check_language(language, unsafe_no_sandbox=machine.unsafe_no_sandbox)
        if not found.ok:
            left_out[language] = f"{found.detail}; {found.remedy}"
    if languages and left_out:
        name, reason = next(iter(left_out.items()))
        raise FlexError(f"{name} cannot be graded here: {reason}; or leave it out of --languages")
    if len(left_out) == len(wanted):
        why = "; ".join(f"{name}: {reason}" for name, reason in left_out.items())
        raise FlexError(f"no language is left that can be graded here ({why})")
    return [name for name in wanted if name not in left_out], left_out


def configuration(
    subject: Subject,
    languages: Sequence[str],
    limit: int | None,
    samples: int | None = None,
    *,
    merged: bool = False,
) -> RunConfig:
    """How base and adapter are asked: the profile's own decoding, its arm ``base``.

    Raises:
        FlexError: ``limit`` is not above 0.
    """
    overrides = [f"languages={list(languages)}"]
    if subject.base != configs.load(subject.profile, "base", 0).base_model:
        # As a string: a name such as 7 or true is a value of another kind.
        overrides.append(f"base_model={json.dumps(subject.base, ensure_ascii=False)}")
    wanted = configs.load(subject.profile, "base", 0, overrides=overrides, limit=limit)
    asked = tuple(
        # Greedy answers are all the same; a benchmark that samples may have a number of its own.
        dataclasses.replace(
            b,
            merge_adapter=merged,
            samples=(samples or b.samples) if b.temperature > 0 else b.samples,
        )
        for b in wanted.benchmarks
    )
    return dataclasses.replace(wanted, benchmarks=asked)


def short_name(adapter: str | Path) -> str:
    """What a report of an adapter is called: the last part of its name; of a folder ``adapter`` of a run,
    as the store has them, that of the run."""
    path = Path(adapter).expanduser().resolve()
    return path.parent.name if path.name == "adapter" else path.name


def store() -> Path:
    """Where audited runs are kept unless told otherwise: what can be made again, in the user's cache.

    Raises:
        FlexError: it cannot be written there, which is said before anything is generated.
    """
    folder = paths.cache_folder() / "audits"
    with disk.unwritable_cache_is_an_error(folder):
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    return folder
