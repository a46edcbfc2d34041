"""NanoBench's records with their answers in another language than Python, to train on."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from flexlib.nanobench.corpus import CLOSE
from flexlib.nanobench.syntax import camel_case

# By language, how it spells the name of a function.
TRANSLATIONS: dict[str, Callable[[str], str]] = {
    "java": camel_case,
    "javascript": camel_case,
    "cpp": str,
}


def translated(records: Sequence[dict], language: str) -> list[dict]:
    """The same tasks in the same words with the function in ``language``, one of `TRANSLATIONS`.

    The visible tests call it by its name there, and ``comment`` is the mark before them. Their values stay
    as short as MBPP's: as MultiPL-E spells those of Java, every second record were longer than the
    base's context.
    """
    return [
        {
            **record,
            "code": _function(record, language),
            "test_list": [_test(record["name"], test, language) for test in record["test_list"]],
            "comment": "//",
        }
        for record in records
    ]


def _function(record: dict, language: str) -> str:
    """The bare function, as in the pretraining corpus: prompt and reference without the sentence."""
    prompt = re.sub(r"^ *// .*\n", "", record[f"prompt_{language}"], flags=re.MULTILINE)
    return prompt + record[f"reference_{language}"] + CLOSE[language]


def _test(name: str, test: str, language: str) -> str:
    call = test.replace(f"assert {name}(", f"assert {TRANSLATIONS[language](name)}(")
    return re.sub(r"== (True|False)$", lambda found: found[0].lower(), call)
