"""What one run is: frozen settings, built in layers from TOML, whose hash is the run's name.

``profiles/``, ``arms/`` and ``decodings/`` hold the layers that ship with flexlib, one file each: a new
file is a new profile, arm or decoding. A new kind of adapter is a row of ``adapters.ADAPTERS``.
"""

from flexlib.config.adapters import ADAPTERS, Adapter, AdapterKind
from flexlib.config.identity import adapter_of, arm_of, label_of, run_id, to_dict, training_identity
from flexlib.config.layers import arms, benchmarks_of, decodings, keys, load, profiles
from flexlib.config.schema import (
    BEAM_SAMPLING_BATCH,
    Axis,
    Basis,
    BenchmarkSettings,
    Convention,
    DataSettings,
    Precision,
    RegularizerSettings,
    RunConfig,
    SophiaSettings,
    TrainingSettings,
)

__all__ = [
    "ADAPTERS",
    "BEAM_SAMPLING_BATCH",
    "Adapter",
    "AdapterKind",
    "Axis",
    "Basis",
    "BenchmarkSettings",
    "Convention",
    "DataSettings",
    "Precision",
    "RegularizerSettings",
    "RunConfig",
    "SophiaSettings",
    "TrainingSettings",
    "adapter_of",
    "arm_of",
    "arms",
    "benchmarks_of",
    "decodings",
    "keys",
    "label_of",
    "load",
    "profiles",
    "run_id",
    "to_dict",
    "training_identity",
]
