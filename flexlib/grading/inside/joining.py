"""How the texts of MultiPL-E become the files of a program whose tests run in its process.

Each function takes prompt, completion and tests, and gives the files by name and what of the tests the
program's runner is given after the secret word. Names that must not be guessed are random.

This file runs inside the sandbox and imports only the standard library.
"""

import re
import secrets

NO_PROGRAM = 4  # with this status a runner says that the program is none of its language


class Unfit(Exception):
    """The tests are not of the form that MultiPL-E's have."""


class Refused(Exception):
    """The program asks for what would run before, or instead of, the code that guards the word."""


def beside(suffix, title, once, form):
    """The program alone in a file; the runner takes the tests as they stand.

    They must have the ``form``, a pattern, and hold the text ``once`` exactly once.
    """
    form = re.compile(form, re.DOTALL)

    def join(prompt, completion, tests):
        if tests.count(once) != 1 or not form.fullmatch(tests.strip()):
            raise Unfit(f"the {title} tests are not one function that is called at their end")
        return {f"program{suffix}": f"{prompt}{completion}\n"}, tests

    return join


# Go --------------------------------------------------------------------------------------------

# A name that Go declares can be declared anew by a package, which would change what the tests mean: a
# package that does so with one that they use does not compile.
GO_GUARD = """package {package}

import (
	bufio_{r} "bufio"
	bytes_{r} "bytes"
	math_{r} "math"
	os_{r} "os"
	strconv_{r} "strconv"
	testing_{r} "testing"
	unicode_{r} "unicode"
)

// The first variable of the package: nothing of the program runs before it has its value.
var Word_{r}, _ = bufio_{r}.NewReader(os_{r}.Stdin).ReadString('\\n')

var _ func(int) string = strconv_{r}.Itoa
var _ func(int64, int) string = strconv_{r}.FormatInt
var _ func(uint64, int) string = strconv_{r}.FormatUint
var _ func(float64) float64 = math_{r}.Sqrt
var _ func(float32) uint32 = math_{r}.Float32bits
var _ func(bool) string = strconv_{r}.FormatBool
var _ func([]byte, byte) int = bytes_{r}.IndexByte
var _ func(rune) bool = unicode_{r}.IsDigit
var _ func(string) (int, error) = strconv_{r}.Atoi
var _ map[string]int = nil
var _ []int = nil
var _ func() = nil

const true_{r}, false_{r} = true, false

var _ = map[bool]int{{true_{r}: 0, 1 == 2: 0}}
var _ = map[bool]int{{false_{r}: 0, 1 == 1: 0}}

var Held_{r} = 1 == 2

// A program that ran the tests itself could try answers on them.
func once_{r}() {{
	if entered_{r} {{
		os_{r}.Exit(9)
	}}
	entered_{r} = 1 == 1
}}

var entered_{r} = 1 == 2

func Entry_{r}(t *testing_{r}.T) {{
	{test}(t)
	if !t.Failed() && ended_{r} {{
		Held_{r} = 1 == 1
	}}
}}

var ended_{r} = 1 == 2
"""

GO_MAIN = """package main

import (
	"fmt"
	"os"
	"testing"
	"testing/internal/testdeps"

	tested "tested"
)

func main() {{
	os.Args = os.Args[:1]
	tests := []testing.InternalTest{{{{Name: "{test}", F: tested.Entry_{r}}}}}
	code := testing.MainStart(testdeps.TestDeps{{}}, tests, nil, nil, nil).Run()
	if code == 0 && tested.Held_{r} {{
		fmt.Printf("\\n%s", tested.Word_{r})
	}}
	os.Exit(code)
}}
"""


def go(prompt, completion, tests):
    package = re.search(r"^package[ \t]+(\w+)", prompt, re.MULTILINE)
    test = re.match(r"func (Test\w+)\(t \*testing\.T\) \{\n", tests)
    body = tests.rstrip()
    functions = re.findall(r"^func ", tests, re.MULTILINE)
    if package is None or test is None or len(functions) > 1 or not body.endswith("}"):
        raise Unfit("the Go tests are not one function of testing.T")
    r = secrets.token_hex(8)
    names = {"r": r, "package": package[1], "test": test[1]}
    inner = body[test.end() : -1]
    ended = f"{test[0]}\tonce_{r}()\n{inner}\tended_{r} = 1 == 1\n}}\n"
    return {
        "program.go": f"{prompt}{completion}\n{ended}",
        "guard.go": GO_GUARD.format(**names),
        "main.go": GO_MAIN.format(**names),
    }, ""


# Rust ------------------------------------------------------------------------------------------

# What the tests use by its bare name, and what it must be.
RUST_TYPES = {name: f"::std::primitive::{name}" for name in ["bool", "char", "f32", "f64"]}
RUST_TYPES |= {
    f"{sign}{size}": f"::std::primitive::{sign}{size}"
    for sign in "iu"
    for size in ["8", "16", "32", "64", "128", "size"]
}
RUST_TYPES |= {
    "String": "::std::string::String",
    # Of every T: an alias may stand for the real type of some only.
    "Vec<T>": "::std::vec::Vec<T>",
    "Option<T>": "::std::option::Option<T>",
    "&'static str": "&'static ::std::primitive::str",
}
RUST_MAIN = """fn main() {{
    use ::std::option::Option::{{Some, None}};
    use ::std::string::String;
    use ::std::vec::Vec;
    once_{r}();
    let word_{r} = read_{r}();
"""
RUST_GUARD = """
fn read_{r}() -> ::std::string::String {{
    let mut all = ::std::string::String::new();
    let _ = ::std::io::Read::read_to_string(&mut ::std::io::stdin(), &mut all);
    all
}}
// A program that ran the tests itself could try answers on them. One symbol: nor can it hold them twice, as
// a module of its own.
#[no_mangle]
static ONCE_{r}: ::std::sync::atomic::AtomicBool = ::std::sync::atomic::AtomicBool::new(1 == 2);
fn once_{r}() {{
    if ONCE_{r}.swap(1 == 1, ::std::sync::atomic::Ordering::SeqCst) {{
        ::std::process::exit(9)
    }}
}}
fn check_{r}<T>() {{
{checks}
}}
"""
# With these a program could run before ``main``, take the place of a function of the C library, or read the
# tests, which are in its own source.
RUST_REFUSED = re.compile(
    r"\b(link_section|no_mangle|export_name|global_asm|asm|naked|include|include_str|include_bytes)\b"
)
RUST_MACRO = re.compile(r'"(?:\\.|[^"\\])*"|\b(assert_eq|assert|vec)!')


def rust(prompt, completion, tests):
    """The last two lines of ``main`` are ours; macros are named by their path, because a program may
    define others of the same name."""
    refused = RUST_REFUSED.search(completion)
    if refused:
        raise Refused(f"the grader takes no Rust program with {refused[0]}")
    body = tests.rstrip()
    parts = body.split("fn main() {\n")
    if len(parts) != 2 or not body.endswith("}"):
        raise Unfit("the Rust tests are not one function main")
    before, inner = parts
    r = secrets.token_hex(8)
    inner = RUST_MACRO.sub(lambda m: f"::std::{m[1]}!" if m[1] else m[0], inner[:-1])
    checks = "\n".join(
        f"    let _: ::std::option::Option<{bare}> = ::std::option::Option::None::<{real}>;"
        for bare, real in RUST_TYPES.items()
    )
    said = f'    ::std::println!("\\n{{}}", word_{r});\n}}\n'
    names = {"r": r, "checks": checks}
    main = RUST_MAIN.format(**names) + inner + said + RUST_GUARD.format(**names)
    return {"program.rs": f"{prompt}{completion}\n{before}{main}"}, ""


# Racket ----------------------------------------------------------------------------------------

# What may stand in a test without being one, and the checks that the runner does not count.
RACKET_CHECK = re.compile(
    r'"(?:\\.|[^"\\])*"|#\\\S|;[^\n]*|\(\s*((?!check-(?:within|equal\?)\s)(?:check(?:-[^\s()]*)?|fail)(?=[\s)]))'
)
_racket = beside(
    ".rkt",
    "Racket",
    "(define (",
    r"\(require rackunit\)\s+\(define \(([\w-]+)\)\s+"
    r"\(let \(\( *candidate [^\s()]+\)\)\s.*\)\s+\(\1\)",
)


def racket(prompt, completion, tests):
    for found in RACKET_CHECK.finditer(tests):
        if found[1]:
            raise Unfit(
                f"the Racket tests have {found[1]}, and not check-within or check-equal? alone"
            )
    return _racket(prompt, completion, tests)


JOIN = {
    "php": beside(".php", "PHP", "function test(", r".*function test\(\): void \{\n.*\ntest\(\);"),
    "go": go,
    "rust": rust,
    "lua": beside(
        ".lua",
        "Lua",
        "os.exit(",
        r".*\nlocal candidate = [A-Za-z_]\w*\n.*\nend\s+os\.exit\(lu\.LuaUnit\.run\(\)\)",
    ),
    "racket": racket,
}
