"""Tuning of optimisers and adapters: the same number of trials for each arm of a plan, chosen on validation
loss.

The plans are registered in data/claims.yml before they run. A trial is a training without generation,
with a seed of its own that no stored run has. Its row goes to ``data/tuning/<profile>-<arm>.csv``; the
values of the best are written into the profile (``[arms.NAME]``) by hand, where a test compares them.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import itertools
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flexlib import config as configs
from flexlib import disk, formats, models, paths
from flexlib.config import RunConfig
from flexlib.errors import FlexError

if TYPE_CHECKING:
    import pandas as pd

    from flexlib.runs.machine import Machine
    from flexlib.runs.preflight import Inputs

FOLDER = paths.TUNING
FIELDS = ("arm", "settings", "eval_loss", "seed", "steps", "base_digest", "run_id")


def plans() -> dict[str, dict[str, Any]]:
    """The registered plans, by name: ``optimisers``, ``adapters``, and ``sweep``, its learning rates. Each
    has ``profile``, ``seed`` and ``trials``, for each arm its values by setting.

    Raises:
        FlexError: the registration is damaged, or gives some arm of a plan more trials than another.
    """
    from flexlib.study import paper  # late, with pandas: every command line reads this module

    registered = paper.registration()
    found = {
        "optimisers": registered["tuning"],
        "adapters": registered["adapters"],
        "sweep": registered["sweep"]["tuning"],
    }
    for plan in found.values():
        sizes = {arm: len(list(grid(values))) for arm, values in plan["trials"].items()}
        if len(set(sizes.values())) != 1:
            raise FlexError(f"claims.yml: arms are tuned with unequal numbers of trials, {sizes}")
    return found


def tuned() -> dict[str, dict[str, Any]]:
    """The trials of every arm whose best settings the profile holds: optimisers, then adapters."""
    registered = plans()
    return registered["optimisers"]["trials"] | registered["adapters"]["trials"]


def _by_arm() -> dict[str, dict[str, Any]]:
    """For each arm that is tuned its plan."""
    return {arm: plan for plan in plans().values() for arm in plan["trials"]}


def grid(values: Mapping[str, Sequence[Any]]) -> Iterator[dict[str, Any]]:
    """Every combination of the values of each setting."""
    for combination in itertools.product(*values.values()):
        yield dict(zip(values, combination, strict=True))


def trials(arm: str) -> list[tuple[dict[str, Any], RunConfig]]:
    """The trials of an arm: settings, and the configuration that they make.

    Raises:
        FlexError: the plan has no such arm.
    """
    by_arm = _by_arm()
    if arm not in by_arm:
        raise FlexError(
            f"arm {arm!r} is not tuned; data/claims.yml has trials for {', '.join(by_arm)}"
        )
    registered = by_arm[arm]
    made = []
    for settings in grid(registered["trials"][arm]):
        overrides = [f"{key}={value!r}" for key, value in settings.items()]
        wanted = configs.load(registered["profile"], arm, registered["seed"], overrides=overrides)
        # Only the last validation loss is wanted. And which overrides make a difference changes once
        # the profile holds the best; the trial does not.
        training = dataclasses.replace(wanted.method()[0], evaluations=1)
        made.append((settings, dataclasses.replace(wanted, training=training, variant=None)))
    return made


def table(folder: Path = FOLDER, arms: Iterable[str] | None = None) -> pd.DataFrame:
    """All trials made so far: ``arm, settings`` (JSON), ``eval_loss`` (final, nats a token; NaN if it
    diverged), ``seed, steps, base_digest, run_id``, in the order of the plan. ``arms``: None for
    :func:`tuned`."""
    import pandas as pd

    arms = tuned() if arms is None else arms
    by_arm = _by_arm()
    files = [_file(arm, by_arm[arm], folder) for arm in arms]
    frames = [pd.read_csv(p) for p in files if p.is_file()]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=list(FIELDS))


def best(trials: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """The settings with the lowest final validation loss, for each arm whose trials are complete.

    Raises:
        FlexError: the trials of an arm were made from different base models, or all diverged.
    """
    chosen = {}
    for arm, values in tuned().items():
        rows = trials[trials["arm"] == arm]
        if len(rows) < len(list(grid(values))):
            continue
        if rows["base_digest"].nunique() > 1:
            raise FlexError(
                f"the trials of {arm} have different base models; remove {_file(arm, _by_arm()[arm])}"
            )
        if rows["eval_loss"].isna().all():
            raise FlexError(f"every trial of {arm} diverged; register smaller learning rates")
        chosen[arm] = json.loads(rows.loc[rows["eval_loss"].idxmin(), "settings"])
    return chosen


def tune(arm: str, machine: Machine, folder: Path = FOLDER) -> Iterator[tuple[dict, float, bool]]:
    """Make the trials of an arm that its table lacks; yields settings, final validation loss, and
    whether it was made now.

    Raises:
        FlexError: the plan has no such arm, or as :func:`flexlib.runs.pipeline.train`.
    """
    from flexlib.runs import preflight

    planned = trials(arm)
    path = _file(arm, _by_arm()[arm], folder)
    rows = read_rows(path)
    for settings, wanted in planned:
        wanted, inputs = preflight.resolve(dataclasses.replace(wanted, benchmarks=()), machine)
        run_id = configs.run_id(configs.to_dict(wanted))
        known = [row for row in rows if row["run_id"] == run_id]
        if known:
            yield settings, float(known[0]["eval_loss"]), False
            continue
        with trained(wanted, inputs, machine) as result:
            last = read_rows(result / "training.csv")[-1]
            rows.append(
                {
                    "arm": arm,
                    "settings": json.dumps(settings),
                    "eval_loss": last["eval_loss"],
                    "seed": str(wanted.seed),
                    "steps": last["step"],
                    "base_digest": str(wanted.base_digest),
                    "run_id": run_id,
                }
            )
            folder.mkdir(parents=True, exist_ok=True)
            disk.write_atomically(path, formats.to_csv(FIELDS, rows))
        yield settings, float(last["eval_loss"]), True


@contextlib.contextmanager
def trained(wanted: RunConfig, inputs: Inputs, machine: Machine) -> Iterator[Path]:
    """Train by a resolved configuration; yields the folder of ``training.csv`` and ``adapter``, and
    removes it when the block has written its numbers elsewhere. Killed before, it goes on from a
    checkpoint.

    Raises:
        Busy: another process is at it.
        FlexError: as :func:`flexlib.runs.pipeline.train`.
    """
    from flexlib.runs import pipeline

    work = machine.work_dir / f"tuning-{configs.run_id(configs.to_dict(wanted))}"
    job = pipeline.Job(wanted, inputs, machine, work, models.BaseModels())
    full_disk = disk.full_disk_is_an_error(machine.work_dir)
    with full_disk, pipeline.locked(machine.work_dir, work.name):
        job.result.mkdir(parents=True, exist_ok=True)
        if not (job.result / "adapter").exists():
            pipeline.train(job)
        yield job.result
        shutil.rmtree(work)


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file as text; none if there is no file."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _file(arm: str, plan: Mapping[str, Any], folder: Path = FOLDER) -> Path:
    return folder / f"{plan['profile']}-{arm}.csv"


def as_toml(chosen: Mapping[str, Mapping[str, Any]]) -> str:
    """The chosen settings as the profile holds them."""
    lines = []
    for arm, settings in chosen.items():
        sections: dict[str, list[str]] = {}
        for key, value in settings.items():
            section, _, name = key.partition(".")
            sections.setdefault(section, []).append(f"{name} = {value!r}")
        for section, values in sections.items():
            lines += [f"[arms.{arm}.{section}]", *values, ""]
    return "\n".join(lines)
