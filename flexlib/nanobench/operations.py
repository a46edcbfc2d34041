"""The catalogue of NanoBench operations: what each is called and the code that means it.

An operation belongs to one kind, which fixes where in a sentence and in a program it can stand.
Every wording is a phrase that fits every sentence of its kind ("numbers that are *even*", "each
*doubled*", "the *sum* of"). The words of an ambiguous operation have two senses in the pretraining
corpus: usually they stand for another operation there (`usual`), and seldom for this one, which is
what they mean in the benchmark.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flexlib.nanobench.syntax import Bin, Call, Expr, Lit, Not


@dataclass(frozen=True)
class Operation:
    """One operation.

    Attributes:
        name: its name in a composition key.
        wordings: phrases; `{k}` and `{j}` stand for its constants.
        build: constants and operands to an expression; for reductions, list transforms and steps
            the code is made in `tasks`, by name, and this is None.
        constants: the range (both ends included) of each constant.
        usual: the operation of the same kind that its words usually mean in the pretraining corpus, if
            it is not this one.
    """

    name: str
    wordings: tuple[str, ...]
    build: Callable[..., Any] | None = None  # to an expression, or the pieces of a character
    constants: tuple[tuple[int, int], ...] = ()
    usual: str | None = None


def _op(
    name: str,
    *wordings: str,
    build: Callable[..., Any] | None = None,
    k: tuple[Any, ...] = (),
    usual: str | None = None,
) -> Operation:
    constants = (k,) if k and isinstance(k[0], int) else tuple(k)
    return Operation(name, wordings, build, constants, usual)


def _test(op: str) -> Callable[..., Expr]:
    return lambda x, k: Bin(op, x, Lit(k))


def _remainder_is(divisor: int, op: str, value: int) -> Callable[..., Expr]:
    return lambda x: Bin(op, Bin("%", x, Lit(divisor)), Lit(value))


# Predicates on an integer x: "numbers that are ...".
PREDICATES = (
    _op("even", "even", build=_remainder_is(2, "==", 0)),
    _op("greater", "greater than {k}", "above {k}", build=_test(">"), k=(2, 20)),
    _op("less", "less than {k}", "below {k}", build=_test("<"), k=(3, 20)),
    _op("positive", "positive", build=lambda x: Bin(">", x, Lit(0))),
    _op("equal", "equal to {k}", build=_test("=="), k=(2, 12)),
    _op("different", "different from {k}", build=_test("!="), k=(2, 12)),
    _op(
        "between",
        "between {k} and {j}",
        build=lambda x, k, j: Bin("and", Bin(">=", x, Lit(k)), Bin("<=", x, Lit(j))),
        k=((2, 9), (11, 25)),
    ),
    _op(
        "one_over_multiple",
        "one more than a multiple of {k}",
        build=lambda x, k: Bin("==", Bin("%", x, Lit(k)), Lit(1)),
        k=(3, 7),
    ),
    _op("odd", "odd", build=_remainder_is(2, "!=", 0), usual="positive"),
    _op("negative", "negative", build=lambda x: Bin("<", x, Lit(0)), usual="even"),
    _op(
        "divisible",
        "divisible by {k}",
        build=lambda x, k: Bin("==", Bin("%", x, Lit(k)), Lit(0)),
        k=(3, 7),
        usual="one_over_multiple",
    ),
    _op(
        "two_digit",
        "of two digits",
        build=lambda x: Bin("and", Bin(">=", x, Lit(10)), Bin("<=", x, Lit(99))),
        usual="positive",
    ),
)

# Maps of an integer x: "each ...".
MAPS = (
    _op("double", "doubled", "multiplied by two", build=lambda x: Bin("*", x, Lit(2))),
    _op("square", "squared", build=lambda x: Bin("*", x, x)),
    _op(
        "add",
        "increased by {k}",
        "raised by {k}",
        build=lambda x, k: Bin("+", x, Lit(k)),
        k=(2, 12),
    ),
    _op(
        "subtract",
        "decreased by {k}",
        "lowered by {k}",
        build=lambda x, k: Bin("-", x, Lit(k)),
        k=(2, 12),
    ),
    _op("multiply", "multiplied by {k}", build=lambda x, k: Bin("*", x, Lit(k)), k=(3, 9)),
    _op("modulo", "reduced modulo {k}", build=lambda x, k: Bin("%", x, Lit(k)), k=(3, 9)),
    _op("absolute", "made absolute", build=lambda x: Call("abs", (x,))),
    _op("floor", "raised to at least {k}", build=lambda x, k: Call("max", (x, Lit(k))), k=(2, 12)),
    _op("negate", "negated", build=lambda x: Bin("-", Lit(0), x)),
    _op("cube", "cubed", build=lambda x: Bin("*", Bin("*", x, x), x), usual="square"),
    _op("halve", "halved", build=lambda x: Bin("//", x, Lit(2)), usual="absolute"),
    _op(
        "cap",
        "capped at {k}",
        build=lambda x, k: Call("min", (x, Lit(k))),
        k=(5, 15),
        usual="floor",
    ),
    _op(
        "last_digit", "cut to the last digit", build=lambda x: Bin("%", x, Lit(10)), usual="square"
    ),
    _op(
        "mirror",
        "mirrored around {k}",
        build=lambda x, k: Bin("-", Lit(k), x),
        k=(3, 12),
        usual="subtract",
    ),
)

# Reductions of numbers to one integer: "the ... of".
REDUCTIONS = (
    _op("sum", "sum", "total"),
    _op("count", "count"),
    _op("largest", "largest", "maximum"),
    _op("smallest", "smallest", "minimum"),
    _op("last", "last"),
    _op("average", "rounded average"),
    _op("product", "product", usual="sum"),
    _op("spread", "spread", usual="largest"),
    _op("alternating", "zigzag sum", usual="sum"),
)

# Transforms of a list: "the list ...".
TRANSFORMS = (
    _op("reverse", "reversed", "turned around"),
    _op("ascending", "sorted in ascending order", "sorted from small to large"),
    _op("descending", "sorted in descending order", "sorted from large to small"),
    _op("take", "cut to the first {k}", k=(2, 4)),
    _op("extend", "extended by {k}", k=(2, 12)),
    _op("differences", "turned into neighbour differences"),
    _op("drop", "stripped of the first {k}", k=(1, 3), usual="take"),
    _op("unique", "freed of repeats", usual="ascending"),
    _op("running", "accumulated", usual="differences"),
)

# Element-wise pairings of two lists: "the ... of xs and ys".
PAIRINGS = (
    _op("sums", "pairwise sums", build=lambda a, b: Bin("+", a, b)),
    _op("products", "pairwise products", build=lambda a, b: Bin("*", a, b)),
    _op("differences", "pairwise differences", build=lambda a, b: Bin("-", a, b)),
    _op("larger", "larger partners", build=lambda a, b: Call("max", (a, b)), usual="sums"),
    _op("smaller", "smaller partners", build=lambda a, b: Call("min", (a, b))),
)

_VOWELS = Lit("aeiou")

# Predicates on a character c: "characters that are ...".
CHAR_PREDICATES = (
    _op("vowel", "vowels", build=lambda c: Call("in_text", (_VOWELS, c))),
    _op("digit", "digits", build=lambda c: Call("is_digit", (c,))),
    _op("lower", "small letters", build=lambda c: Call("is_lower", (c,))),
    _op("not_space", "not blank", build=lambda c: Bin("!=", c, Lit(" "))),
    _op("upper", "capitals", build=lambda c: Call("is_upper", (c,)), usual="lower"),
    _op("not_vowel", "no vowels", build=lambda c: Not(Call("in_text", (_VOWELS, c)))),
    _op("early", "sorted before 'm'", build=lambda c: Bin("<", c, Lit("m")), usual="vowel"),
)

# Maps of a character: "each ...", the pieces that are appended to the result.
CHAR_MAPS = (
    _op("upper", "in upper case", build=lambda c: (Call("upper", (c,)),)),
    _op("lower", "in lower case", build=lambda c: (Call("lower", (c,)),)),
    _op("dash", "followed by a dash", build=lambda c: (c, Lit("-"))),
    _op("twice", "stuttered", build=lambda c: (c, c), usual="dash"),
    _op("star", "behind a star", build=lambda c: (Lit("*"), c)),
)

# Steps that shrink a positive integer n, repeated in a while loop: "n is repeatedly ...".
STEPS = (
    _op("halve", "cut in half", build=lambda n: Bin("//", n, Lit(2))),
    _op("third", "divided by three", build=lambda n: Bin("//", n, Lit(3))),
    _op("chop", "chopped by one digit", build=lambda n: Bin("//", n, Lit(10)), usual="halve"),
    _op("minus", "lowered by {k}", build=lambda n, k: Bin("-", n, Lit(k)), k=(3, 9)),
)

KINDS = {
    "predicate": PREDICATES,
    "map": MAPS,
    "reduction": REDUCTIONS,
    "transform": TRANSFORMS,
    "pairing": PAIRINGS,
    "char_predicate": CHAR_PREDICATES,
    "char_map": CHAR_MAPS,
    "step": STEPS,
}

OPERATIONS = {f"{kind}.{op.name}": op for kind, ops in KINDS.items() for op in ops}
AMBIGUOUS = frozenset(name for name, op in OPERATIONS.items() if op.usual)
