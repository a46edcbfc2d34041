"""The published record: figures, settings and claims of FLeX, as plain tables.

The files are in data/paper (see the README there) and data/claims.yml. Rates are per cent, as
printed.
"""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from flexlib.errors import FlexError

DATA = Path(__file__).resolve().parents[1] / "data"

CLAIM_FIELDS: dict[str, type] = {
    "id": str, "kind": str, "statement": str, "source": str, "treatment": str, "control": str,
    "benchmark": str, "metric": str, "test": str, "direction": str, "smallest_effect": float,
    "alpha": float, "family": str, "minimum_n": int,
}  # fmt: skip
# What an entry may also have: its own date, and what has taken its place and why.
CLAIM_OPTIONS: dict[str, type] = {"registered": datetime.date, "superseded_by": str, "reason": str}
CLAIM_CHOICES = {
    "kind": ("claim", "question", "prediction"),
    "test": ("paired-bootstrap",),
    "direction": ("greater", "less", "two-sided", "equivalent"),
}


def table(name: str, data: Path = DATA) -> pd.DataFrame:
    """Read data/paper/NAME.csv; text columns keep "" for what is not given.

    Raises FlexError if there is no such table.
    """
    path = data / "paper" / f"{name}.csv"
    if not path.is_file():
        raise FlexError(f"no table {path}; install flexlib from a checkout: pip install -e .")
    frame = pd.read_csv(path)
    text = frame.columns[[not pd.api.types.is_numeric_dtype(frame[c]) for c in frame]]
    return frame.fillna(dict.fromkeys(text, ""))


def published(data: Path = DATA) -> pd.DataFrame:
    """Published pass@1 figures, indexed by ``id``; ``value`` in per cent, ``n`` problems or NaN."""
    return table("published", data).set_index("id")


def quantity(name: str, data: Path = DATA) -> float:
    """One figure of context.csv by its id."""
    values = table("context", data).set_index("id")["value"]
    if name not in values:
        raise FlexError(f"no figure '{name}' in context.csv")
    return float(values[name])


def as_counts(percent: float, n: int, decimals: int = 1) -> list[int]:
    """All k for which k of n, in per cent, rounds to ``percent``: what a printed rate can be.

    Halves are taken to round either way, as both conventions are in use.
    """
    k = np.arange(n + 1)
    return k[np.abs(100 * k / n - percent) <= 0.5 * 10.0**-decimals + 1e-9].tolist()


def claims(data: Path = DATA) -> pd.DataFrame:
    """The pre-registered claims, indexed by ``id``, in the order of the file.

    ``registered`` is the entry's own date or the file's, ``superseded_by`` and ``reason`` are "" where
    nothing has taken its place.

    Raises FlexError if the file does not have the form that its head describes.
    """
    content = registration(data)
    absent = {"registered": content["registered"], "superseded_by": "", "reason": ""}
    rows = [absent | claim for claim in content["claims"]]
    return pd.DataFrame(rows, columns=[*CLAIM_FIELDS, *CLAIM_OPTIONS]).set_index("id", drop=False)


def registration(data: Path = DATA) -> dict[str, Any]:
    """data/claims.yml, checked: ``registered`` (date), ``design_rule``, the list ``claims``, ``tuning``,
    the plan that :mod:`flexlib.tuning` reads, and ``sweep``, that of :mod:`flexlib.sweep`."""
    path = data / "claims.yml"
    if not path.is_file():
        raise FlexError(
            f"no registration {path}; install flexlib from a checkout: pip install -e ."
        )
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    parts = {"registered", "design_rule", "claims", "tuning", "sweep"}
    if not isinstance(content, dict) or set(content) != parts:
        raise FlexError(f"{path}: needs exactly {', '.join(sorted(parts))}")
    if not content["claims"]:
        raise FlexError(f"{path}: registers no claim")
    for claim in content["claims"]:
        _check_claim(claim, path)
    ids = [claim["id"] for claim in content["claims"]]
    if len(set(ids)) < len(ids):
        raise FlexError(f"{path}: the ids of claims are not unique")
    for claim in content["claims"]:
        if "superseded_by" in claim and claim["superseded_by"] not in set(ids) - {claim["id"]}:
            raise FlexError(f"{path}: claim {claim['id']} is superseded by an id that is not there")
    return content


def _check_claim(claim: dict[str, Any], path: Path) -> None:
    where = f"{path}: claim {claim.get('id', '?')}"
    if set(claim) - set(CLAIM_OPTIONS) != set(CLAIM_FIELDS):
        wrong = ", ".join(sorted((set(claim) ^ set(CLAIM_FIELDS)) - set(CLAIM_OPTIONS)))
        raise FlexError(f"{where}: missing or unknown fields: {wrong}")
    if ("superseded_by" in claim) != ("reason" in claim):
        raise FlexError(f"{where}: superseded_by and reason go together")
    for field, kind in (
        CLAIM_FIELDS | {k: v for k, v in CLAIM_OPTIONS.items() if k in claim}
    ).items():
        if type(claim[field]) is not kind:
            raise FlexError(f"{where}: {field} must be of type {kind.__name__}")
    for field, choices in CLAIM_CHOICES.items():
        if claim[field] not in choices:
            raise FlexError(f"{where}: {field} must be one of {', '.join(choices)}")
    if not (0 < claim["alpha"] < 1 and claim["smallest_effect"] > 0 and claim["minimum_n"] > 1):
        raise FlexError(f"{where}: needs 0 < alpha < 1, smallest_effect > 0, minimum_n > 1")
