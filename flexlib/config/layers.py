"""A configuration is built in layers, the later winning.

The defaults of the settings are the protocol of the paper as released. Over them come a profile
(``profiles/*.toml``: which model, data and sizes), an arm (``arms/*.toml``: which method; a profile can
have values of its own for an arm, in ``[arms.NAME]``, and say which arms need some, in ``[tuned]``), a
decoding if one is named (``decodings/*.toml``: how programs are written) and ``--set key=value``.
"""

from __future__ import annotations

import dataclasses
import json
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from flexlib.config import checked
from flexlib.config.adapters import ADAPTERS, Adapter
from flexlib.config.checked import Names
from flexlib.config.identity import BASE_PINS
from flexlib.config.schema import (
    BenchmarkSettings,
    DataSettings,
    RegularizerSettings,
    RunConfig,
    SophiaSettings,
    TrainingSettings,
)
from flexlib.errors import FlexError

LAYERS = Path(__file__).parent


def profiles() -> list[str]:
    """Names of the profiles that ship with flexlib."""
    return _names("profiles")


def arms() -> list[str]:
    """Names of the arms that ship with flexlib."""
    return _names("arms")


def decodings() -> list[str]:
    """Names of the decodings that ship with flexlib."""
    return _names("decodings")


def benchmarks_of(profile: str) -> dict[str, str]:
    """The benchmarks that a profile has, and the language of each, whichever it takes by default.

    Raises:
        FlexError: unknown profile.
    """
    tables = _read("profile", profile)["benchmarks"]
    return {name: table["language"] for name, table in tables.items()}


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
    run's ``variant``. So is an override of what is to be tuned and is not yet, whichever its value.

    Raises:
        FlexError: unknown profile, arm, decoding, key or language, or a value of the wrong type.
    """
    base = _read("profile", profile)
    of_arms = base.pop("arms", {})  # a profile may set what an arm needs at its size
    own = of_arms.get(arm, {})
    tuned = [key for key, of in base.pop("tuned", {}).items() if arm in of]
    layers = [base, _read("arm", arm), own]
    if decoding:
        layers = _with_decoding(layers, _read("decoding", decoding))
    settings = _parse_overrides(overrides)

    def build(settings: Mapping[str, Any]) -> RunConfig:
        table = _merge(*layers, *(_nested(k, v) for k, v in settings.items()))
        if table.get("base_model") != base.get("base_model"):  # another model than the profile's
            for pin in BASE_PINS:
                if pin not in settings:
                    table.pop(pin, None)
        made = _build(profile, arm, seed, limit, table)
        untuned = tuple(key for key in tuned if key not in settings and not _has(own, key))
        return dataclasses.replace(made, untuned=untuned or None)

    def without(key: str) -> RunConfig | None:
        """The configuration without an override; None where others cannot be without it."""
        try:
            return build({k: v for k, v in settings.items() if k != key})
        except FlexError:
            return None

    wanted = build(settings)
    effective = [
        f"{key}={_text(settings[key])}" for key in sorted(settings) if without(key) != wanted
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


# What a table can hold beside single parameters. ``decoding`` is what all benchmarks share.
_SECTIONS = {
    "training": TrainingSettings,
    "data": DataSettings,
    "adapter": Adapter,
    "regularizer": RegularizerSettings,
    "sophia": SophiaSettings,
    "decoding": BenchmarkSettings,
}


def _build(profile: str, arm: str, seed: int, limit: int | None, table: dict) -> RunConfig:
    """Check a merged table and turn it into a RunConfig."""
    table = dict(table)
    sections = {name: table.pop(name, {}) for name in (*_SECTIONS, "benchmarks")}
    for name, section in sections.items():
        if not isinstance(section, dict):
            raise FlexError(f"{name!r} is a section; the parameters are {', '.join(keys())}")
    languages = checked.value(Names, table.pop("languages", []), "languages")
    trained = checked.value(bool, table.pop("trained", True), "trained")
    base_model = checked.value(str, table.pop("base_model", None), "base_model")
    if base_model.startswith(("/", "~")):
        raise FlexError(
            "base_model is the name that results are published under; give the folder by --base-model"
        )
    pins = {name: checked.value(str | None, table.pop(name, None), name) for name in BASE_PINS}
    table.pop("description", None)
    if table:
        raise FlexError(
            f"unknown parameter {_first(table)!r}; the parameters are {', '.join(keys())}"
        )
    if limit is not None and limit < 1:
        raise FlexError(f"--limit must be 1 or more, not {limit}")
    training = checked.build(TrainingSettings, sections["training"], "training")
    data = checked.build(DataSettings, sections["data"], "data")
    adapter = _adapter(sections["adapter"])
    regularizer = sections["regularizer"]
    if regularizer:
        regularizer = checked.build(RegularizerSettings, regularizer, "regularizer")
    sophia = checked.build(SophiaSettings, sections["sophia"], "sophia")
    wanted = RunConfig(
        profile=profile,
        arm=arm,
        seed=seed,
        base_model=base_model,
        **pins,
        limit=limit,
        benchmarks=_benchmarks(profile, languages, sections["benchmarks"], sections["decoding"]),
        training=training if trained else None,
        data=data if trained and data != DataSettings() else None,
        adapter=adapter if trained else None,
        regularizer=(regularizer or None) if trained else None,
        sophia=sophia if trained and training.optimizer == "sophia" else None,
    )
    _check(wanted)
    return wanted


def _adapter(section: dict) -> Adapter:
    """The adapter of a section, which may name its kind."""
    kind = section.get("kind", "lora")
    if kind not in ADAPTERS:
        raise FlexError(f"parameter 'adapter.kind' is one of {', '.join(ADAPTERS)}, not {kind!r}")
    return checked.build(ADAPTERS[kind].settings, {"kind": kind, **section}, "adapter")


def _benchmarks(
    profile: str, languages: tuple[str, ...], tables: dict[str, dict], decoding: dict
) -> tuple[BenchmarkSettings, ...]:
    """The benchmarks of the profile that are in one of the languages."""
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
    return tuple(
        checked.build(BenchmarkSettings, {**decoding, **t}, f"benchmarks.{name}", name=name)
        for name, t in tables.items()
        if t["language"] in languages
    )


def _check(config: RunConfig) -> None:
    """Refuse what does not go together.

    Raises:
        FlexError: says what lacks what.
    """
    data = config.data
    if data and data.size is None and data.subset_seed is not None:
        raise FlexError("data.subset_seed draws data.size records; set that, too")
    if data and data.transform is None and data.share is not None:
        raise FlexError("data.share is that of the transformed records; set data.transform, too")
    if not (config.adapter and config.training):
        return
    name = config.adapter.kind
    kind = ADAPTERS[name]
    if config.regularizer and not kind.factors:
        able = ", ".join(n for n, k in ADAPTERS.items() if k.factors)
        raise FlexError(
            f"the penalty presses on factors A and B, and an adapter of the kind {name!r} has none "
            f"whose product is the update; adapter.kind can be {able}"
        )
    if not kind.mergeable and any(b.merge_adapter for b in config.benchmarks):
        raise FlexError(
            f"an adapter of the kind {name!r} cannot be merged; set merge_adapter=false"
        )
    if kind.virtual and config.training.packing:
        raise FlexError(f"packing leaves no room for the tokens of an adapter of the kind {name!r}")
    if kind.virtual and config.sophia:
        raise FlexError(f"Sophia's curvature is not defined for an adapter of the kind {name!r}")


def keys() -> list[str]:
    """Every key that ``--set`` understands."""
    dotted = [f"{s}.{name}" for s, cls in _SECTIONS.items() for name in checked.settable(cls)]
    of_adapters = [n for kind in ADAPTERS.values() for n in checked.settable(kind.settings)]
    dotted += [f"adapter.{name}" for name in dict.fromkeys(of_adapters) if name != "kind"]
    dotted.remove("decoding.language")
    return ["base_model", *BASE_PINS, "languages", *dotted, "benchmarks.NAME.<as decoding>"]


# --- reading and merging tables -----------------------------------------------------------------


def _names(kind: str) -> list[str]:
    return sorted(path.stem for path in (LAYERS / kind).glob("*.toml"))


def _with_decoding(layers: list[dict], decoding: dict) -> list[dict]:
    """The layers with a decoding on top; what it sets is dropped from the profile's benchmarks, whose
    tables would win. One that brings benchmarks, with their languages, is of these alone."""
    profile, *others = layers
    settings = decoding.get("decoding", {})
    brings = any("language" in table for table in decoding.get("benchmarks", {}).values())
    tables = {
        name: {k: v for k, v in table.items() if k not in settings}
        for name, table in profile.get("benchmarks", {}).items()
        if not brings
    }
    return [{**profile, "benchmarks": tables}, *others, decoding]


def _read(kind: Literal["profile", "arm", "decoding"], name: str) -> dict:
    known = _names(f"{kind}s")
    if name not in known:
        raise FlexError(f"unknown {kind} {name!r}; the {kind}s are {', '.join(known)}")
    return tomllib.loads((LAYERS / f"{kind}s" / f"{name}.toml").read_text(encoding="utf-8"))


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


def _has(table: Mapping[str, Any], key: str) -> bool:
    """Whether a table has a value under a dotted key."""
    section, dot, rest = key.partition(".")
    return section in table and (not dot or _has(table[section], rest))


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


def _first(table: Mapping[str, Any]) -> str:
    """Dotted name of the first leaf of a table."""
    key, value = next(iter(table.items()))
    return f"{key}.{_first(value)}" if isinstance(value, dict) and value else key
