"""Tuning of optimisers and adapters: the same number of trials for each arm of a plan, chosen on validation
loss.

The plans are registered in data/claims.yml before they run. A trial is a training without generation,
with a seed of its own that no stored run has. Its row goes to ``data/tuning/<profile>-<arm>.csv``; the
values of the best are written into the profile (``[arms.NAME]``) by hand, where a test compares them.

Where the arm's own runs are at other values, which are registered too, the profile keeps these. A plan
with ``seeds`` is of such arms: in a claim ``<arm>-tuned`` is the arm at the best of its trials, whose runs
are ordinary ones under the label of their overrides (``lora training.learning_rate=0.0005``).
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
TUNED = "-tuned"  # after the name of an arm: that arm at the best of its trials


def plans() -> dict[str, dict[str, Any]]:
    """The registered plans, by name: ``optimisers``, ``adapters``, ``sweep``, its learning rates, and
    ``small``. Each has ``profile``, ``seed`` and ``trials``, for each arm its values by setting; one of
    arms that have runs at other values, the ``seeds`` of those at the best.

    Raises:
        FlexError: the registration is damaged, or gives some arm of a plan more trials than another.
    """
    from flexlib.study import paper  # late, with pandas: every command line reads this module

    registered = paper.registration()
    found = {
        "optimisers": registered["tuning"],
        "adapters": registered["adapters"],
        "sweep": registered["sweep"]["tuning"],
        "small": registered["small"]["tuning"],
    }
    for plan in found.values():
        sizes = {arm: len(list(grid(values))) for arm, values in plan["trials"].items()}
        if len(set(sizes.values())) != 1:
            raise FlexError(f"claims.yml: arms are tuned with unequal numbers of trials, {sizes}")
    return found


def tuned(profile: str = "nano") -> dict[str, dict[str, Any]]:
    """The trials of every arm of a profile that has a best setting by them alone, as the arms of the sweep
    have not: of nano optimisers, then adapters.

    Raises:
        FlexError: nothing of the profile is tuned.
    """
    registered = {name: plan for name, plan in plans().items() if name != "sweep"}
    found = {
        arm: values
        for plan in registered.values()
        if plan["profile"] == profile
        for arm, values in plan["trials"].items()
    }
    if not found:
        known = ", ".join(dict.fromkeys(plan["profile"] for plan in registered.values()))
        raise FlexError(
            f"no arm of profile {profile!r} is tuned; data/claims.yml has trials for {known}"
        )
    return found


def _by_arm() -> dict[tuple[str, str], dict[str, Any]]:
    """For each arm that is tuned, by profile and name, its plan."""
    return {(plan["profile"], arm): plan for plan in plans().values() for arm in plan["trials"]}


def grid(values: Mapping[str, Sequence[Any]]) -> Iterator[dict[str, Any]]:
    """Every combination of the values of each setting."""
    for combination in itertools.product(*values.values()):
        yield dict(zip(values, combination, strict=True))


def trials(arm: str, *, profile: str = "nano") -> list[tuple[dict[str, Any], RunConfig]]:
    """The trials of an arm: settings, and the configuration that they make.

    Raises:
        FlexError: no plan of the profile has such an arm.
    """
    by_arm = _by_arm()
    if (profile, arm) not in by_arm:
        known = ", ".join(name for of, name in by_arm if of == profile) or "none of its arms"
        raise FlexError(
            f"arm {arm!r} is not tuned; for profile {profile} data/claims.yml has trials for {known}"
        )
    registered = by_arm[profile, arm]
    made = []
    for settings in grid(registered["trials"][arm]):
        wanted = configs.load(profile, arm, registered["seed"], overrides=_overrides(settings))
        # Only the last validation loss is wanted. And which overrides make a difference changes once
        # the profile holds the best; the trial does not.
        training = dataclasses.replace(wanted.method()[0], evaluations=1)
        made.append((settings, dataclasses.replace(wanted, training=training, variant=None)))
    return made


def table(
    folder: Path = FOLDER, arms: Iterable[str] | None = None, *, profile: str = "nano"
) -> pd.DataFrame:
    """All trials of a profile made so far: ``arm, settings`` (JSON), ``eval_loss`` (final, nats a token; NaN
    if it diverged), ``seed, steps, base_digest, run_id``, in the order of the plan. ``arms``: None for
    :func:`tuned`."""
    import pandas as pd

    arms = tuned(profile) if arms is None else arms
    files = [_file(profile, arm, folder) for arm in arms]
    frames = [pd.read_csv(p) for p in files if p.is_file()]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=list(FIELDS))


def best(
    trials: pd.DataFrame,
    *,
    profile: str = "nano",
    planned: Mapping[str, Mapping[str, Sequence[Any]]] | None = None,
) -> dict[str, dict[str, Any]]:
    """The settings with the lowest final validation loss, for each arm whose trials are complete.

    Args:
        trials: of that profile, from :func:`table`.
        planned: the values of each setting, by arm; None: those of :func:`tuned`.

    Raises:
        FlexError: the trials of an arm were made from different base models, or all diverged.
    """
    chosen = {}
    for arm, values in (tuned(profile) if planned is None else planned).items():
        rows = trials[trials["arm"] == arm]
        if len(rows) < len(list(grid(values))):
            continue
        if rows["base_digest"].nunique() > 1:
            raise FlexError(
                f"the trials of {arm} have different base models; remove {_file(profile, arm)}"
            )
        if rows["eval_loss"].isna().all():
            raise FlexError(f"every trial of {arm} diverged; register smaller learning rates")
        chosen[arm] = json.loads(rows.loc[rows["eval_loss"].idxmin(), "settings"])
    return chosen


def labels(profile: str, folder: Path = FOLDER) -> dict[str, str]:
    """For each arm of a profile with runs at its best settings beside its own, by name, the label of these;
    arms whose trials are not complete are left out. It is the name itself where the own are the best.

    Raises:
        FlexError: as :func:`best`.
    """
    plan = _beside(profile)
    if plan is None:
        return {}
    chosen = best(table(folder, plan["trials"], profile=profile), profile=profile)
    return {
        arm: configs.load(profile, arm, 1, overrides=_overrides(settings)).label
        for arm, settings in chosen.items()
    }


def at_tuned(table: pd.DataFrame, profile: str, folder: Path = FOLDER) -> pd.DataFrame:
    """A table of the store (verdicts, training) and, below, the rows of the runs at the best settings, of
    the planned seeds, each under ``<arm>-tuned``.

    Args:
        table: of that profile, with ``arm`` (the label) and ``seed``.

    Raises:
        FlexError: as :func:`best`.
    """
    plan = _beside(profile)
    names = {label: arm + TUNED for arm, label in labels(profile, folder).items()}
    return under(table, names, plan["seeds"]) if plan else table


def under(table: pd.DataFrame, names: Mapping[str, str], seeds: Sequence[int]) -> pd.DataFrame:
    """A table with ``arm`` and ``seed`` and, below, the rows of some of its arms once more, of these seeds
    alone, each under another name; ``names``: by the arm's own."""
    import pandas as pd

    rows = table[table["arm"].isin(names) & table["seed"].isin(seeds)]
    return pd.concat([table, rows.assign(arm=rows["arm"].map(names))], ignore_index=True)


def _beside(profile: str) -> dict[str, Any] | None:
    """The plan of the arms of a profile that have runs at their best settings beside their own."""
    return next((p for p in plans().values() if p["profile"] == profile and "seeds" in p), None)


def _overrides(settings: Mapping[str, Any]) -> list[str]:
    return [f"{key}={value!r}" for key, value in settings.items()]


def tune(
    arm: str, machine: Machine, folder: Path = FOLDER, *, profile: str = "nano"
) -> Iterator[tuple[dict, float, bool]]:
    """Make the trials of an arm that its table lacks; yields settings, final validation loss, and
    whether it was made now.

    Raises:
        FlexError: no plan of the profile has such an arm, or as :func:`flexlib.runs.pipeline.train`.
    """
    from flexlib.runs import preflight

    planned = trials(arm, profile=profile)
    path = _file(profile, arm, folder)
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


def _file(profile: str, arm: str, folder: Path = FOLDER) -> Path:
    return folder / f"{profile}-{arm}.csv"


def to_do(profile: str, folder: Path = FOLDER) -> str:
    """What the trials of a profile lead to, as text: the settings as its file is to hold them, or, where it
    keeps others, the commands that make the runs at the best.

    Raises:
        FlexError: as :func:`best`.
    """
    plan = _beside(profile)
    found = best(table(folder, profile=profile), profile=profile)
    if plan is None:
        return f"# for config/profiles/{profile}.toml\n{as_toml(found)}"
    seeds = ",".join(map(str, plan["seeds"]))
    commands = [
        " --set ".join(
            [f"flexlib grid --profile {profile} --arm {arm} --seeds {seeds}", *_overrides(settings)]
        )
        for arm, settings in found.items()
    ]
    return "\n".join(["# the profile keeps its own values; runs at the best:", *commands, ""])


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
