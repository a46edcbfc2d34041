"""Training sets: MBPP-shaped records, and the text that each becomes.

One record becomes, as in the released code::

    <text>

    # assert ...
    # assert ...

    <code>

or, where the code is not Python, with the comments of its language.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flexlib.errors import FlexError
from flexlib.formats import digest_of
from flexlib.nanobench.benchmark import load_large, load_plain, load_split
from flexlib.nanobench.corpus import broad_python
from flexlib.nanobench.translated import TRANSLATIONS, translated
from flexlib.tasks import corpora
from flexlib.tasks.benchmarks import mbpp_split, read_rows

Record = dict[str, Any]  # at least task_id, text, code, test_list

# NanoBench's training set with its answers in another language.
_IN_LANGUAGE = {f"nanobench-{language}": language for language in TRANSLATIONS}

DATASETS = (
    *("nanobench", "nanobench-large", "nanobench-plain", "nanobench-broad", *_IN_LANGUAGE),
    *("mbpp", "apps", "codesearchnet"),
)


def load_records(dataset: str, split: str, data_dir: Path | None = None) -> list[Record]:
    """The records of a training set, in the order of their file.

    Args:
        dataset: one of ``DATASETS``.
        split: ``"train"`` or ``"validation"``.
        data_dir: a folder with the files of the training sets (see :mod:`flexlib.tasks.corpora` and
            :mod:`flexlib.tasks.benchmarks`); without it they come from the hub.

    Raises:
        FlexError: unknown dataset; files missing or incomplete; hub out of reach.
    """
    if dataset == "nanobench-plain" and split == "train":
        return load_plain()
    if dataset == "nanobench-large" and split == "train":
        return load_large()
    if dataset in ("nanobench", "nanobench-large", "nanobench-plain"):
        return load_split(split)
    if dataset in _IN_LANGUAGE:
        return translated(load_split(split), _IN_LANGUAGE[dataset])
    if dataset == "nanobench-broad":
        return broad_python(split)
    if dataset == "mbpp":
        return mbpp_split(read_rows("mbpp", data_dir), split)
    if dataset in ("apps", "codesearchnet"):
        return getattr(corpora, dataset)(split, data_dir)
    raise FlexError(f"unknown dataset {dataset!r}; the datasets are {', '.join(DATASETS)}")


def training_text(record: Record) -> tuple[str, str]:
    """Prompt and code of a record; their concatenation is the training text, without EOS. A record
    without a text is its code alone."""
    mark = record.get("comment", "#")
    asserts = [f"{mark} {line}" for test in record["test_list"] for line in test.splitlines()]
    parts = [
        *([record["text"]] if record["text"] else []),
        *(["\n".join(asserts)] if asserts else []),
    ]
    return "".join(f"{part}\n\n" for part in parts), record["code"]


def digest(records: Mapping[str, Sequence[Record]]) -> str:
    """sha256 of the training texts by split: what else a record holds is of no consequence."""
    return digest_of({split: [training_text(r) for r in rows] for split, rows in records.items()})
