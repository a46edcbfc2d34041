"""What the tests of a benchmark may ask of a program, language by language."""

import os
import types

import pytest
from grading_helpers import judge, judge_all, needs

from flexlib.grading import Program
from flexlib.grading.hostile import PROMPTS, TESTS
from flexlib.grading.sandbox import INSIDE

PYTHON_PASSES = {
    "a tuple is no list": (
        "def f(): return (1, 2)\n",
        "assert f() == (1, 2)\nassert f() != [1, 2]",
    ),
    "an argument changed in place": (
        "def f(x): x.sort()\n",
        "a = [3, 1]\nassert f(a) is None\nassert a == [1, 3]",
    ),
    "a generator": ("def f():\n    yield 1\n    yield 2\n", "assert list(f()) == [1, 2]"),
    "an exception": (
        "def f(): raise KeyError('k')\n",
        "try:\n    f()\n    assert False\nexcept KeyError as e:\n    assert 'k' in str(e)",
    ),
    "an object of a class of the program": (
        "class P:\n    def __init__(self, a): self.a = a\n    def twice(self): return 2 * self.a\n",
        "p = P(3)\nassert p.twice() == 6\np.a = 5\nassert p.twice() == 10",
    ),
    "an object of a class of the tests": (
        "def f(p): return P(p.y, p.x)\n",
        (
            "from dataclasses import dataclass\n@dataclass\nclass P:\n    x: int\n    y: int\n"
            "assert f(P(1, 2)) == P(2, 1)"
        ),
    ),
    "a function of the tests": (
        "def f(g, x): return [g(v) for v in x]\n",
        "assert f(lambda v: v + 1, [1, 2]) == [2, 3]",
    ),
    "an iterator of the tests": ("def f(i): return sum(i)\n", "assert f(iter([1, 2])) == 3"),
    "a function that is named as a builtin": (
        "def sum(a, b): return a + b\n",
        "assert sum(1, 2) == 3",
    ),
    "a module that only the tests import": (
        "def f(x): return math.floor(x)\n",
        "import math\nassert f(1.5) == 1 and math.isclose(f(2.5), 2)",
    ),
    "a function of the program that returns a function": (
        "def f(a): return lambda b: a + b\n",
        "assert f(1)(2) == 3",
    ),
    "keywords and defaults": ("def f(a, *, b=2): return a - b\n", "assert f(5, b=3) == 2 == f(4)"),
    "types": ("def f(x, t): return isinstance(x, t)\n", "assert f(1, int) and not f(1, (str,))"),
    "a big number": ("def f(): return 3 ** 5000\n", "assert f() == 3 ** 5000"),
    "random tests": (
        "def f(x): return sorted(x)\n",
        (
            "import random\nfor _ in range(50):\n    x = [random.random() for _ in range(9)]\n"
            "    assert f(x) == sorted(x)"
        ),
    ),
}


@pytest.mark.parametrize("name", PYTHON_PASSES)
def test_python_passes(name):
    completion, tests = PYTHON_PASSES[name]
    verdict = judge("python", completion, tests, prompt="")
    assert verdict.passed, verdict


PYTHON_FAILS = {
    "an object is equal only to itself": (
        "class P:\n    def __eq__(self, o): return True\ndef f(): return P()\n",
        "assert f() == 1",
        "wrong",
    ),
    "arithmetic is not asked of the program": (
        (
            "class P:\n    def __sub__(self, o): return 0\n    def __abs__(s): return 0\n"
            "def f(): return P()\n"
        ),
        "assert abs(f() - 0.5) < 1e-6",
        "runtime_error",
    ),
    "a helper of the prompt is the prompt's": (
        "    return 0\ndef helper(x): return 0\n",
        "assert helper(2) == 4\nassert f(2) == 0",
        "pass",
    ),
    "no such function": ("def g(): pass\n", "assert f() == 1", "runtime_error"),
    "tests that test nothing": (
        "def f(): pass\n",
        "def check(c):\n    assert c()\n",
        "harness_error",
    ),
    "tests that are no Python": ("def f(): pass\n", "assert f(", "compile_error"),
}


@pytest.mark.parametrize("name", PYTHON_FAILS)
def test_python_verdicts(name):
    completion, tests, wanted = PYTHON_FAILS[name]
    helper = "def helper(x):\n    return 2 * x\n\ndef f(x):\n" if "helper" in tests else ""
    assert judge("python", completion, tests, prompt=helper).verdict == wanted


def test_a_verdict_does_not_hang_on_the_hash_seed():
    order = "def f(): return list({'a', 'b', 'c', 'd', 'e'})\n"
    program = Program("p", "python", "", order, "assert f() == 0")
    details = {judge_all([program])[0].verdict for _ in range(2)}
    assert details == {"wrong"}
    source = "import sys\ndef f(): return hash('a')\n"
    first = judge("python", source, "assert f() == hash('a')", prompt="")
    assert first.passed  # judge and candidate agree, so that sets iterate alike


JAVA = (
    "import java.util.*;\nimport org.javatuples.*;\nclass Problem {\n    public static %s f(%s) {\n"
)
JAVA_TESTS = "    }\n    public static void main(String[] args) {\n    %s\n    }\n\n}\n"

JAVA_PASSES = {
    "long": ("long", "long a, int b", "return a + b;", "assert(f(1l, 2) == 3l);"),
    "boolean": ("boolean", "String s", "return s.isEmpty();", 'assert(f("") && !f("x"));'),
    "char": ("char", "String s", "return s.charAt(0);", "assert(f(\"ab\") == 'a');"),
    "array": (
        "int[]",
        "int[] a",
        "a[0] = 9; return a;",
        "assert(Arrays.equals(f(new int[]{1}), new int[]{9}));",
    ),
    "changed array": (
        "void",
        "int[] a",
        "Arrays.sort(a);",
        "int[] a = {2, 1}; f(a); assert(a[0] == 1);",
    ),
    "map": (
        "HashMap<String, Long>",
        "String s",
        "var m = new HashMap<String, Long>(); m.put(s, 1l); return m;",
        'assert(f("a").equals(new HashMap<String, Long>(Map.of("a", 1l))));',
    ),
    "optional": (
        "Optional<Long>",
        "",
        "return Optional.empty();",
        "assert(f().equals(Optional.empty()));",
    ),
    "tuple": (
        "Pair<Long, String>",
        "long a",
        'return Pair.with(a, "x");',
        'assert(f(1l).equals(Pair.with(1l, "x")));',
    ),
    "object": ("Object", "Object a", "return a;", 'assert(f("x").equals("x") && f(1).equals(1));'),
    "immutable list": (
        "List<Integer>",
        "",
        "return List.of(1, 2);",
        "assert(f().equals(Arrays.asList(1, 2)));",
    ),
    "exception": (
        "int",
        "int a",
        'throw new IllegalArgumentException("no");',
        "try { f(1); assert(false); } catch (IllegalArgumentException e) { }",
    ),
    "literal identity": ("int", "String s", 'return s == "a" ? 1 : 0;', 'assert(f("a") == 1);'),
    "varargs": ("int", "int... a", "return a.length;", "assert(f(1, 2, 3) == 3);"),
    "lone surrogate": ("String", "", 'return "\\ud800";', 'assert(f().equals("\\ud800"));'),
}


@pytest.fixture(scope="module")
def java_verdicts():
    needs("java")
    programs = [
        Program(name, "java", JAVA % (result, parameters), body + "\n", JAVA_TESTS % tests)
        for name, (result, parameters, body, tests) in JAVA_PASSES.items()
    ]
    return {verdict.id: verdict for verdict in judge_all(programs)}


@pytest.mark.parametrize("name", JAVA_PASSES)
def test_java_passes(name, java_verdicts):
    assert java_verdicts[name].passed, java_verdicts[name]


def test_java_programs_share_no_state():
    needs("java")
    body = "    if (n++ > 0) return 0; return 1;\n    }\n    static int n = 0;\n    static void g() {\n"
    programs = [
        Program(str(i), "java", JAVA % ("int", ""), body, JAVA_TESTS % "assert(f() == 1);")
        for i in range(3)
    ]
    assert [v.verdict for v in judge_all(programs)] == ["pass"] * 3


JAVA_APART = "class A {\n    static int f(int a) {\n"  # the tests are a class of their own
JAVA_APART_TESTS = (
    "\nclass Main {\n    public static void main(String[] args) {\n"
    "        assert A.f(1) == 2;\n    }\n}\n"
)
JAVA_NEIGHBOURS = {  # what one program declares, and one that must not see it, with its verdict
    "a class of its own": (
        "return a + 1; } }\nclass Helper { static int one() { return 1; } }",
        "return a + Helper.one(); } }",
        "compile_error",
    ),
    "a member class": (
        "return a + 1; }\n static class Helper { } }",
        "return new Helper() == null ? a : a + 1; } }",
        "compile_error",
    ),
    "a class named as the platform's": (
        "return a + 1; } }\nclass Integer { }",
        "Integer b = a; return b + 1; } }",
        "pass",
    ),
    "a class that extends itself": (
        "return a + 1; }\n static class B extends B { } }",
        "return a + 1; }\n static class B { } }",
        "pass",
    ),
    "a switch on an enumeration": (
        "switch (E.X) { case X: return a + 1; default: return a; } }\n enum E { X, Y } }",
        "switch (E.Y) { case Y: return a + 1; default: return a; } }\n enum E { Z, Y } }",
        "pass",
    ),
    "classes without a name": (
        "Runnable r = new Runnable() { public void run() { } }; r.run(); return a + 1; } }",
        "int[] b = {a}; new Object() { { b[0]++; } }; return b[0]; } }",
        "pass",
    ),
    "text that is no Java": ("return a + ; } }", "return a + 1; } }", "pass"),
    "text that does not compile": ('return "a"; } }', "return a + 1; } }", "pass"),
}


@pytest.fixture(scope="module")
def java_neighbours():
    needs("java")
    programs = [
        Program(name, "java", JAVA_APART, completion, JAVA_APART_TESTS)
        for name, (first, second, _) in JAVA_NEIGHBOURS.items()
        for completion in (first, second)
    ]
    verdicts = judge_all(programs)
    return {v.id: v for v in verdicts[1::2]}


@pytest.mark.parametrize("name", JAVA_NEIGHBOURS)
def test_java_programs_see_nothing_of_their_neighbours(name, java_neighbours):
    assert java_neighbours[name].verdict == JAVA_NEIGHBOURS[name][2], java_neighbours[name]


def test_java_a_package_is_not_shared():
    """A kept compiler would hide the library's class, and take the import of what is no more."""
    needs("java")
    sources = {
        "package org.javatuples;\n": "return a + 1; } }\nclass Pair { }",
        "import org.javatuples.*;\n": "return Pair.with(a, 1).getValue0() + 1; } }",
        "package gone;\n": "return a + 1; } }",
        "import gone.*;\n": "return a + 1; } }",
    }
    programs = [
        Program(head, "java", head + JAVA_APART, completion, JAVA_APART_TESTS)
        for head, completion in sources.items()
    ]
    verdicts = [v.verdict for v in judge_all(programs)]
    assert verdicts == ["pass", "pass", "pass", "compile_error"]


@pytest.mark.parametrize(
    ("prompt", "completion", "tests", "verdict"),
    [
        # mxeval's form: the completion closes method and class, the tests are a class of their own
        (
            "class A {\n    static int f(int a) {\n",
            "        return a + 1;\n    }\n}",
            (
                "\nclass Main {\n    static int want() { return 2; }\n"
                "    public static void main(String[] args) throws Exception {\n"
                '        if (A.f(1) != want()) { throw new Exception("no"); }\n    }\n}\n'
            ),
            "pass",
        ),
        # an instance's method
        (
            "class A {\n    int f(int a) {\n",
            "        return a + 1;\n    }\n}",
            (
                "class Main {\n    public static void main(String[] args) {\n"
                "        assert new A().f(1) == 2;\n    }\n}\n"
            ),
            "pass",
        ),
        ("class A {\n    static int f() {\n", "return 1;", "    }\n}\n", "harness_error"),
        ("class A {\n", "", "}\n", "harness_error"),
    ],
    ids=["mxeval", "instance", "no main", "no method"],
)
def test_java_forms(prompt, completion, tests, verdict):
    needs("java")
    assert judge("java", completion, tests, prompt).verdict == verdict


CPP = "#include<assert.h>\n#include<bits/stdc++.h>\n%s f(%s) {\n"
CPP_TESTS = "}\nint main() {\n    auto candidate = f;\n    %s\n}\n"
UNION = """#include<assert.h>
#include<bits/stdc++.h>
union U {
    std::string f0; long f1;
    U(std::string a) : f0(a) {}
    U(long b) : f1(b) {}
    ~U() {}
    bool operator==(std::string f) { return f0 == f; }
    bool operator==(long f) { return f1 == f; }
};
U f(long n) {
"""


@pytest.mark.parametrize(
    ("result", "parameters", "body", "tests"),
    [
        (
            "std::map<std::string,std::tuple<long, float>>",
            "std::vector<std::string> a, std::optional<long> b",
            "return {{a[0], {*b, 0.5f}}};",
            (
                'assert(candidate({"x"}, 2) == (std::map<std::string,std::tuple<long, float>>'
                '({{"x", {2, 0.5f}}})));'
            ),
        ),
        (
            "long",
            "std::vector<std::any> a",
            "return std::any_cast<int>(a[0]) + std::string(std::any_cast<const char*>(a[1])).size();",
            'assert(candidate(std::vector<std::any>({3, "ab"})) == 5);',
        ),
        (
            "std::any",
            "std::any a",
            "return a;",
            "assert(!candidate(std::any()).has_value()); assert(std::any_cast<int>(candidate(3)) == 3);",
        ),
        (
            "void",
            "std::vector<long>& a",
            "a.push_back(1);",
            "std::vector<long> a; candidate(a); assert(a.size() == 1);",
        ),
    ],
    ids=["containers", "any", "empty any", "changed argument"],
)
def test_cpp_passes(result, parameters, body, tests):
    needs("cpp")
    verdict = judge("cpp", body, CPP_TESTS % tests, CPP % (result, parameters))
    assert verdict.passed, verdict


def test_cpp_union_is_judged_in_one_process():
    needs("cpp")
    tests = CPP_TESTS % 'assert(candidate(1) == "a"); assert(candidate(2) == 5);'
    good = 'if (n == 2) return U((long)5); return std::string("a");'
    completions = [good, 'return std::string("b");', "exit(0);", "_exit(0);"]
    programs = [Program(c, "cpp", UNION, c, tests) for c in completions]
    verdicts = [v.verdict for v in judge_all(programs)]
    assert verdicts == ["pass", "wrong", "runtime_error", "runtime_error"]


def test_cpp_union_residual():
    """The one hole that is left: here tests and program share a process, so a program that finds
    the secret word in its own memory can say it. Documented in the book's chapter."""
    needs("cpp")
    thief = (
        'std::ifstream f("/proc/self/exe"); std::string s((std::istreambuf_iterator<char>(f)), {});'
        'std::smatch m; std::regex_search(s, m, std::regex("flex_tests_([0-9a-f]{32})"));'
        "if (write(3, m.str(1).data(), 32)) {} _exit(0);"
    )
    tests = CPP_TESTS % 'assert(candidate(1) == "a");'
    assert judge("cpp", thief, tests, UNION).passed


def test_javascript_values():
    needs("javascript")
    tests = (
        "const assert = require('node:assert');\nassert.deepEqual(f([1]), [[1], -0, NaN, undefined,"
        " null, 10n, new Map([[1, 2]]), new Set(['a']), { a: { b: 1 } }]);\n"
        "const a = [2, 1]; g(a); assert.deepStrictEqual(a, [1, 2]);\n"
        "assert.throws(() => h(), RangeError);\n"
    )
    completion = (
        "  return [x, -0, NaN, undefined, null, 10n, new Map([[1, 2]]), new Set(['a']),"
        " { a: { b: 1 } }];\n}\nconst g = (x) => { x.sort(); };\n"
        "function h() { throw new RangeError('no'); }\n"
    )
    verdict = judge("javascript", completion, tests, "function f(x) {\n")
    assert verdict.passed, verdict


@pytest.mark.parametrize(
    ("prompt", "wanted"),
    [
        ("// f((1), (2))\nlong f(long a, std::map<long,long> b = {}) {\n", ("f", ["a", "b"])),
        ("std::tuple<long, long> f() {", ("f", [])),
        ("long f(long a[]) {", None),
        ("int x;\n", None),
        ("struct S {", None),
        ("// (\nlong g(std::vector<std::pair<long,long>>& xs, long n) noexcept {\n  ", ("g", ["xs", "n"])),
    ],
)  # fmt: skip
def test_cpp_the_open_function_is_found(prompt, wanted, monkeypatch):
    monkeypatch.syspath_prepend(str(INSIDE))
    import cpp

    assert cpp.open_function(prompt) == wanted


TROUBLE = "cannot start /bin/sh: no more processes"
MISSING = "/bin/sh: 1: g++: not found"


@pytest.mark.parametrize(
    ("prompt", "errors"),
    [
        (PROMPTS["cpp"], [TROUBLE, None]),  # the judge, then the candidate
        (PROMPTS["cpp"], [None, TROUBLE]),
        (PROMPTS["cpp"], [TROUBLE, TROUBLE]),
        ("int x;\n", [TROUBLE]),  # both in one process
        (PROMPTS["cpp"], [MISSING, None]),
        (PROMPTS["cpp"], [None, MISSING]),
        ("int x;\n", [MISSING]),
    ],
)
def test_cpp_a_compiler_that_does_not_start_is_no_fault_of_the_program(prompt, errors, monkeypatch):
    monkeypatch.syspath_prepend(str(INSIDE))
    import cpp

    left = list(errors)

    def container(*_):
        error = left.pop(0)
        code, said = (127, MISSING.encode() + b"\n") if error == MISSING else (0, b"")
        error = None if code else error
        return types.SimpleNamespace(code=code, head=said, error=error, close=lambda: None)

    supervisor = types.SimpleNamespace(
        config={"cpp": {"compile": ["g++"]}},
        limits=lambda *_, **__: {},
        open_container=container,
        watch=lambda *_: (None, None),
    )
    before = os.listdir("/proc/self/fd")
    language = cpp.Cpp(supervisor)
    job = {"prompt": prompt, "completion": "", "tests": TESTS["cpp"]}
    trouble = MISSING if MISSING in errors else TROUBLE
    assert language.grade(job) == ("harness_error", trouble) and not left
    # One that was not made is made the next time.
    assert len(language.judges) == (errors[0] is None)
    for judge_program, _ in language.judges.values():
        os.close(judge_program)
    assert os.listdir("/proc/self/fd") == before
