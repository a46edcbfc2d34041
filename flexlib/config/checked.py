"""Tables from TOML and the command line as settings, checked by pydantic, with errors for users.

Settings are pydantic dataclasses in strict mode: a text is no number, true is no number, and a number
with a fraction is no integer. Two things that TOML lacks are added: a comma-separated text is a list, and
``none`` is None where that is allowed.
"""

from __future__ import annotations

import dataclasses
import functools
import re
import typing
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import BeforeValidator, ConfigDict, TypeAdapter, ValidationError

from flexlib.errors import FlexError

T = TypeVar("T")  # a dataclass

STRICT = ConfigDict(strict=True, extra="forbid")


def _items(value: Any) -> Any:
    """``"a,b"`` and ``["a", "b"]`` as a tuple."""
    if isinstance(value, str):
        value = value.split(",")
    return tuple(value) if isinstance(value, list) else value


def _numbers(value: Any) -> Any:
    items = _items(value)
    return tuple(_number(i) for i in items) if isinstance(items, tuple) else items


def _number(item: Any) -> Any:
    try:
        return float(item)
    except (TypeError, ValueError):
        return item


Names = Annotated[tuple[str, ...], BeforeValidator(_items)]
Pair = Annotated[tuple[float, float], BeforeValidator(_numbers)]


def build(cls: type[T], table: Mapping[str, Any], section: str, **fixed: Any) -> T:
    """The settings of a section; ``fixed`` are those that no table sets.

    Raises:
        FlexError: an unknown or a missing parameter, a value of another type or out of range.
    """
    names = settable(cls)
    for key in table:
        if key not in names:
            raise FlexError(
                f"unknown parameter '{section}.{key}'; {section} has {', '.join(sorted(names))}"
            )
    hints = _hints(cls)  # type: ignore[arg-type]
    values = {key: _none(value, hints[key]) for key, value in table.items()}
    try:
        return cls(**values, **fixed)
    except ValidationError as error:
        place = error.errors()[0]["loc"]
        defaults = {f.name: f.default for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
        raise FlexError(
            _said(error, f"{section}.{place[0]}", defaults.get(str(place[0])))
        ) from None


def value(type_: Any, value: Any, key: str) -> Any:
    """A single parameter, checked as :func:`build` does."""
    try:
        return _adapter(type_).validate_python(_none(value, type_))
    except ValidationError as error:
        raise FlexError(_said(error, key)) from None


def settable(cls: type) -> list[str]:
    """The parameters of a section that a table may set."""
    return [f.name for f in dataclasses.fields(cls) if f.metadata.get("settable", True)]


@functools.cache  # a grid builds hundreds of configurations
def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


@functools.cache
def _adapter(type_: Any) -> TypeAdapter[Any]:
    return TypeAdapter(type_, config=ConfigDict(strict=True))


def _none(value: Any, hint: Any) -> Any:
    optional = type(None) in typing.get_args(hint)
    return None if optional and value == "none" else value


_WANTED = {
    "int_type": "an integer",
    "int_from_float": "an integer",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "a text",
}


def _said(error: ValidationError, name: str, default: Any = None) -> str:
    """The first error, in one line that names the parameter."""
    first = error.errors()[0]
    kind, given = first["type"], first["input"]
    wanted = first["msg"].removeprefix("Input should be ")
    if kind.startswith("tuple") or (kind == "missing" and len(first["loc"]) > 1):
        example = ",".join(map(str, default)) if isinstance(default, tuple) else "python,java"
        wanted = f"a list such as {example}"
    elif kind == "missing":
        return f"parameter {name!r} is missing; set it in the profile"
    elif kind == "literal_error":
        choices = re.findall(r"'([^']*)'", first["ctx"]["expected"])
        return f"parameter {name!r} is one of {', '.join(choices)}, not {given!r}"
    return f"parameter {name!r} must be {_WANTED.get(kind, wanted)}, not {given!r}"
