"""How much of a change is form: what an answer says after its program, and in which language it is.

Every answer is judged three times: as it was written, whole; as the protocol grades it, which may end it at
a closing fence; and by the program alone, up to the end of the function that was asked for. A program alone
counts as solved if it passes, or if the whole answer does. What was judged so is kept in the store, and
found again by the answers and their verdicts: compilers take minutes for a few hundred.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import Any

from flexlib import __version__
from flexlib.auditing import cache
from flexlib.auditing.runs import Answers
from flexlib.runs import provenance
from flexlib.runs.machine import Machine
from flexlib.runs.preflight import problems_digest
from flexlib.tasks import answers as texts

WAYS = ("as_written", "as_graded", "alone")

#: What the languages with braces do not have in common, as it stands in the body of a function.
MARKS = {
    "java": r"\b(?:ArrayList|List|Map|HashMap|Integer|Long|String|boolean|Boolean|System|Collectors)\b"
    r"|\.(?:equals|size|get|add|stream|charAt)\(",
    "javascript": r"\b(?:let|const|var|function|undefined)\b|===|!==|=>|\.(?:push|slice|filter)\b",
    "cpp": r"\bstd::|\bauto\b|\bvector<|\bsize_t\b|\.(?:push_back|begin|end|insert|substr)\(|#include",
}
KNOWN = ("python", *MARKS)
_COMMENT = re.compile(r"^\s*/?\*.*|\s*(?://|#(?!include)).*", re.MULTILINE)
#: What Python has, and no statement of a language with braces that lacks its semicolon.
_PYTHON = re.compile(
    r"\bfor\b.*\bin\b|\b(?:len|sum|sorted|range|list|None|True|False|not|and|or)\b|:$"
)
_ENOUGH = 2  # marks of another language, and more than twice those of the answer's own


def reads_as_another(text: str, language: str) -> bool | None:
    """Whether a text that is no program of ``language`` reads as one of another language; None where nothing
    is known of ``language``: it is none of `KNOWN`.

    Told by how its lines end and by words that the languages do not share: rough, and so to be asked
    only of answers that do not compile.
    """
    if language not in KNOWN:
        return None
    lines = [line.rstrip() for line in _COMMENT.sub("", text).splitlines() if line.strip()]
    if not lines:
        return False
    with_braces = sum(line.endswith((";", "{", "}")) for line in lines) / len(lines)
    if language == "python":
        return with_braces > 0.5
    if with_braces == 0:
        statements = [line for line in lines if re.match(r"\s*\w", line)]
        # One may lack its semicolon alone.
        return len(statements) > 1 or bool(statements and _PYTHON.search(statements[0]))
    counts = {name: len(re.findall(marks, text)) for name, marks in MARKS.items()}
    own = counts.pop(language)
    return max(counts.values()) >= _ENOUGH and max(counts.values()) > 2 * own


def judged(answers: Answers, machine: Machine) -> list[dict[str, Any]]:
    """One row an answer: ``task_id``, ``sample``, and whether it passes ``as_written``, ``as_graded`` and
    by the program ``alone``; None where it could not be judged. Only answers of which that is not known
    already are run.

    Raises:
        FlexError: the language cannot be graded here.
    """
    columns = ("task_id", "sample", *WAYS)
    path, known = cache.find(
        machine.store,
        "form",
        _depends_on(answers),
        lambda rows: [{column: row[column] for column in columns} for row in rows],
    )
    if known is not None and len(known) == len(answers.completions):
        return known
    rows = _judge(answers, machine)
    if not any(row[way] is None for row in rows for way in WAYS):
        cache.keep(path, rows)
    return rows


def _judge(answers: Answers, machine: Machine) -> list[dict[str, Any]]:
    problems = {p.task_id: p for p in answers.problems}
    # A code block is taken out of prose as it is graded.
    chat = answers.settings.protocol is not None
    whole, short, rows = [], [], []
    for completion, verdict in zip(answers.completions, answers.verdicts, strict=True):
        passed, text = verdict["passed"], completion["completion"]
        place = {"task_id": completion["task_id"], "sample": completion["sample"]}
        rows.append({**place, "as_written": passed, "as_graded": passed, "alone": passed})
        if verdict["verdict"] == "harness_error":
            rows[-1] |= dict.fromkeys(WAYS)
            continue
        if chat:
            continue
        problem = problems[completion["task_id"]]
        cut = texts.graded(problem, text, answers.settings)
        if cut != text:
            whole.append(completion)
        alone = texts.alone(problem, text)
        if not passed and alone != cut:
            short.append({**completion, "completion": alone})
    by_place = {(row["task_id"], row["sample"]): row for row in rows}
    for found, column in ((whole, "as_written"), (short, "alone")):
        for verdict in _grade(answers, found, machine):
            judgement = None if verdict["verdict"] == "harness_error" else verdict["passed"]
            by_place[verdict["task_id"], verdict["sample"]][column] = judgement
    for row in rows:  # a whole answer that passes has its program
        if row["as_written"] is not False:
            row["alone"] = row["alone"] or row["as_written"]
    return rows


def _depends_on(answers: Answers) -> list[Any]:
    """All that the judgements of these answers depend on."""
    given = [
        (c["task_id"], c["sample"], c["completion"], v["verdict"])
        for c, v in zip(answers.completions, answers.verdicts, strict=True)
    ]
    compilers = [
        provenance.toolchain_version(language)
        for language in sorted({p.language for p in answers.problems})
    ]
    settings = dataclasses.asdict(answers.settings)
    return [__version__, compilers, settings, problems_digest(answers.problems), given]


def _grade(
    answers: Answers, completions: Sequence[dict[str, Any]], machine: Machine
) -> list[dict[str, Any]]:
    from flexlib.grading.completions import grade_completions

    if not completions:
        return []
    uncut = dataclasses.replace(answers.settings, cut_at_fence=None)
    return grade_completions(answers.problems, completions, uncut, **machine.grading)
