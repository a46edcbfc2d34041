"""The files between the stages of a run: their columns, and plain data as their bytes.

Equal data gives equal bytes: keys are sorted, and no time or name of a file gets into a compressed one.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

VERDICT_FIELDS = ("task_id", "sample", "verdict", "passed", "detail")
TRAINING_FIELDS = (
    *("step", "epoch", "tokens", "loss", "eval_loss", "lr", "grad_norm"),
    *("passes", "unclipped", "curvature_norm"),
    *("ce", "penalty"),  # of runs with a penalty
)


def to_json(data: Any) -> bytes:
    """Plain data as indented JSON with sorted keys."""
    return (json.dumps(data, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()


def to_csv(fields: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> bytes:
    """Rows as CSV; a missing field is an empty cell."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, fields, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def to_csv_gz(fields: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> bytes:
    """As :func:`to_csv`, gzipped."""
    return gzip.compress(to_csv(fields, rows), mtime=0)


def to_jsonl_gz(rows: Iterable[Mapping[str, Any]]) -> bytes:
    """Rows as gzipped JSON lines."""
    text = "".join(json.dumps(row, ensure_ascii=False, sort_keys=True) + "\n" for row in rows)
    return gzip.compress(text.encode(), mtime=0)


def digest_of(data: Any) -> str:
    """sha256 of plain data, by way of its canonical JSON."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
