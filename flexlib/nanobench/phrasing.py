"""One phrasing for what NanoBench says in several: of each operation, and of the opening of a sentence."""

from __future__ import annotations

import re
from collections.abc import Sequence

from flexlib.nanobench.operations import OPERATIONS

# What follows "Write a function to", and what is said in its place. The frames of
# `flexlib.nanobench.tasks` draw one opening of several; some have but one, and keep it.
_OPENINGS = (
    (r"return whether ", "check whether "),
    (r"(?:return|compute) the (?!list |.* if the )", "find the "),  # not those of reshape, compare
    (r"give back the list ", "return the list "),
    (r"compute (?!the )", "return "),
    (r"collect the ", "return a list of the "),
    (r"join the ", "return a string of the "),
)


def one_phrasing(text: str, operations: Sequence[str]) -> str:
    """The text of a training record in the one phrasing; constants and names stay.

    Args:
        text: as :func:`flexlib.nanobench.benchmark.description` has it.
        operations: the catalogue names of the record. Of their wordings the last one stays, so that
            "lowered by", which a map shares with a step, never has to be replaced.
    """
    for opening, said in _OPENINGS:
        text, changed = re.subn(rf"^(Write a function to ){opening}", rf"\g<1>{said}", text)
        if changed:
            break
    for name in dict.fromkeys(operations):
        *others, last = OPERATIONS[name].wordings
        for other in others:
            number = re.escape(other).replace(r"\{k\}", r"(\d+)")
            text = re.sub(rf"\b{number}\b", last.replace("{k}", r"\g<1>"), text)
    return text
