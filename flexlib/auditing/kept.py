"""Audits that the study keeps, in ``data/audits``: a report's JSON without the benchmarks' prompts.

``python -m flexlib.auditing.kept REPORT`` keeps the report of that folder, under the name of its adapter; the
chapter *What an audit looks like* shows what is kept.
"""

from __future__ import annotations

import argparse
import dataclasses
import gzip
import json
import sys
from pathlib import Path

import pandas as pd

from flexlib import disk, paths
from flexlib.auditing import report, subject
from flexlib.auditing.tables import Audit
from flexlib.errors import FlexError

FOLDER = paths.DATA / "audits"
_TABLES = ("languages", "programs", "form", "modules", "spectrum", "merged")


def keep(audit: Audit, folder: Path) -> Path:
    """Write an audit without its prompts, as ``<name of the adapter>.json.gz``; equal ones, equal bytes."""
    bare = dataclasses.replace(audit, programs=audit.programs.assign(prompt=""))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{subject.short_name(audit.facts['adapter'])}.json.gz"
    disk.write_atomically(path, gzip.compress(report.to_json(bare), mtime=0))
    return path


def read(path: Path) -> Audit:
    """An audit from the JSON of its report, gzipped or not.

    Raises:
        FlexError: the file is missing, or no such report.
    """
    try:
        content = path.read_bytes()
        data = json.loads(gzip.decompress(content) if path.suffix == ".gz" else content)
        tables = {name: data[name] for name in _TABLES}
        tables = {k: None if rows is None else pd.DataFrame(rows) for k, rows in tables.items()}
        return Audit(facts=dict(data["facts"]), left_out=dict(data["left_out"]), **tables)
    except (OSError, ValueError, EOFError, KeyError, TypeError) as error:
        raise FlexError(f"{path} is no report of flexlib audit: {error!r}") from None


def main(arguments: list[str] | None = None) -> int:
    """Keep a report."""
    parser = argparse.ArgumentParser(
        prog="python -m flexlib.auditing.kept", description=__doc__.split("\n")[0]
    )
    parser.add_argument("report", type=Path, help="folder that flexlib audit has written")
    options = parser.parse_args(arguments)
    try:
        print(keep(read(options.report / report.JSON), FOLDER))
    except FlexError as error:
        print(f"flexlib: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
