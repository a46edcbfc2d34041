"""A run's name is the hash of its configuration.

Stored configurations are read as they were written. Where one was written in other words than today's,
these are kept (:func:`to_dict`), so that the same run has the same name.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from flexlib.config.schema import RunConfig
from flexlib.formats import digest_of

# What fixes the content of ``base_model`` on the hub: it goes with the model that it was written for.
BASE_PINS = ("base_revision", "base_file", "base_sha256")

# What of a configuration has no part in its training. A section that is not named here has.
_AFTER_TRAINING = (
    "profile",
    "arm",
    "variant",
    "benchmarks",
    "limit",
    "base_model",
    *BASE_PINS,
)


def to_dict(config: RunConfig) -> dict[str, Any]:
    """The configuration as plain JSON data: benchmarks by name, fields that are None left out.

    An adapter of the kind ``lora`` is the section ``lora``, without its kind, and a training set of
    which nothing but the answers is exchanged, by ``shuffled-alike``, has ``training.answers``
    format-only: so they were called when there was nothing else. So was the arm of that name, which is
    ``shuffled`` now (:func:`arm_of`). What is ``untuned`` is left out: nothing is run before it is tuned.
    """
    data = _without_none(dataclasses.asdict(config))
    data.pop("untuned", None)
    data["benchmarks"] = {b.pop("name"): b for b in data["benchmarks"]}
    if data.get("adapter", {}).get("kind") == "lora":
        data["lora"] = data.pop("adapter")
        del data["lora"]["kind"]
    if data.get("data") == {"transform": "shuffled-alike"}:
        del data["data"]
        data["training"]["answers"] = _SHUFFLED
        if data["arm"] == "shuffled":
            data["arm"] = _SHUFFLED
    return data


# What the arm `shuffled` and its answers were called in the runs of before 2026-11-24. The arm format-only
# of today has right answers.
_SHUFFLED = "format-only"


def arm_of(config: Mapping[str, Any]) -> str:
    """The arm of a configuration as it is stored, by today's name."""
    renamed = config.get("training", {}).get("answers") == _SHUFFLED == config["arm"]
    return "shuffled" if renamed else config["arm"]


def label_of(config: Mapping[str, Any]) -> str:
    """The arm of a configuration as it is stored, with its variant: what the store tells runs apart by."""
    return " ".join(filter(None, (arm_of(config), config.get("variant"))))


def adapter_of(config: Mapping[str, Any]) -> dict[str, Any] | None:
    """The adapter of a configuration as it is stored, in today's words: its kind and its settings."""
    if "lora" in config:
        return {"kind": "lora", **config["lora"]}
    return config.get("adapter")


def run_id(config: Mapping[str, Any]) -> str:
    """First 12 hex digits of the sha256 of the canonical JSON of a configuration.

    Fields that are None are left out, so an option added later, off by default, leaves the names
    of stored runs alone.
    """
    not_identity = {
        f.name for f in dataclasses.fields(RunConfig) if not f.metadata.get("identity", True)
    }
    identity = _without_none({k: v for k, v in config.items() if k not in not_identity})
    return digest_of(identity)[:12]


def training_identity(config: Mapping[str, Any]) -> str:
    """sha256 of what determines a configuration's adapter: base, data, method and seed."""
    return digest_of(_without_none({k: v for k, v in config.items() if k not in _AFTER_TRAINING}))


def _without_none(data: Any) -> Any:
    if isinstance(data, dict):
        return {k: _without_none(v) for k, v in data.items() if v is not None}
    if isinstance(data, (list, tuple)):
        return [_without_none(v) for v in data]
    return data
