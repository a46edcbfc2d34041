"""Which programs are read by eye, and what was seen: data/reading.csv.

A rate says that programs changed, not how. So of an arm's run the first ten programs that it fixes
against the base and the first ten that it breaks are read, in the order of the sha256 of their task ids,
which nobody chose (data/claims.yml, ``small: reading``). What each change is was judged by a reader and
is a few words.
"""

from __future__ import annotations

import hashlib
import io
import re
import tokenize
from pathlib import Path

import pandas as pd

from flexlib import config as configs
from flexlib.runs import store
from flexlib.study import paper

FILE = "reading.csv"  # in data/: profile, arm, seed, change, benchmark, task_id, what
READ = 10  # of each kind

# The strings of Java, in which nothing is a comment, and what begins one; a string that is left open ends
# with its line.
_JAVA = re.compile(
    r'"""(?:\\.|.)*?"""|"(?:\\.|[^"\\\n])*"?|\'(?:\\.|[^\'\\\n])*\'?|(?P<comment>//|/\*)', re.DOTALL
)


def table() -> pd.DataFrame:
    """What was read; no rows before anything was."""
    path = paper.DATA / FILE
    columns = ["profile", "arm", "seed", "change", "benchmark", "task_id", "what"]
    return pd.read_csv(path) if path.is_file() else pd.DataFrame(columns=columns)


def chosen(verdicts: pd.DataFrame, arm: str, seed: int, control: str = "base") -> pd.DataFrame:
    """The programs to be read: ``change`` (fixed or broken), ``benchmark, task_id``, in order.

    Args:
        verdicts: of one profile, from `flexlib.runs.store.verdicts`; of several samples the first counts.
    """
    first = verdicts[verdicts["sample"] == 0]
    keys = ["benchmark", "task_id"]
    after = first[(first["arm"] == arm) & (first["seed"] == seed)].set_index(keys)["passed"]
    before = first[first["arm"] == control].set_index(keys)["passed"]
    both = pd.DataFrame({"before": before, "after": after}).dropna().astype(bool)
    both["digest"] = [hashlib.sha256(task.encode()).hexdigest() for _, task in both.index]
    both = both.sort_values("digest")
    parts = {
        "fixed": both[~both["before"] & both["after"]],
        "broken": both[both["before"] & ~both["after"]],
    }
    rows = pd.concat([rows.head(READ).assign(change=name) for name, rows in parts.items()])
    return rows.reset_index()[["change", *keys]]


def shape(folder: Path | None = None, *, profile: str) -> pd.DataFrame:
    """How programs look, run by run: ``arm, seed, benchmark, programs, lines`` (median number of lines that
    are not empty), ``commented`` (share of programs with a comment, 0..1; missing for languages of which
    `has_comment` knows nothing). Runs whose completions were not kept are left out.

    Raises:
        FlexError: a run is corrupt.
    """
    rows = []
    for run in store.run_folders(folder):
        config = store.read_config(run)
        if config["profile"] != profile or store.is_compact(run):
            continue
        arm = configs.label_of(config)
        for benchmark, settings in config["benchmarks"].items():
            texts = [row["completion"] for row in store.read_completions(run, benchmark)]
            lines = pd.Series([sum(bool(of.strip()) for of in text.splitlines()) for text in texts])
            commented = pd.Series(
                [has_comment(text, settings["language"]) for text in texts], dtype=float
            )
            found = len(texts), lines.median(), commented.mean()
            rows.append((arm, config["seed"], benchmark, *found))
    columns = ["arm", "seed", "benchmark", "programs", "lines", "commented"]
    return pd.DataFrame(rows, columns=columns)


def has_comment(text: str, language: str) -> bool | None:
    """Whether a program in Python or Java, or a part of one, has a comment; None for other languages.

    In Python, what follows a string of several lines that is never closed is a part of it.
    """
    if language == "java":
        return any(found["comment"] for found in _JAVA.finditer(text))
    if language != "python":
        return None
    # A completion begins at any depth, and may be cut off: its indents need not fit.
    lines = io.StringIO("".join(f"{line.lstrip()}\n" for line in text.split("\n")))
    try:
        return any(t.type == tokenize.COMMENT for t in tokenize.generate_tokens(lines.readline))
    except tokenize.TokenError:
        return False
