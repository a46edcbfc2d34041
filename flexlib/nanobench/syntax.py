"""The typed syntax tree of a NanoBench program, and its renderers to four languages.

A program is one function over integers, strings, booleans and lists of integers. The tree holds
only what all four languages can say with the same meaning; where they differ (division and
remainder of negative numbers, magnitudes beyond a double's integers) the *checked* rendering to
Python raises `Divergence`, so that such inputs never become tests.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeGuard, TypeVar

INT, BOOL, STR, LIST, CHAR = "int", "bool", "str", "list", "char"


class Divergence(Exception):
    """An input on which the four languages would not agree."""


# Expressions ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Var:
    """A name in use."""

    name: str


@dataclass(frozen=True)
class Lit:
    """A literal integer, string (length 1 where a character is meant) or boolean."""

    value: int | str | bool


@dataclass(frozen=True)
class Bin:
    """A binary operation; `op` is Python's spelling."""

    op: str
    left: Expr
    right: Expr


@dataclass(frozen=True)
class Not:
    """The negation of a condition."""

    arg: Expr


@dataclass(frozen=True)
class Call:
    """A built-in of `BUILTINS`, by its neutral name."""

    name: str
    args: tuple[Expr, ...]


Expr = Var | Lit | Bin | Not | Call


# Statements ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Let:
    """Declare a variable; `value=None` starts an empty list."""

    name: str
    type: str
    value: Expr | None = None


@dataclass(frozen=True)
class Set:
    """Assign to a declared variable; `op` is '=', '+=' or '*='."""

    name: str
    op: str
    value: Expr


@dataclass(frozen=True)
class Push:
    """Append a value to a list."""

    name: str
    value: Expr


@dataclass(frozen=True)
class Do:
    """A built-in statement of `STATEMENTS` on a list variable."""

    name: str
    target: str
    args: tuple[int, ...] = ()


@dataclass(frozen=True)
class If:
    """A condition with its two branches."""

    test: Expr
    then: tuple[Stmt, ...]
    orelse: tuple[Stmt, ...] = ()


@dataclass(frozen=True)
class ForEach:
    """Over the numbers of a list (`type=INT`) or the characters of a string (`type=CHAR`)."""

    var: str
    type: str
    over: str
    body: tuple[Stmt, ...]


@dataclass(frozen=True)
class ForIndex:
    """Over the indices `start, start + step, ...` below the length of every list in `over`."""

    var: str
    start: int
    step: int
    over: tuple[str, ...]
    body: tuple[Stmt, ...]


@dataclass(frozen=True)
class ForRange:
    """Over the integers from 1 to `to`, both included."""

    var: str
    to: str
    body: tuple[Stmt, ...]


@dataclass(frozen=True)
class While:
    """A loop as long as a condition holds."""

    test: Expr
    body: tuple[Stmt, ...]


@dataclass(frozen=True)
class Return:
    """The end of the function, with its value."""

    value: Expr


Stmt = Let | Set | Push | Do | If | ForEach | ForIndex | ForRange | While | Return


@dataclass(frozen=True)
class Function:
    """One function: `params` are (name, type) pairs, `returns` a type."""

    name: str
    params: tuple[tuple[str, str], ...]
    returns: str
    body: tuple[Stmt, ...] = field(default=())


# Renderers -----------------------------------------------------------------------------------

# Binding strength, the same order in all four languages for the operators that the tree uses.
_STRENGTH = {"or": 1, "and": 2, "==": 3, "!=": 3, "<": 4, "<=": 4, ">": 4, ">=": 4}
_STRENGTH |= {"+": 5, "-": 5, "*": 6, "//": 6, "%": 6}

BUILTINS = {
    "python": {
        "len": "len({0})",
        "at": "{0}[{1}]",
        "abs": "abs({0})",
        "max": "max({0}, {1})",
        "min": "min({0}, {1})",
        "largest": "max({0}, default=0)",
        "smallest": "min({0}, default=0)",
        "contains": "{1} in {0}",
        "in_text": "{1} in {0}",
        "is_digit": "{0}.isdigit()",
        "is_upper": "{0}.isupper()",
        "is_lower": "{0}.islower()",
        "upper": "{0}.upper()",
        "lower": "{0}.lower()",
        "copy": "list({0})",
        "text_size": "len({0})",
    },
    "java": {
        "len": "{0}.size()",
        "at": "{0}.get({1})",
        "abs": "Math.abs({0})",
        "max": "Math.max({0}, {1})",
        "min": "Math.min({0}, {1})",
        "largest": "{0}.isEmpty() ? 0 : Collections.max({0})",
        "smallest": "{0}.isEmpty() ? 0 : Collections.min({0})",
        "contains": "{0}.contains({1})",
        "in_text": "{0}.indexOf({1}) >= 0",
        "is_digit": "Character.isDigit({0})",
        "is_upper": "Character.isUpperCase({0})",
        "is_lower": "Character.isLowerCase({0})",
        "upper": "Character.toUpperCase({0})",
        "lower": "Character.toLowerCase({0})",
        "copy": "new ArrayList<Long>({0})",
        "text_size": "{0}.length()",
    },
    "javascript": {
        "len": "{0}.length",
        "at": "{0}[{1}]",
        "abs": "Math.abs({0})",
        "max": "Math.max({0}, {1})",
        "min": "Math.min({0}, {1})",
        "largest": "{0}.length === 0 ? 0 : Math.max(...{0})",
        "smallest": "{0}.length === 0 ? 0 : Math.min(...{0})",
        "contains": "{0}.includes({1})",
        "in_text": "{0}.includes({1})",
        "is_digit": "/[0-9]/.test({0})",
        "is_upper": "/[A-Z]/.test({0})",
        "is_lower": "/[a-z]/.test({0})",
        "upper": "{0}.toUpperCase()",
        "lower": "{0}.toLowerCase()",
        "copy": "[...{0}]",
        "text_size": "{0}.length",
    },
    "cpp": {
        "len": "{0}.size()",
        "at": "{0}[{1}]",
        "abs": "std::abs({0})",
        "max": "std::max({0}, {1})",
        "min": "std::min({0}, {1})",
        "largest": "{0}.empty() ? 0 : *std::max_element({0}.begin(), {0}.end())",
        "smallest": "{0}.empty() ? 0 : *std::min_element({0}.begin(), {0}.end())",
        "contains": "std::count({0}.begin(), {0}.end(), {1}) > 0",
        "in_text": "std::string({0}).find({1}) != std::string::npos",
        "is_digit": "isdigit({0})",
        "is_upper": "isupper({0})",
        "is_lower": "islower({0})",
        "upper": "(char)toupper({0})",
        "lower": "(char)tolower({0})",
        "copy": "{0}",
        "text_size": "{0}.size()",
    },
}

STATEMENTS = {
    "python": {
        "reverse": "{0}.reverse()",
        "sort": "{0}.sort()",
        "sort_down": "{0}.sort(reverse=True)",
        "take": "{0} = {0}[:{1}]",
        "drop": "{0} = {0}[{1}:]",
    },
    "java": {
        "reverse": "Collections.reverse({0});",
        "sort": "Collections.sort({0});",
        "sort_down": "Collections.sort({0}, Collections.reverseOrder());",
        "take": "while ({0}.size() > {1}) {0}.remove({0}.size() - 1);",
        "drop": "for (int i = 0; i < {1} && !{0}.isEmpty(); i++) {0}.remove(0);",
    },
    "javascript": {
        "reverse": "{0}.reverse();",
        "sort": "{0}.sort((a, b) => a - b);",
        "sort_down": "{0}.sort((a, b) => b - a);",
        "take": "{0}.splice({1});",
        "drop": "{0}.splice(0, {1});",
    },
    "cpp": {
        "reverse": "std::reverse({0}.begin(), {0}.end());",
        "sort": "std::sort({0}.begin(), {0}.end());",
        "sort_down": "std::sort({0}.rbegin(), {0}.rend());",
        "take": "while ({0}.size() > {1}) {0}.pop_back();",
        "drop": "for (int i = 0; i < {1} && !{0}.empty(); i++) {0}.erase({0}.begin());",
    },
}

TYPES = {
    "python": {INT: "int", BOOL: "bool", STR: "str", LIST: "list[int]", CHAR: "str"},
    "java": {INT: "long", BOOL: "boolean", STR: "String", LIST: "ArrayList<Long>", CHAR: "char"},
    "javascript": dict.fromkeys((INT, BOOL, STR, LIST, CHAR), "let"),
    "cpp": {
        INT: "long",
        BOOL: "bool",
        STR: "std::string",
        LIST: "std::vector<long>",
        CHAR: "char",
    },
}

T = TypeVar("T")

LANGUAGES = ("python", "java", "javascript", "cpp")  # that a program is rendered to

_EMPTY_LIST = {"python": "[]", "java": "new ArrayList<Long>()", "javascript": "[]", "cpp": "{}"}
_C_OPERATORS = {"and": "&&", "or": "||"}
_JS_OPERATORS = {"==": "===", "!=": "!==", "and": "&&", "or": "||"}


def camel_case(name: str) -> str:
    """`add_all` as `addAll`, the way MultiPL-E renames functions for Java."""
    head, *tail = name.split("_")
    return head + "".join(word.capitalize() for word in tail)


class Renderer:
    """Renders functions to one language.

    Args:
        language: one of python, java, javascript, cpp.
        checked: (Python only) wrap division, remainder, assigned integers and while loops in the
            guards that `compile_checked` supplies, which raise `Divergence`.
    """

    def __init__(self, language: str, checked: bool = False):
        self.language = language
        self.checked = checked
        self.is_python = language == "python"

    # expressions

    def expr(self, node: Expr, strength: int = 0) -> str:
        match node:
            case Var(name):
                return name
            case Lit(value):
                return self.literal(value)
            case Not(arg):
                inner = self.expr(arg, 7)
                text = f"not {inner}" if self.is_python else f"!{inner}"
                return f"({text})" if strength > 2 and self.is_python else text
            case Call(name, args):
                return self.call(name, args, strength)
            case Bin(op, left, right):
                return self.binary(op, left, right, strength)
        raise TypeError(node)

    def call(self, name: str, args: tuple[Expr, ...], strength: int) -> str:
        rendered = [self.expr(arg) for arg in args]
        if self.language == "cpp" and name in ("max", "min"):
            # std::max wants both arguments of one type.
            rendered = [
                text + "L" if isinstance(arg, Lit) else text
                for arg, text in zip(args, rendered, strict=True)
            ]
        text = BUILTINS[self.language][name].format(*rendered)
        loose = any(mark in text for mark in (" in ", " ? ", " >= ", " > ", " != "))
        return f"({text})" if loose and strength > 2 else text

    def binary(self, op: str, left: Expr, right: Expr, strength: int) -> str:
        own = _STRENGTH[op]
        a, b = self.expr(left, own), self.expr(right, own + 1)
        if op == "//" and self.language == "javascript":
            return f"Math.floor({self.expr(left, 6)} / {b})"
        if self.checked and op in ("==", "!=") and right == Lit(0) and _is_remainder(left):
            # A remainder is zero in all languages or in none, whatever the signs.
            return f"{self.expr(left.left, 6)} % {self.expr(left.right, 7)} {op} 0"
        if self.checked and op in ("//", "%"):
            return f"{'_div' if op == '//' else '_mod'}({self.expr(left)}, {self.expr(right)})"
        if op == "//" and not self.is_python:
            op = "/"
        if self.language == "javascript":
            op = _JS_OPERATORS.get(op, op)
        elif not self.is_python:
            op = _C_OPERATORS.get(op, op)
        text = f"{a} {op} {b}"
        return f"({text})" if own < strength else text

    def literal(self, value: int | str | bool) -> str:
        if isinstance(value, bool):
            return str(value) if self.is_python else str(value).lower()
        if isinstance(value, int):
            return str(value)
        if len(value) == 1 and self.language in ("java", "cpp"):
            return f"'{value}'"
        return f'"{value}"'

    # statements

    def block(self, body: tuple[Stmt, ...], depth: int) -> list[str]:
        return [line for stmt in body for line in self.stmt(stmt, depth)]

    def stmt(self, node: Stmt, depth: int) -> list[str]:
        pad = "    " * depth
        end = "" if self.is_python else ";"
        match node:
            case Let(name, type_, value):
                text = _EMPTY_LIST[self.language] if value is None else self.assigned(value, type_)
                head = "" if self.is_python else TYPES[self.language][type_] + " "
                if value is None and self.language == "cpp":
                    return [f"{pad}{head}{name};"]
                return [f"{pad}{head}{name} = {text}{end}"]
            case Set(name, op, value):
                if self.checked and op in ("*=", "+=") and not isinstance(value, Lit):
                    return [f"{pad}{name} = _int({name} {op[0]} ({self.expr(value)}))"]
                return [f"{pad}{name} {op} {self.guarded(value)}{end}"]
            case Push(name, value):
                return [pad + self.push(name, value)]
            case Do(name, target, args):
                return [pad + STATEMENTS[self.language][name].format(target, *args)]
            case If(test, then, orelse):
                return self.conditional(test, then, orelse, depth)
            case Return(value):
                return [f"{pad}return {self.guarded(value)}{end}"]
            case While(test, body):
                guard = "_tick() and " if self.checked else ""
                return self.compound(f"while {guard}{self.condition(test)}", body, depth)
        return self.compound(self.loop_head(node), node.body, depth)

    def guarded(self, value: Expr) -> str:
        text = self.expr(value)
        return f"_int({text})" if self.checked and not isinstance(value, Lit | Var) else text

    def assigned(self, value: Expr, type_: str) -> str:
        text = self.guarded(value)
        if type_ == STR and self.language in ("java", "cpp") and isinstance(value, Lit):
            return f'"{value.value}"'
        return text

    def push(self, name: str, value: Expr) -> str:
        text = self.guarded(value)
        if self.language == "java" and isinstance(value, Lit):
            text += "L"  # an int literal does not box to Long
        method = {"python": "append", "java": "add", "javascript": "push", "cpp": "push_back"}
        return f"{name}.{method[self.language]}({text})" + ("" if self.is_python else ";")

    def condition(self, test: Expr) -> str:
        return self.expr(test) if self.is_python else f"({self.expr(test)})"

    def compound(self, head: str, body: tuple[Stmt, ...], depth: int) -> list[str]:
        pad = "    " * depth
        inner = self.block(body, depth + 1)
        if self.is_python:
            return [f"{pad}{head}:", *inner]
        return [f"{pad}{head} {{", *inner, pad + "}"]

    def conditional(
        self, test: Expr, then: tuple[Stmt, ...], orelse: tuple[Stmt, ...], depth: int
    ) -> list[str]:
        lines = self.compound(f"if {self.condition(test)}", then, depth)
        if not orelse:
            return lines
        if self.is_python:
            return lines + self.compound("else", orelse, depth)
        rest = self.compound("else", orelse, depth)
        return [*lines[:-1], "    " * depth + "} else {", *rest[1:]]

    def loop_head(self, node: ForEach | ForIndex | ForRange) -> str:
        language = self.language
        match node:
            case ForEach(var, type_, over, _):
                if self.is_python:
                    return f"for {var} in {over}"
                if language == "javascript":
                    return f"for (const {var} of {over})"
                items = f"{over}.toCharArray()" if language == "java" and type_ == CHAR else over
                return f"for ({TYPES[language][type_]} {var} : {items})"
            case ForIndex(var, start, step, over, _):
                sizes = [self.expr(Call("len", (Var(name),))) for name in over]
                least = BUILTINS[language]["min"].format(*sizes) if len(sizes) == 2 else sizes[0]
                if self.is_python:
                    bounds = {(0, 1): least, (1, 1): f"1, {least}"}
                    return f"for {var} in range({bounds.get((start, step), f'{start}, {least}, {step}')})"
                kind = {"java": "int", "javascript": "let", "cpp": "size_t"}[language]
                advance = f"{var}++" if step == 1 else f"{var} += {step}"
                return f"for ({kind} {var} = {start}; {var} < {least}; {advance})"
            case ForRange(var, to, _):
                if self.is_python:
                    return f"for {var} in range(1, {to} + 1)"
                kind = "let" if language == "javascript" else "long"
                return f"for ({kind} {var} = 1; {var} <= {to}; {var}++)"
        raise TypeError(node)

    # functions

    def signature(self, function: Function) -> str:
        """The line that opens the function, without indentation."""
        types = TYPES[self.language]
        if self.is_python:
            params = ", ".join(f"{name}: {types[kind]}" for name, kind in function.params)
            return f"def {function.name}({params}) -> {types[function.returns]}:"
        name = function.name if self.language == "cpp" else camel_case(function.name)
        if self.language == "javascript":
            return f"function {name}({', '.join(p for p, _ in function.params)}) {{"
        params = ", ".join(f"{types[kind]} {param}" for param, kind in function.params)
        static = "public static " if self.language == "java" else ""
        return f"{static}{types[function.returns]} {name}({params}) {{"

    def body(self, function: Function) -> str:
        """The indented lines of the body, each ended by a newline, without the closing brace."""
        depth = 2 if self.language == "java" else 1
        return "".join(line + "\n" for line in self.block(function.body, depth))

    def value(self, value: int | str | bool | list[int]) -> str:
        """A test's argument or expected value, in MultiPL-E's spelling."""
        if isinstance(value, list):
            if self.language == "java":
                items = ", ".join(f"(long){item}l" for item in value)
                return f"(new ArrayList<Long>(Arrays.asList({items})))"
            if self.language == "cpp":
                items = ", ".join(f"(long){item}" for item in value)
                return f"(std::vector<long>({{{items}}}))"
            return str(value)
        if isinstance(value, str):
            return f'("{value}")' if self.language in ("java", "cpp") else f'"{value}"'
        if isinstance(value, bool):
            text = str(value) if self.is_python else str(value).lower()
        else:
            text = str(value) + ("l" if self.language == "java" else "")
        return text if self.language in ("python", "javascript") else f"({text})"


def python_function(function: Function, checked: bool = False) -> str:
    """Python source of the bare function."""
    renderer = Renderer("python", checked)
    return renderer.signature(function) + "\n" + renderer.body(function)


def compile_checked(function: Function) -> Callable[..., Any]:
    """The function as a Python callable.

    It raises `Divergence` where the languages would differ, and when its while loops run for more
    than 10,000 rounds over all calls since it was compiled (mutated programs may not end).
    """
    rounds = iter(range(10_000))

    def tick() -> bool:
        if next(rounds, None) is None:
            raise Divergence
        return True

    namespace: dict[str, Any] = {"_div": _div, "_mod": _mod, "_int": _int, "_tick": tick}
    exec(python_function(function, checked=True), namespace)
    return namespace[function.name]


def _is_remainder(node: Expr) -> TypeGuard[Bin]:
    return isinstance(node, Bin) and node.op == "%"


def _div(a: int, b: int) -> int:
    if a < 0:
        raise Divergence
    return a // b


def _mod(a: int, b: int) -> int:
    if a < 0:
        raise Divergence
    return a % b


def _int(value: T) -> T:
    if isinstance(value, int) and abs(value) > 10**9:
        raise Divergence
    return value
