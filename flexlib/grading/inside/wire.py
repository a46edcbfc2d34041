"""The only way a value passes between a judge and a candidate: as plain data.

A frame is a 4-byte length and that many bytes of ASCII JSON. Numbers, strings, lists, booleans and
None are themselves; every other type is an object of one key, the type's tag. Nothing here can
make the reader run code: what a candidate sends is built anew from exact builtin types, so that
its ``__eq__`` and ``__hash__`` never take part in a comparison.

This file runs inside the sandbox and imports only the standard library.
"""

import builtins
import collections
import datetime
import decimal
import fractions
import json
import os
import struct
import sys

FRAME_LIMIT = 64 << 20
NUMBER_LIMIT = 1 << 63
DATES = {kind.__name__: kind for kind in (datetime.datetime, datetime.date, datetime.time)}

sys.set_int_max_str_digits(0)


class WireError(Exception):
    """The other side broke the format, or a value has no place in it."""


class TooLarge(WireError):
    """A frame over the limit."""


class Gone(Exception):
    """The other side has closed the connection."""


def send(descriptor: int, message) -> None:
    body = json.dumps(message, separators=(",", ":")).encode("ascii")
    if len(body) > FRAME_LIMIT:
        raise TooLarge(f"a value of {len(body)} bytes")
    view = memoryview(struct.pack(">I", len(body)) + body)
    try:
        while view:
            view = view[os.write(descriptor, view) :]
    except OSError:
        raise Gone from None


def _read(descriptor: int, size: int) -> bytes:
    parts = []
    while size:
        try:
            part = os.read(descriptor, min(size, 1 << 20))
        except OSError:
            raise Gone from None
        if not part:
            raise Gone
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def receive(descriptor: int):
    size = struct.unpack(">I", _read(descriptor, 4))[0]
    if size > FRAME_LIMIT:
        raise TooLarge(f"a value of {size} bytes")
    try:
        return json.loads(_read(descriptor, size))
    except (ValueError, RecursionError):
        raise WireError("not a message") from None


def pack(value, other):
    """``value`` as JSON data; ``other(value)`` gives the data for what is no plain value."""
    kind = type(value)
    if value is None or kind is bool or kind is str or kind is float:
        return value
    if kind is int:
        return value if -NUMBER_LIMIT < value < NUMBER_LIMIT else {"i": hex(value)}
    if kind is list:
        return [pack(item, other) for item in value]
    if kind is tuple:
        return {"t": [pack(item, other) for item in value]}
    if kind is dict:
        return {"d": _pairs(value, other)}
    if kind is set:
        return {"s": [pack(item, other) for item in value]}
    return _pack_rare(value, kind, other)


def _pairs(mapping, other) -> list:
    return [[pack(key, other), pack(value, other)] for key, value in dict.items(mapping)]


def _pack_rare(value, kind, other):
    if kind is frozenset:
        return {"f": [pack(item, other) for item in value]}
    if kind is complex:
        return {"c": [value.real, value.imag]}
    if kind in (bytes, bytearray):
        return {"b" if kind is bytes else "B": value.hex()}
    if kind is range:
        return {"r": [pack(part, other) for part in (value.start, value.stop, value.step)]}
    if kind is decimal.Decimal:
        return {"D": str(value)}
    if kind is fractions.Fraction:
        return {"F": [pack(value.numerator, other), pack(value.denominator, other)]}
    if kind.__name__ in DATES and kind is DATES[kind.__name__]:
        return {"T": [kind.__name__, value.isoformat()]}
    if kind is datetime.timedelta:
        return {"Td": [value.days, value.seconds, value.microseconds]}
    if kind is collections.deque:
        return {"q": [pack(item, other) for item in value]}
    if kind is collections.Counter:
        return {"C": _pairs(value, other)}
    if kind is collections.OrderedDict:
        return {"O": _pairs(value, other)}
    if kind is collections.defaultdict:
        return {"d": _pairs(value, other)}
    if kind in (type({}.keys()), type({}.values()), type({}.items())):
        return {"v": [kind.__name__, [pack(item, other) for item in value]]}
    if kind is type and getattr(builtins, value.__name__, None) is value:
        return {"n": value.__name__}
    # A subclass of a plain type counts for the data it holds, whatever methods it has.
    if isinstance(value, int):
        return pack(int.__add__(value, 0), other)
    if isinstance(value, float):
        return float.__add__(value, 0.0)
    if isinstance(value, str):
        return str.__getitem__(value, slice(None))
    if isinstance(value, tuple):
        return {"t": [pack(item, other) for item in tuple.__iter__(value)]}
    if isinstance(value, list):
        return [pack(item, other) for item in list.__iter__(value)]
    if isinstance(value, dict):
        return {"d": _pairs(value, other)}
    if isinstance(value, (set, frozenset)):
        base = set if isinstance(value, set) else frozenset
        return {"s" if base is set else "f": [pack(item, other) for item in base.__iter__(value)]}
    return other(value)


def unpack(data, other):
    """The value that ``pack`` made ``data`` from; ``other(tag, body)`` builds the rest."""
    if isinstance(data, list):
        return [unpack(item, other) for item in data]
    if not isinstance(data, dict):
        return data
    if len(data) != 1:
        raise WireError("not a value")
    [(tag, body)] = data.items()
    try:
        if tag in BUILDERS:
            return BUILDERS[tag]([unpack(item, other) for item in _a_list(body)])
        if tag in PAIR_BUILDERS:
            return PAIR_BUILDERS[tag](
                [(unpack(key, other), unpack(value, other)) for key, value in _a_list(body)]
            )
        if tag in TEXT_BUILDERS:
            return TEXT_BUILDERS[tag](body)
    except (TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
        raise WireError(f"not a value: {error}") from None
    return other(tag, body)


def _a_list(body) -> list:
    if not isinstance(body, list):
        raise WireError("not a value")
    return body


def _view(parts: list):
    name, items = parts
    if name == "dict_keys":
        return dict.fromkeys(items).keys()
    if name == "dict_values":
        return dict(enumerate(items)).values()
    return dict(items).items()


BUILDERS = {
    "t": tuple,
    "s": set,
    "f": frozenset,
    "q": collections.deque,
    "r": lambda parts: range(*parts),
    "c": lambda parts: complex(*parts),
    "F": lambda parts: fractions.Fraction(*parts),
    "T": lambda parts: DATES[parts[0]].fromisoformat(parts[1]),
    "Td": lambda parts: datetime.timedelta(*parts),
    "v": _view,
}
PAIR_BUILDERS = {
    "d": dict,
    "O": collections.OrderedDict,
    "C": lambda pairs: collections.Counter(dict(pairs)),
}


def _builtin_type(name: str) -> type:
    found = getattr(builtins, name)
    if type(found) is not type:
        raise TypeError("no builtin type")
    return found


TEXT_BUILDERS = {
    "n": _builtin_type,
    "i": lambda text: int(text, 16),
    "b": bytes.fromhex,
    "B": bytearray.fromhex,
    "D": decimal.Decimal,
}
