"""Programs that cheat, crash, flood or linger, and the verdicts that are right for them.

Most answer one small problem, to add k to every number of a list, in every language. In the six further
languages most attacks that get through are followed by the right answer, so that the program would pass
if what stops it were gone. Some are right and merely odd: those must pass. The tests run them all, so
does ``flexlib grade --selfcheck``, and the book shows them as a table.
"""

from flexlib.grading.hostile import (
    cpp,
    go,
    java,
    javascript,
    lua,
    php,
    python,
    racket,
    rust,
    typescript,
)

_SUITES = [
    module.SUITE
    for module in (python, java, javascript, cpp, typescript, php, go, rust, lua, racket)
]
PROMPTS = {suite.language: suite.prompt for suite in _SUITES}
TESTS = {suite.language: suite.tests for suite in _SUITES}
CASES = [case for suite in _SUITES for case in suite.cases]

__all__ = ["CASES", "PROMPTS", "TESTS"]
