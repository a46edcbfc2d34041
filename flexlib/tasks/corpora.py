"""The training sets of the paper's second and third round, in the shape of MBPP's records.

Which solution of APPS the release trained on, how its tenth of validation problems was drawn, and the
text it made of a CodeSearchNet function are not known; what is done here is said at each function.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from flexlib.errors import FlexError
from flexlib.tasks import sources
from flexlib.tasks.sources import Source

Record = dict[str, Any]

APPS = Source(
    path="apps/train.jsonl",
    rows=5000,
    columns=("id", "question", "solutions", "difficulty"),
    repository="codeparrot/apps",
    configuration="",
    splits=("train",),
    revision="21e74ddf8de1a21436da12e3e653065c5213e9d1",
    file="train.jsonl",
)
APPS_COMPETITION = 361  # problems of this difficulty in the train split, as in the paper
APPS_HELD_OUT = 10  # every tenth problem validates

_CODESEARCHNET_ROWS = {"train": 412_178, "validation": 23_107}


def apps(split: str, data_dir: Path | None = None) -> list[Record]:
    """The competition problems of APPS (Hendrycks et al. 2021): the question and its first solution.

    Every tenth problem, in the order of the file, is in ``"validation"``, the others in ``"train"``.

    Raises:
        FlexError: as :func:`flexlib.tasks.sources.read`; a problem without solution.
    """
    rows = [r for r in sources.read(APPS, data_dir) if r["difficulty"] == "competition"]
    if len(rows) != APPS_COMPETITION:
        raise FlexError(
            f"APPS has {APPS_COMPETITION} competition problems to train on, found {len(rows)}; "
            "download it again"
        )
    wanted = [
        row
        for i, row in enumerate(rows)
        if (i % APPS_HELD_OUT == APPS_HELD_OUT - 1) == (split == "validation")
    ]
    return [
        {
            "task_id": f"apps/{row['id']}",
            "text": row["question"].strip(),
            "code": _first_solution(row),
            "test_list": [],
        }
        for row in wanted
    ]


def codesearchnet(split: str, data_dir: Path | None = None) -> list[Record]:
    """Python functions of CodeSearchNet (Husain et al. 2019): the docstring, then the function whole.

    400 times as many as MBPP has: choose by ``training.train_limit``.

    Raises:
        FlexError: as :func:`flexlib.tasks.sources.read`.
    """
    source = Source(
        path=f"codesearchnet/python-{split}.jsonl",
        rows=_CODESEARCHNET_ROWS[split],
        columns=("func_documentation_string", "func_code_string", "func_code_url"),
        repository="code-search-net/code_search_net",
        configuration="python",
        splits=(split,),
        revision="bd0cf261e357a3eb5c8fba490d23ec1a1cd59555",
    )
    return [
        {
            "task_id": row["func_code_url"],
            "text": row["func_documentation_string"].strip(),
            "code": row["func_code_string"],
            "test_list": [],
        }
        for row in sources.read(source, data_dir)
    ]


def _first_solution(row: Record) -> str:
    """The first of a problem's solutions, which APPS keeps as a JSON list in a text."""
    try:
        return json.loads(row["solutions"])[0]
    except (ValueError, IndexError, TypeError):
        raise FlexError(f"APPS problem {row['id']} has no solution; download it again") from None
