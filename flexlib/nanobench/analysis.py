"""What a NanoBench result is made of: which tasks, and which skills a completion shows."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pandas as pd

from flexlib.nanobench.benchmark import FOLDER, load_split
from flexlib.nanobench.operations import KINDS
from flexlib.nanobench.tasks import PARAMETER_NAMES, SECOND_LIST

KNOWN, AMBIGUOUS = "plain words only", "with an ambiguous word"


def task_table(split: str = "test", folder: Path = FOLDER) -> pd.DataFrame:
    """One row a task: ``task_id, frame, operations (number), group`` and what it returns.

    ``group`` is `AMBIGUOUS` if any operation of the task is, else `KNOWN`.
    """
    records = load_split(split, folder)
    return pd.DataFrame(
        {
            "task_id": [r["task_id"] for r in records],
            "frame": [r["composition"].split("|")[0] for r in records],
            "operations": [len(r["operations"]) for r in records],
            "group": [AMBIGUOUS if r["ambiguous"] else KNOWN for r in records],
            "returns": [r["code"].split("\n", 1)[0].split("-> ")[1].rstrip(":") for r in records],
        }
    )


def operation_table() -> pd.DataFrame:
    """One row an operation: ``kind, operation, wordings, ambiguous, usually``, and its count by split."""
    uses = {
        split: Counter(name for r in load_split(split) for name in set(r["operations"]))
        for split in ("train", "validation", "test")
    }
    return pd.DataFrame(
        [
            {
                "kind": kind.replace("_", " "),
                "operation": op.name.replace("_", " "),
                "wordings": "; ".join(op.wordings),
                "ambiguous": op.usual is not None,
                "usually": op.usual,
                **{split: count[f"{kind}.{op.name}"] for split, count in uses.items()},
            }
            for kind, ops in KINDS.items()
            for op in ops
        ]
    )


def constants(text: str) -> list[int]:
    """The integers that stand in a text, sorted, without 0 and 1, which code uses for itself."""
    return sorted(int(m) for m in re.findall(r"(?<![\w.])\d+(?![\w.])", text) if int(m) > 1)


def binds_constants(record: dict, language: str, completion: str) -> bool:
    """Whether a completion uses the very constants that the reference solution uses."""
    return constants(completion) == constants(record[f"reference_{language}"])


def binds_names(record: dict, language: str, completion: str) -> bool:
    """Whether a completion uses all parameters, and no parameter name of another task."""
    own = set(_parameters(record))
    # A name after a dot is a method's; the dots of a JavaScript spread follow no word.
    code = re.sub(r"'[^']*'|\"[^\"]*\"", "", completion)
    words = set(re.findall(r"(?<!\w\.)(?<!\w)[A-Za-z_]\w*", code))
    return own <= words and not (words & (_parameter_names() - own))


def _parameters(record: dict) -> list[str]:
    return re.findall(r"(\w+):", record["code"].split("\n", 1)[0].split(")")[0])


def _parameter_names() -> set[str]:
    return {name for names in PARAMETER_NAMES.values() for name in names} | set(SECOND_LIST)
