"""What of an answer is graded: up to a fence, or what a chat answer's code block makes of the function."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flexlib.config import BenchmarkSettings
from flexlib.errors import FlexError
from flexlib.grading import Program, grade
from flexlib.tasks import answers
from flexlib.tasks.benchmarks import Problem

JAVA = Problem(
    "j",
    "java",
    "import java.util.*;\nclass Problem {\n    // Adds one.\n    public static long addOne(long n) {\n",
    "    }\n    public static void main(String[] args) {\n    assert(addOne(1L) == 2L);\n    }\n\n}\n",
    ("\n    }\n",),
)
PYTHON = Problem(
    "p",
    "python",
    'def add_one(n: int) -> int:\n    """Adds one.\n    """\n',
    "def check(f):\n    assert f(1) == 2\n\ncheck(add_one)\n",
    ("\ndef",),
)
JAVASCRIPT = Problem(
    "s",
    "javascript",
    "//Adds one.\nfunction add_one(n){\n",
    "const assert = require('node:assert');\nfunction test() { assert.deepEqual(add_one(1),2); }\ntest();",
    ("\nfunction ",),
)
CPP = Problem(
    "c",
    "cpp",
    "#include<assert.h>\n#include<bits/stdc++.h>\nlong add_one(long n) {\n",
    "}\nint main() {\n    auto candidate = add_one;\n    assert(candidate((1)) == (2));\n}\n",
    ("\n}",),
)
CHAT = BenchmarkSettings(name="x", language="java", protocol="chat")


@given(st.lists(st.sampled_from(["a", " ```", "```", "```java", "x```", ""]), max_size=6))
def test_an_answer_ends_before_the_first_line_that_begins_with_a_fence(lines):
    kept = []
    for line in lines:
        if line.startswith("```"):
            break
        kept.append(line)
    cut = answers.cut_at_fence("\n".join(lines))
    assert cut.split("\n")[: len(kept)] == kept if kept else cut == ""
    assert cut.rstrip("\n") == "\n".join(kept).rstrip("\n")


def test_only_settings_cut(tmp_path):
    text = "    return n + 1\n```\nprose"
    plain = BenchmarkSettings(name="x", language="python")
    cut = BenchmarkSettings(name="x", language="python", cut_at_fence=True)
    assert answers.graded(PYTHON, text, plain) == text
    assert answers.graded(PYTHON, text, cut) == "    return n + 1\n"


def test_the_first_block_is_taken_also_if_it_is_not_closed():
    assert answers.first_block("Sure:\n```java\nint a;\n```\nor\n```\nint b;\n```") == "int a;\n"
    assert answers.first_block("```\nint a;\n") == "int a;\n"
    assert answers.first_block("int a;") == "int a;"


RIGHT = {
    "whole class": (JAVA, """import java.util.*;
class Problem {
    static final String BRACE = "}";
    /** helper } */
    static long one() { return 1L; }
    public static long addOne(long n) { // {
        if (n < 0) { return n + one(); }
        return n + one() + (BRACE.length() - 1);
    }
    public static void main(String[] args) { System.out.println(addOne(3)); }
}
"""),
    "method alone": (JAVA, "public static long addOne(long n) {\n    return n + 1;\n}\n"),
    "call before definition": (JAVA, """class Problem {
    static long twice(long n) { return addOne(addOne(n)); }
    public static long addOne(long n) { return n + 1; }
}"""),
    "python": (PYTHON, "def helper():\n    return 1\n\ndef add_one(n):\n    return n + helper()\n"),
    "javascript": (JAVASCRIPT, "function add_one(n){\n  return n + 1;\n}\n"),
    "cpp with names of std": (CPP, """#include <algorithm>
using namespace std;
long add_one(long n) {
    return max(n, n + 1);
}
"""),
    "cpp": (CPP, "#include <vector>\nlong add_one(long n) {\n    return n + 1;\n}\nint main() { return 0; }\n"),
}  # fmt: skip


@pytest.mark.parametrize(("problem", "program"), RIGHT.values(), ids=RIGHT)
def test_a_right_program_passes_as_a_completion(problem, program):
    [verdict] = grade(
        [
            Program("x", problem.language, problem.prompt, completion, problem.tests)
            for completion in [answers.graded(problem, f"Here:\n```\n{program}```\n", CHAT)]
        ],
        workers=1,
        progress=False,
    )
    assert verdict.passed, verdict


def test_a_program_without_the_function_is_left_as_it_is():
    assert answers.completion_of(JAVA, "class Problem { }") == "class Problem { }"


def test_chat_needs_a_template():
    with pytest.raises(FlexError, match="no chat template"):
        answers.asked([JAVA], CHAT, object())


def test_the_question_holds_the_prompt_and_no_stop_string():
    class Tokenizer:
        chat_template = "x"

        def apply_chat_template(self, turns, **options):
            assert options == {"tokenize": False, "add_generation_prompt": True}
            return f"<user>{turns[0]['content']}<assistant>"

    [problem] = answers.asked([JAVA], CHAT, Tokenizer())
    assert JAVA.prompt.rstrip() in problem.prompt and "Java function" in problem.prompt
    assert problem.stop == () and problem.tests == JAVA.tests
    plain = BenchmarkSettings(name="x", language="java")
    assert answers.asked([JAVA], plain, Tokenizer()) == [JAVA]


def test_the_publishers_ask_in_their_own_words():
    class Tokenizer:
        chat_template = "x"

        def apply_chat_template(self, turns, **options):
            return "|".join(f"{turn['role']}:{turn['content']}" for turn in turns)

    asks = BenchmarkSettings(name="x", language="javascript", protocol="chat-published")
    [problem] = answers.asked([JAVASCRIPT], asks, Tokenizer())
    assert problem.prompt == (
        "system:You are a helpful assistant.|user:Please continue to complete the function and return all "
        "completed code in a codeblock. Here is the given code to do completion:\n"
        "```js\n//Adds one.\nfunction add_one(n){\n```"
    )


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("    return n\n", "    return n\n"),
        ("    return n\n\nprint(f(1))\n", "    return n\n\n"),
        ("    x = [\n1,\n]\n    return x\n```\nThis returns x.", "    x = [\n"),
        ("    return (\n        n\n)\n", "    return (\n        n\n)\n"),
        ("    return n\n```\nSo it ends.", "    return n\n"),
        (
            "    x = 1\n# twice\n\n#\n    return x\nf(1)\n",
            "    x = 1\n# twice\n\n#\n    return x\n",
        ),
        ("    return n\n# test\n\nf(1)\n    # late\n", "    return n\n"),
        ("    return n\n# the end", "    return n\n"),
    ],
)
def test_a_program_alone_in_python(answer, expected):
    problem = Problem("t", "python", 'def f(n):\n    """Return n."""\n', "", ())
    assert answers.alone(problem, answer) == expected


def test_a_program_alone_where_the_prompt_ends_outside_of_a_function():
    problem = Problem("t", "python", '"""\nWrite f.\n"""\n', "", ())
    whole = "def f(n):\n    return g(n)\n\ndef g(n):\n    return n\n"
    assert answers.alone(problem, whole) == whole


@pytest.mark.parametrize(
    ("tests", "answer", "expected"),
    [
        ("    }\n}", "  return \"}\"; // }\n", "  return \"}\"; // }\n"),
        ("    }\n}", "  if (x) { y(); }\n  return 1;\n    }\n  void more() {}\n",
         "  if (x) { y(); }\n  return 1;\n    "),
        ("assert", "  return 1;\n}\nconsole.log(1)", "  return 1;\n}"),
        ("assert", "  return 1;\n", "  return 1;\n"),
    ],
)  # fmt: skip
def test_a_program_alone_in_languages_with_braces(tests, answer, expected):
    problem = Problem("t", "java", "class A {\n  static int f() {\n", tests, ())
    assert answers.alone(problem, answer) == expected


@pytest.mark.parametrize(
    "body",
    [
        "    struct P<'a> { x: &'a str }\n    P { x: \"\" }.x.len() as isize\n",
        "    match c { '{' => 1, '\\\\' | '\\'' => 2, '\\u{7d}' => 3, b'}' => 4, _ => 5 }\n",
        "    'outer: loop { break 'outer; }\n    '}' as isize\n",
    ],
)
def test_a_lifetime_hides_no_braces(body):
    problem = Problem("t", "rust", "fn f(c: char) -> isize {\n", "}\n\nfn main() {}\n", ())
    assert answers.alone(problem, body + "}\nfn more() {}\n") == body


@pytest.mark.parametrize(
    ("language", "body"),
    [
        ("cpp", "    long a = 1'000; char b = '}';\n    return a + b;\n"),
        ("cpp", "    int a = 0x1'F; int b = 1'000'000; char c = '{';\n    return a;\n"),
        ("cpp", '    auto a = R"("}")"; auto b = R"x()"}")x";\n    return 0;\n'),
        (
            "cpp",
            '    auto a = LR"(")}")"; auto b = u8R"("}")"; auto c = UR"("{")";\n    return 0;\n',
        ),
        ("rust", '    let a = r"\\"; let b = r#""}"#; let c = r##"}"#{"##;\n    0\n'),
        ("rust", "    let a = 'x'; let b = '\\''; let c = '\\u{7d}';\n    0\n"),
    ],
)
def test_a_quote_in_a_number_and_a_raw_string_hide_no_braces(language, body):
    problem = Problem("t", language, "f() {\n", "}\n", ())
    assert answers.alone(problem, body + "}\nvoid more() {}\n") == body
