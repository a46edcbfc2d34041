"""What one run is: a frozen description, built in layers from TOML, whose hash is the run's name.

``profiles/``, ``arms/`` and ``decodings/`` hold the layers that ship with flexlib, one file each.
"""

from flexlib.config.schema import (
    Axis,
    Basis,
    BenchmarkSettings,
    Convention,
    LoraSettings,
    Precision,
    RegularizerSettings,
    RunConfig,
    SophiaSettings,
    TrainingSettings,
    arms,
    decodings,
    digest_of,
    keys,
    load,
    profiles,
    run_id,
    to_dict,
    training_identity,
)

__all__ = [
    "Axis",
    "Basis",
    "BenchmarkSettings",
    "Convention",
    "LoraSettings",
    "Precision",
    "RegularizerSettings",
    "RunConfig",
    "SophiaSettings",
    "TrainingSettings",
    "arms",
    "decodings",
    "digest_of",
    "keys",
    "load",
    "profiles",
    "run_id",
    "to_dict",
    "training_identity",
]
