"""Where benchmarks and training sets come from, the hub or a folder, and what they are: their content.

The pin of a table is the sha256 of its content, wherever it comes from: MultiPL-E's prompts alone
have changed several times, which is worth points on Java. A commit of the hub says only where to ask.
It is the whole pin of the tables that were never at hand to take a sha256 from.
"""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flexlib.errors import FlexError
from flexlib.formats import digest_of

Row = dict[str, Any]

ANY_DATA = "FLEXLIB_ANY_DATA"  # set to 1, data of another content than the pinned are taken


@dataclass(frozen=True)
class Source:
    """One table: its place below the data folder, its place on the hub, and what makes it whole.

    Attributes:
        path: below the data folder, as it is or with ``.gz``.
        rows: how many make it whole.
        columns: those that are read; the sha256 is of these.
        repository, configuration, splits: on the hub; the splits are joined in this order.
        revision: the commit that the hub is asked for.
        file: a JSON-lines file of the repository, for one that ``datasets`` cannot read by itself
            (a loading script, which it no longer runs).
        sha256: of the columns' canonical JSON, which is what the table is; None where no file was at
            hand to take it from.
    """

    path: str
    rows: int
    columns: tuple[str, ...]
    repository: str
    configuration: str
    splits: tuple[str, ...]
    revision: str
    file: str | None = None
    sha256: str | None = None

    @property
    def name(self) -> str:
        """Repository and configuration."""
        return f"{self.repository} {self.configuration}".strip()

    @property
    def on_hub(self) -> str:
        """Repository, commit and configuration."""
        return f"{self.repository}@{self.revision[:12]} {self.configuration}".strip()


def read(source: Source, data_dir: str | Path | None = None) -> list[Row]:
    """The rows of a table, as they are there.

    Raises:
        FlexError: the table is missing, damaged, not whole or not of the pinned content; without
            ``data_dir``, the hub is out of reach.
    """
    if data_dir is None:
        rows, where = _from_hub(source), f"the hub's {source.on_hub}"
    else:
        path = _find(source, Path(data_dir))
        rows, where = list(read_jsonl(path)), str(path)
    if len(rows) != source.rows:
        raise FlexError(f"{where} has {len(rows)} rows instead of {source.rows}: fetch it again")
    for number, row in enumerate(rows, 1):
        if missing := [c for c in source.columns if c not in row]:
            raise FlexError(f"{where}, row {number}: no column {', '.join(missing)}")
    pinned = source.sha256 if is_checked(source) else None
    if pinned and (found := digest(source, rows)) != pinned:
        way_out = (
            "fetch that" if data_dir else f"name a folder with that {source.path} by --data-dir"
        )
        raise FlexError(
            f"{where} is not the pinned {source.name} (content {found[:12]} instead of "
            f"{pinned[:12]}): {way_out}, or set {ANY_DATA}=1 to take it as it is"
        )
    return rows


def is_checked(source: Source) -> bool:
    """Whether the content of a table is held against the pin: it has one, and ``FLEXLIB_ANY_DATA`` is
    not 1."""
    return source.sha256 is not None and os.environ.get(ANY_DATA) != "1"


def describe(source: Source, data_dir: str | Path | None = None) -> str:
    """Where a table was read and what is known of its content, for a run's provenance."""
    where = f"file, {source.name}" if data_dir else f"hub, {source.on_hub}"
    content = f"content {source.sha256} checked" if is_checked(source) else "content not checked"
    return f"{where}, {content}"


def digest(source: Source, rows: Sequence[Row]) -> str:
    """sha256 of the columns that are read, whatever the file's formatting."""
    return digest_of([[row[c] for c in source.columns] for row in rows])


def read_jsonl(path: Path) -> Iterator[Row]:
    """The objects of a file of JSON lines, compressed or not. Raises FlexError if it is not one."""
    opener = gzip.open if path.suffix == ".gz" else open
    number = 0
    try:
        with opener(path, "rt", encoding="utf-8") as file:
            for number, line in enumerate(file, 1):  # noqa: B007 - for the message below
                if line.strip():
                    row = json.loads(line)
                    if not isinstance(row, dict):
                        raise ValueError("no JSON object")
                    yield row
    except (OSError, EOFError) as error:
        raise FlexError(f"cannot read {path}: {error}") from None
    except ValueError as error:  # also of UTF-8
        raise FlexError(f"{path}, line {number}: {error}") from None


def _find(source: Source, data_dir: Path) -> Path:
    wanted = data_dir / source.path
    for path in (wanted, wanted.with_name(wanted.name + ".gz")):
        if path.is_file():
            return path
    raise FlexError(f"there is no {wanted} (nor .gz): is --data-dir the right folder?")


def _from_hub(source: Source) -> list[Row]:
    try:
        if source.file:
            from huggingface_hub import hf_hub_download

            path = hf_hub_download(
                source.repository, source.file, repo_type="dataset", revision=source.revision
            )
            return list(read_jsonl(Path(path)))
        import datasets

        return [
            row
            for split in source.splits
            for row in datasets.load_dataset(
                source.repository, source.configuration, split=split, revision=source.revision
            )
        ]
    except ImportError:
        raise FlexError(
            f"{source.repository} comes from the hub through the package datasets: install it, or "
            f"name a folder with {source.path} by --data-dir"
        ) from None
    except FlexError:
        raise
    except Exception as error:  # without network or cached copy each library has its own kinds
        raise FlexError(
            f"cannot fetch {source.repository} from the hub ({type(error).__name__}): connect, or "
            f"name a folder with {source.path} by --data-dir"
        ) from error
