"""Small mistakes in a program, to choose tests that notice them (mutation testing)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any

from flexlib.nanobench.syntax import Bin, Call, Do, Function, If, Lit, Not

_OTHER_OPERATORS = {
    "<": ("<=", ">"),
    "<=": ("<", ">="),
    ">": (">=", "<"),
    ">=": (">", "<="),
    "==": ("!=",),
    "!=": ("==",),
    "+": ("-",),
    "-": ("+",),
    "*": ("+",),
    "//": ("-",),
    "%": ("//",),
    "and": ("or",),
}
_OTHER_CALLS = {
    "max": "min",
    "min": "max",
    "largest": "smallest",
    "smallest": "largest",
    "upper": "lower",
    "lower": "upper",
    "is_digit": "is_lower",
    "is_lower": "is_upper",
    "is_upper": "is_lower",
}
_OTHER_STATEMENTS = {"reverse": "sort", "sort": "sort_down", "sort_down": "sort"}


def mutants(function: Function) -> Iterator[Function]:
    """Every program that differs from `function` by one operator, constant, call or condition."""
    for body in _in_items(function.body):
        yield replace(function, body=body)


def _in_items(items: tuple) -> Iterator[tuple]:
    for index, item in enumerate(items):
        for other in _mutate(item):
            yield (*items[:index], other, *items[index + 1 :])


def _mutate(node: Any) -> Iterator[Any]:
    """Yield `node` with one mutation, here or below."""
    match node:
        case Bin(op, left, right):
            for other in _OTHER_OPERATORS.get(op, ()):
                yield Bin(other, left, right)
        case Lit(value) if isinstance(value, bool):
            yield Lit(not value)
        case Lit(value) if isinstance(value, int):
            yield Lit(value + 1)
            yield Lit(value - 1)
        case Call(name, args) if name in _OTHER_CALLS:
            yield Call(_OTHER_CALLS[name], args)
        case Not(arg):
            yield arg
        case Do(name, target, args) if name in _OTHER_STATEMENTS:
            yield Do(_OTHER_STATEMENTS[name], target, args)
        case If(_, then, orelse):
            yield If(Lit(True), then, orelse)
    if not hasattr(node, "__dataclass_fields__"):
        return
    for item in fields(node):
        child = getattr(node, item.name)
        if isinstance(child, tuple):
            children: Iterator[Any] = _in_items(child)
        elif hasattr(child, "__dataclass_fields__"):
            children = _mutate(child)
        else:
            continue
        for other in children:
            yield replace(node, **{item.name: other})
