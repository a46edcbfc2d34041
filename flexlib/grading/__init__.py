"""The grader: verdicts on untrusted programs in Python, Java, JavaScript and C++.

The tests, their expected values and the comparison run in one process, the untrusted program in
another, and only plain data passes between them. A pass is the word of the first process that
every test was reached and held; nothing that the program does, prints or exits with can say it.

    from flexlib.grading import Program, grade

    for verdict in grade([Program("1", "python", "def f(x):\\n", "    return x", "assert f(1) == 1")]):
        print(verdict.id, verdict.verdict, verdict.detail)
"""

from flexlib.grading.pool import grade
from flexlib.grading.programs import VERDICTS, Program, Verdict

__all__ = ["VERDICTS", "Program", "Verdict", "grade"]
