"""What goes into the grader and what comes out: plain data."""

from __future__ import annotations

from dataclasses import dataclass

#: Every verdict, and what it says of the program.
VERDICTS = {
    "pass": "every test ran to its end and held",
    "wrong": "a test did not hold",
    "compile_error": "the program does not compile or parse",
    "runtime_error": "it raised, crashed, or left before the tests had ended",
    "timeout": "it did not answer within the time limit, even when run alone",
    "out_of_memory": "it asked for more memory than a program may have",
    "output_limit": "it printed, or answered with, more than a program may",
    "harness_error": "the grader could not judge it: this says nothing about the program",
}

#: Share of a benchmark's programs or problems that may go unjudged, though one always may.
UNJUDGED = 0.01


@dataclass(frozen=True)
class Program:
    """One program to judge: the text ``prompt + completion + "\\n" + tests``.

    ``prompt`` and ``tests`` are trusted (the benchmark's), ``completion`` is not (a model's).
    ``language`` is a key of :data:`flexlib.tasks.languages.LANGUAGES`.
    """

    id: str
    language: str
    prompt: str
    completion: str
    tests: str


@dataclass(frozen=True)
class Verdict:
    """The judgement on the program ``id``: a key of ``VERDICTS``, why, and its running time in s."""

    id: str
    verdict: str
    detail: str
    seconds: float

    @property
    def passed(self) -> bool:
        return self.verdict == "pass"


def is_tolerable(unjudged: int, of: int) -> bool:
    """Whether so few are unjudged that the rest says what the whole would have said."""
    return unjudged < of and unjudged <= max(1, int(UNJUDGED * of))
