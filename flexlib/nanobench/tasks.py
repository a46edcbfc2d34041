"""From operations to tasks: a composition, a sentence that describes it, and its program.

A *composition* is a frame (the shape of the program) and the operations in its slots, without
constants and wording. It is what splits are made of: two tasks of one composition are the same
problem in other words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from random import Random
from typing import Any

from flexlib.nanobench.operations import (
    CHAR_MAPS,
    CHAR_PREDICATES,
    MAPS,
    OPERATIONS,
    PAIRINGS,
    PREDICATES,
    REDUCTIONS,
    STEPS,
    TRANSFORMS,
    Operation,
)
from flexlib.nanobench.syntax import (
    BOOL,
    CHAR,
    INT,
    LIST,
    STR,
    Bin,
    Call,
    Do,
    Expr,
    ForEach,
    ForIndex,
    ForRange,
    Function,
    If,
    Let,
    Lit,
    Not,
    Push,
    Return,
    Set,
    Stmt,
    Var,
    While,
)


@dataclass(frozen=True)
class Task:
    """One task.

    Attributes:
        composition: frame and operations, e.g. "list|even|double|sum".
        program: the composition of the code, which is another one where the words are used in a sense
            that is not theirs in the benchmark.
        operations: the catalogue names used, e.g. ("predicate.even", ...).
        sentence: what the function is to do, an imperative sentence.
        function: the reference program.
    """

    composition: str
    program: str
    operations: tuple[str, ...]
    sentence: str
    function: Function


PARAMETER_NAMES = {
    LIST: ("xs", "nums", "values", "items"),
    INT: ("n", "num", "amount", "limit"),
    STR: ("s", "text", "word", "line"),
}
SECOND_LIST = ("ys", "others")
# Names that say nothing: what a function does is in its description or in its code.
_VERBS = [
    "solve",
    "compute",
    "get",
    "make",
    "find",
    "run",
    "apply",
    "build",
    "process",
    "check",
    "handle",
    "eval",
]
_NOUNS = [
    "it",
    "value",
    "result",
    "answer",
    "item",
    "data",
    "task",
    "output",
    "step",
    "case",
    "entry",
    "part",
    "unit",
    "thing",
]


WIDE = 60  # the most that is added to constants in the pretraining corpus


class _Slot:
    """An operation with its constants drawn and its wording chosen; ``meant`` is what is coded."""

    def __init__(self, rng: Random, op: Operation, meant: Operation, shift: int):
        self.name = meant.name
        self.constants = tuple(rng.randint(low, high) + shift for low, high in op.constants)
        k, j = (*self.constants, 0, 0)[:2]
        self.words = rng.choice(op.wordings).format(k=k, j=j)
        self._build: Any = meant.build  # None where a frame writes the code itself

    def __call__(self, *operands: Expr) -> Expr:
        return self._build(*operands, *self.constants)

    def pieces(self, char: Expr) -> tuple[Expr, ...]:
        return self._build(char)


class _Sampler:
    """Draws slots for one task and remembers them in order."""

    def __init__(self, rng: Random, wide: bool, usual_sense: float, further: int):
        self.rng = rng
        self.wide = wide
        self.usual_sense = usual_sense
        self.further = further
        self.used: list[str] = []
        self.key: list[tuple[str, str]] = []  # what is said, and what is coded

    def slot(self, kind: str, ops: tuple[Operation, ...]) -> _Slot:
        op = self.rng.choice(ops)
        meant = op
        if self.usual_sense and op.usual and self.rng.random() < self.usual_sense:
            meant = OPERATIONS[f"{kind}.{op.usual}"]
        slot = _Slot(self.rng, op, meant, self.rng.randint(0, WIDE) if self.wide else 0)
        self.used.append(f"{kind}.{op.name}")
        self.key.append((op.name, meant.name))
        return slot

    def maps(self, count: int) -> list[_Slot]:
        """Steps of an integer, one after the other; the further ones come on top."""
        return [self.slot("map", MAPS) for _ in range(count + self.further)]

    def maybe(self, chance: float, kind: str, ops: tuple[Operation, ...]) -> _Slot | None:
        if self.rng.random() < chance:
            return self.slot(kind, ops)
        self.mark("-")
        return None

    def mark(self, *words: str) -> None:
        self.key.extend((word, word) for word in words)

    def parameter(self, type_: str) -> str:
        return self.rng.choice(PARAMETER_NAMES[type_])

    def task(
        self,
        sentence: str,
        params: Iterable[tuple[str, str]],
        returns: str,
        body: Iterable[Any],  # statements
    ) -> Task:
        name = f"{self.rng.choice(_VERBS)}_{self.rng.choice(_NOUNS)}"
        function = Function(name, tuple(params), returns, tuple(body))
        said, coded = ("|".join(part) for part in zip(*self.key, strict=True))
        return Task(said, coded, tuple(self.used), sentence, function)


# Number pipelines: a source of numbers, a filter, a map, and what becomes of the numbers ------


@dataclass(frozen=True)
class _Source:
    """Where numbers come from: the noun phrase, the parameters, the loop around a body."""

    phrase: str
    params: tuple[tuple[str, str], ...]
    item: Var
    loop: Callable[[tuple[Stmt, ...]], tuple[Stmt, ...]]


def _source(draw: _Sampler) -> _Source:
    kind = draw.rng.choices(
        ("list", "range", "digits", "pairs", "positions"), (46, 16, 14, 14, 10)
    )[0]
    draw.mark(kind)
    if kind == "list":
        xs = draw.parameter(LIST)
        return _Source(
            f"the numbers in {xs}",
            ((xs, LIST),),
            Var("x"),
            lambda body: (ForEach("x", INT, xs, body),),
        )
    if kind == "range":
        n = draw.parameter(INT)
        return _Source(
            f"the numbers from 1 to {n}",
            ((n, INT),),
            Var("i"),
            lambda body: (ForRange("i", n, body),),
        )
    if kind == "digits":
        n = draw.parameter(INT)
        shrink = Set(n, "=", Bin("//", Var(n), Lit(10)))
        digit = Let("d", INT, Bin("%", Var(n), Lit(10)))
        return _Source(
            f"the digits of {n}",
            ((n, INT),),
            Var("d"),
            lambda body: (While(Bin(">", Var(n), Lit(0)), (digit, *body, shrink)),),
        )
    xs = draw.parameter(LIST)
    if kind == "positions":
        item = Let("x", INT, Call("at", (Var(xs), Var("i"))))
        return _Source(
            f"the numbers at even positions of {xs}",
            ((xs, LIST),),
            Var("x"),
            lambda body: (ForIndex("i", 0, 2, (xs,), (item, *body)),),
        )
    ys = draw.rng.choice(SECOND_LIST)
    pairing = draw.slot("pairing", PAIRINGS)
    pair = pairing(Call("at", (Var(xs), Var("i"))), Call("at", (Var(ys), Var("i"))))
    return _Source(
        f"the {pairing.words} of {xs} and {ys}",
        ((xs, LIST), (ys, LIST)),
        Var("x"),
        lambda body: (ForIndex("i", 0, 1, (xs, ys), (Let("x", INT, pair), *body)),),
    )


def _filtered(test: _Slot | None, item: Var, core: tuple[Stmt, ...]) -> tuple[Stmt, ...]:
    return (If(test(item), core),) if test else core


def _reduction_code(
    name: str, value: Expr
) -> tuple[tuple[Stmt, ...], tuple[Stmt, ...], tuple[Stmt, ...], Expr]:
    """(statements before the loop, core of the loop, statements after it, result)."""
    total, count, result = Var("total"), Var("count"), Var("result")
    start, add = Let("total", INT, Lit(0)), Set("total", "+=", value)
    match name:
        case "sum":
            return (start,), (add,), (), total
        case "count":
            return (Let("count", INT, Lit(0)),), (Set("count", "+=", Lit(1)),), (), count
        case "product":
            # Not named "product": no operation's code says its own words.
            return (Let("total", INT, Lit(1)),), (Set("total", "*=", value),), (), total
        case "last":
            return (Let("last", INT, Lit(0)),), (Set("last", "=", value),), (), Var("last")
        case "alternating":
            signed = Bin("*", Var("sign"), value)
            flip = Set("sign", "*=", Lit(-1))
            return (start, Let("sign", INT, Lit(1))), (Set("total", "+=", signed), flip), (), total
        case "average":
            guard = If(Bin("==", count, Lit(0)), (Set("count", "=", Lit(1)),))
            counted = (add, Set("count", "+=", Lit(1)))
            return (start, Let("count", INT, Lit(0))), counted, (guard,), Bin("//", total, count)
    ends = {name: Call(name, (result,)) for name in ("largest", "smallest")}
    spread = Bin("-", ends["largest"], ends["smallest"])
    return (Let("result", LIST),), (Push("result", value),), (), ends.get(name, spread)


def _which(test: _Slot | None, change: _Slot | None) -> str:
    return (f" that are {test.words}" if test else "") + (
        f", each {change.words}" if change else ""
    )


def _reduce(draw: _Sampler) -> Task:
    """Filter, map, reduce, and perhaps one more step on the result."""
    draw.mark("reduce")
    source = _source(draw)
    test = draw.maybe(0.6, "predicate", PREDICATES)
    reduction = draw.slot("reduction", REDUCTIONS)
    chance = 0.0 if reduction.name == "count" else 0.5
    change = draw.maybe(chance, "map", MAPS)
    value = change(source.item) if change else source.item
    before, core, after, result = _reduction_code(reduction.name, value)
    steps = [*before, *source.loop(_filtered(test, source.item, core)), *after]
    noun = f"the {reduction.words} of {source.phrase}{_which(test, change)}"
    ending = draw.rng.choices(("plain", "map", "predicate"), (70, 18, 12))[0]
    if ending == "plain":
        draw.mark("-")
        default = ", or 0 if there are none" if reduction.name in _DEFAULTED else ""
        verb = draw.rng.choice(("Return", "Find", "Compute"))
        sentence = f"{verb} {noun}{default}."
        return draw.task(sentence, source.params, INT, [*steps, Return(result)])
    named = [*steps, Let("value", INT, result)]
    if ending == "map":
        maps = draw.maps(1)
        sentence = f"Find {noun}, and return the result {_words(maps)}."
        return draw.task(sentence, source.params, INT, [*named, *_in_turn("value", maps)])
    last = draw.slot("predicate", PREDICATES)
    verb = draw.rng.choice(("Check", "Return"))
    sentence = f"{verb} whether {noun} is {last.words}."
    return draw.task(sentence, source.params, BOOL, [*named, Return(last(Var("value")))])


_DEFAULTED = ("largest", "smallest", "last", "average")


def _words(steps: list[_Slot]) -> str:
    return ", then ".join(step.words for step in steps)


def _in_turn(name: str, steps: list[_Slot]) -> tuple[Stmt, ...]:
    """Statements that take the integer ``name`` through the steps and return what the last one makes."""
    *before, last = steps
    return (*(Set(name, "=", step(Var(name))) for step in before), Return(last(Var(name))))


def _transform_code(slot: _Slot, name: str) -> tuple[list[Stmt], str]:
    """Statements that transform the list `name`, and the name of the list they leave."""
    listed = Var(name)
    match slot.name:
        case "reverse":
            return [Do("reverse", name)], name
        case "ascending":
            return [Do("sort", name)], name
        case "descending":
            return [Do("sort_down", name)], name
        case "take" | "drop":
            return [Do(slot.name, name, slot.constants)], name
        case "extend":
            return [Push(name, Lit(slot.constants[0]))], name
        case "unique":
            test = Not(Call("contains", (Var("kept"), Var("y"))))
            keep = If(test, (Push("kept", Var("y")),))
            return [Let("kept", LIST), ForEach("y", INT, name, (keep,))], "kept"
        case "running":
            grow = (Set("running", "+=", Var("y")), Push("sums", Var("running")))
            loop = ForEach("y", INT, name, grow)
            return [Let("sums", LIST), Let("running", INT, Lit(0)), loop], "sums"
        case "differences":
            here = Call("at", (listed, Var("j")))
            before = Call("at", (listed, Bin("-", Var("j"), Lit(1))))
            steps = ForIndex("j", 1, 1, (name,), (Push("gaps", Bin("-", here, before)),))
            return [Let("gaps", LIST), steps], "gaps"
    raise ValueError(slot.name)


def _collect(draw: _Sampler) -> Task:
    """Filter and map numbers into a list, and perhaps transform it."""
    draw.mark("collect")
    source = _source(draw)
    test = draw.maybe(0.65, "predicate", PREDICATES)
    change = draw.maybe(0.65 if test else 1.0, "map", MAPS)
    shape = draw.maybe(0.45, "transform", TRANSFORMS)
    core = (Push("result", change(source.item) if change else source.item),)
    body = [Let("result", LIST), *source.loop(_filtered(test, source.item, core))]
    final = "result"
    if shape:
        steps, final = _transform_code(shape, final)
        body += steps
    start = draw.rng.choice(("Return a list of", "Collect"))
    tail = f", the list {shape.words}" if shape else ""
    sentence = f"{start} {source.phrase}{_which(test, change)}{tail}."
    return draw.task(sentence, source.params, LIST, [*body, Return(Var(final))])


def _search(draw: _Sampler) -> Task:
    """The first number that passes a test, with an early return."""
    draw.mark("search")
    source = _source(draw)
    test = draw.slot("predicate", PREDICATES)
    change = draw.maybe(0.6, "map", MAPS)
    default = draw.rng.choice((0, -1, -2))
    found = Return(change(source.item) if change else source.item)
    verb = draw.rng.choice(("Return", "Find"))
    tail = f" and return it {change.words}" if change else ""
    verb = "Find" if change else verb
    sentence = (
        f"{verb} the first of {source.phrase} that is {test.words}{tail}, "
        f"or return {default} if there is none."
    )
    body = [*source.loop((If(test(source.item), (found,)),)), Return(Lit(default))]
    return draw.task(sentence, source.params, INT, body)


def _quantifier_core(name: str, test: Expr) -> tuple[Stmt, bool]:
    """The early return inside the loop, and the value after it."""
    if name == "all":
        return If(Not(test), (Return(Lit(False)),)), True
    return If(test, (Return(Lit(name == "any")),)), name != "any"


_QUANTIFIERS = {"all": "all of {0} are", "any": "any of {0} are", "none": "none of {0} are"}


def _quantify(draw: _Sampler) -> Task:
    """Whether all, any or none of the numbers pass a test."""
    draw.mark("quantify")
    source = _source(draw)
    name = draw.rng.choice(tuple(_QUANTIFIERS))
    draw.mark(name)
    change = draw.maybe(0.5, "map", MAPS)
    test = draw.slot("predicate", PREDICATES)
    item = Var("y") if change else source.item
    core, after = _quantifier_core(name, test(item))
    inner = (Let("y", INT, change(source.item)), core) if change else (core,)
    verb = draw.rng.choice(("Check", "Return"))
    tail = f" after each is {change.words}" if change else ""
    sentence = f"{verb} whether {_QUANTIFIERS[name].format(source.phrase)} {test.words}{tail}."
    return draw.task(sentence, source.params, BOOL, [*source.loop(inner), Return(Lit(after))])


# Programs on one integer ---------------------------------------------------------------------


def _branch(draw: _Sampler) -> Task:
    """One condition or two nested ones, each branch with its own result."""
    n = draw.parameter(INT)
    number = Var(n)
    if draw.rng.random() < 0.5:
        draw.mark("branch")
        test = draw.slot("predicate", PREDICATES)
        yes, no = draw.slot("map", MAPS), draw.slot("map", MAPS)
        body: list[Stmt] = [If(test(number), (Return(yes(number)),)), Return(no(number))]
        sentence = f"Return {n} {yes.words} if it is {test.words}, and {n} {no.words} otherwise."
        return draw.task(sentence, ((n, INT),), INT, body)
    draw.mark("nested")
    outer, inner = draw.slot("predicate", PREDICATES), draw.slot("predicate", PREDICATES)
    both, one = draw.slot("map", MAPS), draw.slot("map", MAPS)
    nested = (If(inner(number), (Return(both(number)),)), Return(one(number)))
    body = [If(outer(number), nested), Return(number)]
    sentence = (
        f"Return {n} itself unless it is {outer.words}; if it is, return it {both.words} "
        f"if it is also {inner.words}, and {one.words} otherwise."
    )
    return draw.task(sentence, ((n, INT),), INT, body)


def _sequence(draw: _Sampler) -> Task:
    """Two or three steps on one integer, or further ones, and perhaps a test of the result."""
    draw.mark("sequence")
    n = draw.parameter(INT)
    steps = draw.maps(draw.rng.choice((2, 2, 3)))
    body: list[Stmt] = [Let("value", INT, steps[0](Var(n)))]
    body += [Set("value", "=", step(Var("value"))) for step in steps[1:]]
    words = f"{n} first {_words(steps)}"
    if draw.rng.random() < 0.6:
        draw.mark("-")
        verb = draw.rng.choice(("Return", "Compute"))
        return draw.task(f"{verb} {words}.", ((n, INT),), INT, [*body, Return(Var("value"))])
    test = draw.slot("predicate", PREDICATES)
    verb = draw.rng.choice(("Check", "Return"))
    sentence = f"{verb} whether {words}, is {test.words}."
    return draw.task(sentence, ((n, INT),), BOOL, [*body, Return(test(Var("value")))])


def _repeat(draw: _Sampler) -> Task:
    """A while loop that shrinks n below a bound, and counts or returns what is left."""
    draw.mark("repeat")
    n = draw.parameter(INT)
    number = Var(n)
    step = draw.slot("step", STEPS)
    bound = draw.rng.randint(2, 12)
    change = draw.maybe(0.6, "map", MAPS)
    tail = f", {change.words}" if change else ""
    shrink = Set(n, "=", step(number))
    if draw.rng.random() < 0.5:
        draw.mark("count")
        loop = While(Bin(">=", number, Lit(bound)), (shrink, Set("count", "+=", Lit(1))))
        body = [Let("count", INT, Lit(0)), loop]
        sentence = f"Count how often {n} must be {step.words} until it is below {bound}{tail}."
        result = Var("count")
    else:
        draw.mark("rest")
        body = [While(Bin(">=", number, Lit(bound)), (shrink,))]
        sentence = (
            f"Return what is left of {n} when it is {step.words} until it is below {bound}{tail}."
        )
        result = number
    return draw.task(
        sentence, ((n, INT),), INT, [*body, Return(change(result) if change else result)]
    )


# Programs on a whole list --------------------------------------------------------------------


def _reshape(draw: _Sampler) -> Task:
    """Two list transforms, one after the other."""
    draw.mark("reshape")
    xs = draw.parameter(LIST)
    first = draw.slot("transform", TRANSFORMS)
    second = draw.slot("transform", TRANSFORMS)
    while second.name == first.name:
        draw.used.pop(), draw.key.pop()
        second = draw.slot("transform", TRANSFORMS)
    body: list[Stmt] = [Let("result", LIST, Call("copy", (Var(xs),)))]
    name = "result"
    for slot in (first, second):
        steps, name = _transform_code(slot, name)
        body += steps
    verb = draw.rng.choice(("Return", "Give back"))
    sentence = f"{verb} the list {xs} {first.words} and then {second.words}."
    return draw.task(sentence, ((xs, LIST),), LIST, [*body, Return(Var(name))])


_WHOLE = tuple(op for op in REDUCTIONS if op.name in ("largest", "smallest", "spread", "count"))


def _whole(name: str, xs: Var) -> Expr:
    if name == "count":
        return Call("len", (xs,))
    if name == "spread":
        return Bin("-", Call("largest", (xs,)), Call("smallest", (xs,)))
    return Call(name, (xs,))


def _compare(draw: _Sampler) -> Task:
    """A choice between two properties of a list, by a test of a third."""
    draw.mark("compare")
    xs = draw.parameter(LIST)
    asked, yes, no = (draw.slot("reduction", _WHOLE) for _ in range(3))
    while no.name == yes.name:
        draw.used.pop(), draw.key.pop()
        no = draw.slot("reduction", _WHOLE)
    test = draw.slot("predicate", PREDICATES)
    body = [
        Let("value", INT, _whole(asked.name, Var(xs))),
        If(test(Var("value")), (Return(_whole(yes.name, Var(xs))),)),
        Return(_whole(no.name, Var(xs))),
    ]
    sentence = (
        f"Return the {yes.words} of {xs} if the {asked.words} of {xs} is {test.words}, "
        f"and the {no.words} of {xs} otherwise."
    )
    return draw.task(sentence, ((xs, LIST),), INT, body)


# Programs on a string ------------------------------------------------------------------------


def _rewrite(draw: _Sampler) -> Task:
    """Filter, map and perhaps reverse the characters of a string."""
    draw.mark("rewrite")
    s = draw.parameter(STR)
    char = Var("c")
    test = draw.maybe(0.75, "char_predicate", CHAR_PREDICATES)
    change = draw.maybe(0.7 if test else 1.0, "char_map", CHAR_MAPS)
    backwards = draw.rng.random() < 0.3
    draw.mark("reverse" if backwards else "-")
    pieces = change.pieces(char) if change else (char,)
    if backwards:
        core = tuple(Set("result", "=", Bin("+", p, Var("result"))) for p in reversed(pieces))
    else:
        core = tuple(Set("result", "+=", piece) for piece in pieces)
    loop = ForEach("c", CHAR, s, _filtered(test, char, core))
    noun = f"the characters of {s}{_which(test, change)}"
    tail = ", in reverse order" if backwards else ""
    start = draw.rng.choice(("Join", "Return a string of"))
    body = [Let("result", STR, Lit("")), loop, Return(Var("result"))]
    return draw.task(f"{start} {noun}{tail}.", ((s, STR),), STR, body)


def _tally(draw: _Sampler) -> Task:
    """Count characters, or ask whether all, any or none pass a test."""
    s = draw.parameter(STR)
    if draw.rng.random() < 0.4:
        draw.mark("characters")
        name = draw.rng.choice(tuple(_QUANTIFIERS))
        draw.mark(name)
        test = draw.slot("char_predicate", CHAR_PREDICATES)
        each, after = _quantifier_core(name, test(Var("c")))
        verb = draw.rng.choice(("Check", "Return"))
        sentence = (
            f"{verb} whether {_QUANTIFIERS[name].format(f'the characters of {s}')} {test.words}."
        )
        body: list[Stmt] = [ForEach("c", CHAR, s, (each,)), Return(Lit(after))]
        return draw.task(sentence, ((s, STR),), BOOL, body)
    draw.mark("tally")
    test = draw.slot("char_predicate", CHAR_PREDICATES)
    core = _filtered(test, Var("c"), (Set("count", "+=", Lit(1)),))
    steps = [Let("count", INT, Lit(0)), ForEach("c", CHAR, s, core)]
    noun = f"the count of the characters of {s} that are {test.words}"
    if draw.rng.random() < 0.5:
        maps = draw.maps(1)
        sentence = f"Find {noun}, and return the result {_words(maps)}."
        return draw.task(sentence, ((s, STR),), INT, [*steps, *_in_turn("count", maps)])
    last = draw.slot("predicate", PREDICATES)
    sentence = f"Check whether {noun} is {last.words}."
    return draw.task(sentence, ((s, STR),), BOOL, [*steps, Return(last(Var("count")))])


FRAMES: dict[Callable[[_Sampler], Task], int] = {
    _reduce: 30,
    _collect: 16,
    _search: 8,
    _quantify: 9,
    _branch: 8,
    _sequence: 8,
    _repeat: 5,
    _reshape: 7,
    _compare: 3,
    _rewrite: 11,
    _tally: 8,
}


def sample_task(
    rng: Random, *, wide: bool = False, usual_sense: float = 0.0, further: int = 0
) -> Task:
    """Draw one task: frame by weight, operations evenly, constants and wording at random.

    With ``wide``, the constants of each operation are up to ``WIDE`` larger than the catalogue says.
    The words of an ambiguous operation have their usual sense with probability ``usual_sense``. A program
    that ends in maps of one integer has ``further`` more of them.
    """
    frame = rng.choices(tuple(FRAMES), tuple(FRAMES.values()))[0]
    return frame(_Sampler(rng, wide, usual_sense, further))
