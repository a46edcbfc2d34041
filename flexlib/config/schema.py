"""What one run is: a frozen description whose hash is the run's name.

A configuration is built in layers, the later winning: the defaults below (the protocol of the
paper as released), a profile (``config/profiles/*.toml``: which model, data and sizes), an arm
(``config/arms/*.toml``: which method; a profile can have values of its own for an arm, in
``[arms.NAME]``), a decoding if one is named (``config/decodings/*.toml``: how programs are written)
and ``--set key=value``. Only what can change a result is
part of it; where files lie, the batch size of generation and the like belong to
:class:`flexlib.runs.pipeline.Machine`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import tomllib
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from flexlib.errors import FlexError

CONFIGS = Path(__file__).parent

Precision = Literal["fp32", "bf16", "fp16"]
Convention = Literal["nyquist", "index"]
Basis = Literal["fourier", "permuted", "orthogonal"]
Axis = Literal["units", "inputs", "outputs", "rank", "whole-A"]


@dataclass(frozen=True)
class LoraSettings:
    """Low-rank update ``W + (alpha / rank) B A`` of the named linear layers (Hu et al. 2021)."""

    rank: int = 8
    alpha: float = 16.0
    dropout: float = 0.05
    target_modules: tuple[str, ...] = ("q_proj", "v_proj")


@dataclass(frozen=True)
class TrainingSettings:
    """How the adapter is trained; the defaults are the released MBPP round."""

    dataset: str
    train_limit: int | None = None  # first records only, for quick looks
    loss_on: Literal["all", "completion"] = "all"  # the released loop trains on the prompt too
    packing: Literal["flatten"] | None = None  # a batch as one row without padding; None: padded
    max_length: int = 512  # tokens; longer texts are cut
    epochs: float = 3.0
    batch_size: int = 4  # sequences an optimiser step, over all devices and accumulation
    optimizer: Literal["adamw", "sophia", "lion"] = "adamw"
    learning_rate: float = 2e-4
    final_lr_fraction: float = 0.05  # cosine from 2e-4 down to 1e-5
    warmup_steps: int = 0  # 100 are configured in the release, none applied by its loop
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    precision: Precision = "fp32"
    evaluations: int = 6  # validation losses, evenly spaced over training, after the one at step 0
    answers: Literal["format-only"] | None = None  # None: the right ones; see flexlib.tasks.data
    digest: str | None = None  # sha256 of the training and validation records


@dataclass(frozen=True)
class RegularizerSettings:
    """Quadratic penalty on the LoRA factors or their product; defined in :mod:`flexlib.training.fourier`.

    The defaults are the released ones, but for ``form``, which has none.
    """

    form: Literal["factor", "delta", "l2", "rank", "nuclear"]
    strength: float = 0.01  # lambda
    matched: bool = False  # multiply by what makes it press as hard as the released penalty
    threshold: float = 0.5
    low_weight: float = 1.0
    high_weight: float = 0.1
    convention: Convention = "nyquist"
    bands: Literal["rectangular", "radial"] = "rectangular"  # of two-dimensional transforms
    basis: Basis = "fourier"
    axis: Axis | None = None  # of basis=permuted: what is renumbered; None: the whole index
    layout_A: Literal["columns"] | None = (
        None  # how a factor is flattened; None: by rows, as stored
    )
    layout_B: Literal["columns"] | None = None
    transform: Literal["last-axis", "both-axes"] | None = None  # of a factor; None: flattened
    average: Literal["harmonic"] | None = None  # of bins, in the rank form; None: arithmetic
    A_as: Literal["factor"] | None = None  # what A gets in the rank form; None: L2
    equal_norm: str | None = None  # the arm whose final norm the strength is to reach: calibration


@dataclass(frozen=True)
class SophiaSettings:
    """What SophiaG has beside AdamW (:mod:`flexlib.training.optimizers.sophia`); the defaults are its authors'."""

    rho: float = 0.04
    eps: float = 1e-15
    curvature: Literal["gnb", "constant"] = "gnb"
    every: int = 10  # steps from one curvature estimate to the next
    bias_correction: bool = False
    shared_forward: bool = False  # estimate from the training step's own forward pass


@dataclass(frozen=True)
class BenchmarkSettings:
    """One benchmark in one language, and how its programs are decoded."""

    name: str
    language: str
    samples: int = 1  # completions a problem
    temperature: float = 0.0  # 0 is greedy
    top_p: float = 1.0
    max_new_tokens: int = 256
    precision: Precision = "fp32"
    merge_adapter: bool = False  # fold (alpha / rank) B A into the weights before decoding
    top_k: int | None = None  # sample among the k likeliest tokens
    num_beams: int | None = None  # beam search of this width; with a temperature, beam sampling
    length_penalty: float | None = None  # of beam search: scores are divided by length**penalty
    early_stopping: bool | None = None  # of beam search: end once num_beams candidates are complete
    repetition_penalty: float | None = (
        None  # of tokens in prompt or completion (Keskar et al. 2019)
    )
    stop: tuple[str, ...] | None = None  # ends a completion; None: the benchmark's own stop strings
    # What is graded of a completion (flexlib.answers): up to a line that begins with three backticks.
    cut_at_fence: bool | None = None
    protocol: Literal["chat"] | None = None  # how the model is asked; None: to continue the prompt
    digest: str | None = None  # sha256 of the problems


@dataclass(frozen=True)
class RunConfig:
    """Everything that determines the result of one run.

    ``digest`` fields are filled by :func:`flexlib.runs.pipeline.resolve`, which reads the files; until then
    the run has no identity.
    """

    profile: str
    arm: str
    seed: int
    # A name for readers. The digest of the files is the identity, so that a copy in another folder
    # is the same model.
    base_model: str = field(metadata={"identity": False})
    benchmarks: tuple[BenchmarkSettings, ...]
    training: TrainingSettings | None  # None: the base model as it is
    lora: LoraSettings | None
    regularizer: RegularizerSettings | None = None
    sophia: SophiaSettings | None = None  # set where training.optimizer is sophia
    base_revision: str | None = None  # of a hub id
    # A GGUF file of that repository, and its sha256. Its digest is the base's identity.
    base_file: str | None = field(default=None, metadata={"identity": False})
    base_sha256: str | None = field(default=None, metadata={"identity": False})
    limit: int | None = None  # first problems of each benchmark only
    variant: str | None = None  # the overrides that made a difference, as text
    base_digest: str | None = None

    @property
    def label(self) -> str:
        """The arm, with its overrides if there are any: what tables group by."""
        return f"{self.arm} {self.variant}" if self.variant else self.arm

    @property
    def is_random(self) -> bool:
        """Whether the seed makes a difference: it does in training and in sampling."""
        return self.training is not None or any(b.temperature > 0 for b in self.benchmarks)


def to_dict(config: RunConfig) -> dict[str, Any]:
    """The configuration as plain JSON data: benchmarks by name, fields that are None left out."""
    data = dataclasses.asdict(config)
    data["benchmarks"] = {b.pop("name"): b for b in data["benchmarks"]}
    return _without_none(data)


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


# What fixes the content of ``base_model`` on the hub: it goes with the model that it was written for.
_BASE_PINS = ("base_revision", "base_file", "base_sha256")

# What of a configuration has no part in its training. A section that is not named here has.
_AFTER_TRAINING = (
    "profile",
    "arm",
    "variant",
    "benchmarks",
    "limit",
    "base_model",
    *_BASE_PINS,
)


def training_identity(config: Mapping[str, Any]) -> str:
    """sha256 of what determines a configuration's adapter: base, data, method and seed."""
    return digest_of(_without_none({k: v for k, v in config.items() if k not in _AFTER_TRAINING}))


def digest_of(data: Any) -> str:
    """sha256 of plain data, by way of its canonical JSON."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def profiles() -> list[str]:
    """Names of the profiles that ship with flexlib."""
    return _names("profiles")


def arms() -> list[str]:
    """Names of the arms that ship with flexlib."""
    return _names("arms")


def decodings() -> list[str]:
    """Names of the decodings that ship with flexlib."""
    return _names("decodings")


def load(
    profile: str,
    arm: str,
    seed: int,
    *,
    decoding: str | None = None,
    overrides: Iterable[str] = (),
    limit: int | None = None,
) -> RunConfig:
    """The configuration of one run, from its profile, its arm and ``key=value`` overrides.

    A ``decoding`` takes precedence over what the profile says of a benchmark, and is part of the
    run's ``variant``.

    Raises:
        FlexError: unknown profile, arm, decoding, key or language, or a value of the wrong type.
    """
    base = _read("profile", profile)
    of_arms = base.pop("arms", {})  # a profile may set what an arm needs at its size
    layers = [base, _read("arm", arm), of_arms.get(arm, {})]
    if decoding:
        layers = _with_decoding(layers, _read("decoding", decoding))
    settings = _parse_overrides(overrides)

    def build(settings: Mapping[str, Any]) -> RunConfig:
        table = _merge(*layers, *(_nested(k, v) for k, v in settings.items()))
        if table.get("base_model") != base.get("base_model"):  # another model than the profile's
            for pin in _BASE_PINS:
                if pin not in settings:
                    table.pop(pin, None)
        return _build(profile, arm, seed, limit, table)

    wanted = build(settings)
    effective = [
        f"{key}={_text(settings[key])}"
        for key in sorted(settings)
        if build({k: v for k, v in settings.items() if k != key}) != wanted
    ]
    effective = [*([decoding] if decoding else []), *effective]
    effective += [f"limit={limit}"] if limit else []
    return dataclasses.replace(
        wanted,
        variant=" ".join(effective) or None,
        # The same result under many seeds would pass for repetitions.
        seed=seed if wanted.is_random else 0,
    )


# --- from tables to dataclasses -----------------------------------------------------------------


def _build(profile: str, arm: str, seed: int, limit: int | None, table: dict) -> RunConfig:
    """Check a merged table and turn it into a RunConfig. The table's sections are the dataclasses,
    but for ``decoding``, which holds what all benchmarks share."""
    table = dict(table)
    sections = {
        name: table.pop(name, {})
        for name in ("decoding", "benchmarks", "training", "lora", "regularizer", "sophia")
    }
    for name, section in sections.items():
        if not isinstance(section, dict):
            raise FlexError(f"{name!r} is a section; the parameters are {', '.join(keys())}")
    tables = sections["benchmarks"]
    languages = _coerce(table.pop("languages", []), tuple[str, ...], "languages")
    trained = _coerce(table.pop("trained", True), bool, "trained")
    base_model = _coerce(table.pop("base_model", None), str, "base_model")
    if base_model.startswith(("/", "~")):
        raise FlexError(
            "base_model is the name that results are published under; give the folder by --base-model"
        )
    pins = {name: _coerce(table.pop(name, None), str | None, name) for name in _BASE_PINS}
    table.pop("description", None)
    if table:
        raise FlexError(
            f"unknown parameter {_first(table)!r}; the parameters are {', '.join(keys())}"
        )
    for name, settings in tables.items():
        if "language" not in settings:  # only the profile's own tables name a language
            known = ", ".join(n for n, t in tables.items() if "language" in t)
            raise FlexError(f"unknown benchmark {name!r}; profile {profile} has {known}")
    offered = {t["language"] for t in tables.values()}
    for language in languages:
        if language not in offered:
            raise FlexError(
                f"unknown language {language!r}; profile {profile} has {', '.join(sorted(offered))}"
            )
    training = _dataclass(TrainingSettings, sections["training"], "training")
    lora = _dataclass(LoraSettings, sections["lora"], "lora")
    regularizer = None
    if sections["regularizer"]:
        regularizer = _dataclass(RegularizerSettings, sections["regularizer"], "regularizer")
    sophia = _dataclass(SophiaSettings, sections["sophia"], "sophia")
    if limit is not None and limit < 1:
        raise FlexError(f"--limit must be 1 or more, not {limit}")
    return RunConfig(
        profile=profile,
        arm=arm,
        seed=seed,
        base_model=base_model,
        **pins,
        limit=limit,
        benchmarks=tuple(
            _dataclass(
                BenchmarkSettings, {**sections["decoding"], **t, "name": name}, f"benchmarks.{name}"
            )
            for name, t in tables.items()
            if t["language"] in languages
        ),
        training=training if trained else None,
        lora=lora if trained else None,
        regularizer=regularizer if trained else None,
        sophia=sophia if trained and training.optimizer == "sophia" else None,
    )


def keys() -> list[str]:
    """Every key that ``--set`` understands."""
    sections = {
        "training": TrainingSettings,
        "lora": LoraSettings,
        "regularizer": RegularizerSettings,
        "sophia": SophiaSettings,
        "decoding": BenchmarkSettings,
    }
    hidden = {"digest", "name", "language"}
    dotted = [
        f"{section}.{f.name}"
        for section, cls in sections.items()
        for f in dataclasses.fields(cls)
        if f.name not in hidden
    ]
    return ["base_model", *_BASE_PINS, "languages", *dotted, "benchmarks.NAME.<as decoding>"]


def _dataclass(cls: type, table: Mapping[str, Any], section: str) -> Any:
    types_ = typing.get_type_hints(cls)
    types_.pop("digest", None)
    for key in table:
        if key not in types_:
            raise FlexError(
                f"unknown parameter '{section}.{key}'; {section} has {', '.join(sorted(types_))}"
            )
    for f in dataclasses.fields(cls):
        if f.default is dataclasses.MISSING and f.name not in table:
            raise FlexError(f"parameter '{section}.{f.name}' is missing; set it in the profile")
    return cls(**{k: _coerce(v, types_[k], f"{section}.{k}") for k, v in table.items()})


def _coerce(value: Any, type_: Any, key: str) -> Any:
    """``value`` as ``type_``; integers pass for floats, and a comma-separated text for a tuple."""
    origin, args = typing.get_origin(type_), typing.get_args(type_)
    if origin in (types.UnionType, typing.Union):
        if value is None or value == "none":
            return None
        return _coerce(value, next(a for a in args if a is not types.NoneType), key)
    if origin is Literal:
        if value not in args:
            raise FlexError(f"parameter {key!r} is one of {', '.join(args)}, not {value!r}")
        return value
    if origin is tuple:
        items = value.split(",") if isinstance(value, str) else value
        if isinstance(items, (list, tuple)) and (args[-1] is Ellipsis or len(items) == len(args)):
            return tuple(
                _coerce(_number(i) if args[0] is float else i, args[0], key) for i in items
            )
        raise FlexError(f"parameter {key!r} must be a list such as {_example(args)}, not {value!r}")
    if type_ is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not type_:
        wanted = {int: "an integer", float: "a number", bool: "true or false", str: "a text"}[type_]
        raise FlexError(f"parameter {key!r} must be {wanted}, not {value!r}")
    return value


def _example(args: tuple) -> str:
    return "0.9,0.999" if args[0] is float else "q_proj,v_proj"


def _number(item: Any) -> Any:
    try:
        return float(item)
    except (TypeError, ValueError):
        return item


# --- reading and merging tables -----------------------------------------------------------------


def _names(kind: str) -> list[str]:
    return sorted(path.stem for path in (CONFIGS / kind).glob("*.toml"))


def _with_decoding(layers: list[dict], decoding: dict) -> list[dict]:
    """The layers with a decoding on top; what it sets is dropped from the profile's benchmarks, whose
    tables would win."""
    profile, *others = layers
    settings = decoding.get("decoding", {})
    tables = {
        name: {k: v for k, v in table.items() if k not in settings}
        for name, table in profile.get("benchmarks", {}).items()
    }
    return [{**profile, "benchmarks": tables}, *others, decoding]


def _read(kind: Literal["profile", "arm", "decoding"], name: str) -> dict:
    known = _names(f"{kind}s")
    if name not in known:
        raise FlexError(f"unknown {kind} {name!r}; the {kind}s are {', '.join(known)}")
    return tomllib.loads((CONFIGS / f"{kind}s" / f"{name}.toml").read_text(encoding="utf-8"))


def _parse_overrides(overrides: Iterable[str]) -> dict[str, Any]:
    """``["training.epochs=1"]`` -> ``{"training.epochs": 1}``; values are TOML, else text."""
    settings = {}
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not key.strip():
            raise FlexError(f"--set takes key=value, not {override!r}")
        try:
            settings[key.strip()] = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            settings[key.strip()] = text.strip()
    return settings


def _nested(key: str, value: Any) -> dict:
    """``("training.epochs", 1)`` -> ``{"training": {"epochs": 1}}``."""
    section, dot, rest = key.partition(".")
    return {section: _nested(rest, value)} if dot else {key: value}


def _text(value: Any) -> str:
    """One text for one value, however it was typed: 1 and 1.0, a,b and ["a", "b"]."""
    if isinstance(value, list):
        return ",".join(_text(v) for v in value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, str) else json.dumps(value)


def _merge(*layers: Mapping[str, Any]) -> dict:
    merged: dict = {}
    for layer in layers:
        for key, value in layer.items():
            if key in merged and isinstance(merged[key], dict) != isinstance(value, dict):
                what = "a section" if isinstance(merged[key], dict) else "a single parameter"
                raise FlexError(f"{key!r} is {what}; the parameters are {', '.join(keys())}")
            merged[key] = _merge(merged.get(key, {}), value) if isinstance(value, dict) else value
    return merged


def _without_none(data: Any) -> Any:
    if isinstance(data, dict):
        return {k: _without_none(v) for k, v in data.items() if v is not None}
    if isinstance(data, (list, tuple)):
        return [_without_none(v) for v in data]
    return data


def _first(table: Mapping[str, Any]) -> str:
    """Dotted name of the first leaf of a table."""
    key, value = next(iter(table.items()))
    return f"{key}.{_first(value)}" if isinstance(value, dict) and value else key
