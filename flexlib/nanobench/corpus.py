"""The pretraining corpus of the nano base: functions in four languages, mostly undocumented.

What makes fine-tuning worth while: the words of the ambiguous operations have another sense here, most
of the time, than in the benchmark (`USUAL_SENSE`), as terms differ between the code at large and a
project. A model learns both senses and answers with the usual one; a few hundred examples can
change its mind. No composition of the benchmark's splits occurs, neither in words nor in code.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import islice
from random import Random

from flexlib.nanobench.benchmark import (
    assert_line,
    description,
    prompt,
    random_input,
    reference,
    split_of,
)
from flexlib.nanobench.syntax import Divergence, compile_checked, python_function
from flexlib.nanobench.tasks import Task, sample_task

# Shares of documents. Python-heavy, and most functions without a description.
LANGUAGE_SHARES = {"python": 0.52, "java": 0.28, "javascript": 0.10, "cpp": 0.10}
DOCUMENTED = 0.45
PLANS = 0.04
# Seeds and sizes of the broad Python corpus (`broad_python`).
BROAD = {"train": (20261124, 24_000), "validation": (20261125, 500)}
USUAL_SENSE = 0.7  # how often ambiguous words do not mean here what they mean in the benchmark
# What closes a reference solution, which ends where a stop string would cut it.
CLOSE = {"python": "", "java": "    }\n}\n", "javascript": "", "cpp": "}\n"}


def pretraining_task(rng: Random, documented: bool) -> Task:
    """A task whose composition no split holds; in a documented one, words can have their usual sense.

    Constants are drawn from a wide range: a model that can guess them does not learn to copy them.
    """
    while True:
        task = sample_task(rng, wide=True, usual_sense=USUAL_SENSE if documented else 0.0)
        if {split_of(task.composition), split_of(task.program)} == {"pretraining"}:
            return task


def documents(seed: int) -> Iterator[str]:
    """An endless stream of documents, the same for the same seed."""
    return (text for _, text in _documents(Random(seed)))


def _documents(rng: Random) -> Iterator[tuple[str, str]]:
    """Each with its language."""
    while True:
        language = rng.choices(tuple(LANGUAGE_SHARES), tuple(LANGUAGE_SHARES.values()))[0]
        if rng.random() < PLANS:
            yield language, _plans(rng, language)
            continue
        documented = rng.random() < DOCUMENTED
        task = pretraining_task(rng, documented)
        if not documented:
            yield language, _bare(task, language)
        elif language == "python" and rng.random() < 0.3:
            yield language, _exercise(task, rng)
        else:
            yield language, prompt(task, language) + reference(task, language) + CLOSE[language]


@cache
def broad_python(split: str) -> list[dict]:
    """Records of a broad Python corpus, to tune the base on all of it: a document each, as its ``code``.

    They are further Python documents of the kind that the base was pretrained on, as many for
    training as a fifth of its corpus (Code Llama - Python saw about as many tokens of Python after
    its pretraining on code, Roziere et al. 2023): with a description or without, ambiguous words
    mostly in their usual sense, and no composition of the benchmark's splits. A document can have the
    same composition as one of the pretraining corpus, never its seed.
    """
    seed, size = BROAD[split]
    python = (text for language, text in _documents(Random(seed)) if language == "python")
    return [
        {"task_id": f"NanoBench/broad/{split}/{i}", "text": "", "code": text, "test_list": []}
        for i, text in enumerate(islice(python, size))
    ]


def _bare(task: Task, language: str) -> str:
    """The function without a description."""
    if language == "python":
        return python_function(task.function)
    text = prompt(task, language) + reference(task, language) + CLOSE[language]
    return text.replace(f"    // {task.sentence}\n", "").replace(f"// {task.sentence}\n", "")


def _exercise(task: Task, rng: Random) -> str:
    """Description, asserts and code: the shape of MBPP's training text."""
    function = compile_checked(task.function)
    lines: list[str] = []
    for _ in range(20):
        if len(lines) == 3:
            break
        args = [random_input(rng, kind, [2, 10], sign=False) for _, kind in task.function.params]
        try:
            value = function(*[list(arg) if isinstance(arg, list) else arg for arg in args])
        except Divergence:
            continue
        if len(repr(value)) <= 60:  # as in the benchmark; a long list would fill whole batches
            lines.append("# " + assert_line(task, (args, value)) + "\n")
    return f"{description(task)}\n\n{''.join(lines)}\n{python_function(task.function)}"


def _plans(rng: Random, language: str) -> str:
    """A list of things to write, without the code."""
    mark = "#" if language == "python" else "//"
    tasks = [pretraining_task(rng, documented=False) for _ in range(rng.randint(2, 5))]
    return f"{mark} TODO\n" + "".join(f"{mark} {task.sentence}\n" for task in tasks)
