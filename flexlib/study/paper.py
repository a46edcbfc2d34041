"""The published record: figures, settings and claims of FLeX, as plain tables.

The files are in data/paper (see the README there) and data/claims.yml. Rates are per cent, as
printed.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from flexlib import paths
from flexlib.errors import FlexError
from flexlib.study import plans

DATA = paths.DATA
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times faster, where libyaml is there

CLAIM_FIELDS: dict[str, type] = {
    "id": str, "kind": str, "statement": str, "source": str, "treatment": str, "control": str,
    "benchmark": str, "metric": str, "test": str, "direction": str, "smallest_effect": float,
    "alpha": float, "family": str, "minimum_n": int,
}  # fmt: skip
# With what a claim that leaves them out is taken to have.
CLAIM_OPTIONAL: dict[str, tuple[type, Any]] = {
    "profile": (str, "nano"),
    "registered": (date, None),  # the date of the file
    "published": (list, []),  # ids of data/paper: treatment and control, or one difference
    "superseded_by": (str, ""),  # the id that has taken its place
    "reason": (str, ""),  # why
    "after_runs": (bool, False),  # whether its metric had been seen of treatment and control
}
CLAIM_CHOICES = {
    "kind": ("claim", "question", "prediction"),
    "test": ("paired-bootstrap", "exact-binomial"),
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


def claims(profile: str = "nano", data: Path = DATA, *, superseded: bool = False) -> pd.DataFrame:
    """The registered claims of a profile, indexed by ``id``, in the order of the file; without those that
    another id has taken the place of, or with ``superseded`` these alone.

    Raises FlexError if the file does not have the form that its head describes.
    """
    of_profile = [c for c in registration(data)["claims"] if c["profile"] == profile]
    chosen = [c for c in of_profile if bool(c["superseded_by"]) == superseded]
    columns = [*CLAIM_FIELDS, *CLAIM_OPTIONAL]
    return pd.DataFrame(chosen, columns=columns).set_index("id", drop=False)


def registration(data: Path = DATA) -> dict[str, Any]:
    """data/claims.yml, checked: ``registered`` (date), ``design_rule``, the list ``claims``, ``tuning``
    and ``adapters``, the plans that :mod:`flexlib.study.tuning` reads, ``sweep``, that of
    :mod:`flexlib.study.sweep`, those that :mod:`flexlib.study.plans` names, ``small``, what was fixed
    of the study at that scale, and ``groupings``, the groups of languages of
    :mod:`flexlib.study.language_groups`."""
    path = data / "claims.yml"
    if not path.is_file():
        raise FlexError(
            f"no registration {path}; install flexlib from a checkout: pip install -e ."
        )
    content = yaml.load(path.read_text(encoding="utf-8"), Loader=_LOADER)
    parts = {
        "registered",
        "design_rule",
        "claims",
        "tuning",
        "adapters",
        "sweep",
        "small",
        "groupings",
    }
    parts |= set(plans.NAMES)
    if not isinstance(content, dict) or set(content) != parts:
        raise FlexError(f"{path}: needs exactly {', '.join(sorted(parts))}")
    if not content["claims"]:
        raise FlexError(f"{path}: registers no claim")
    for claim in content["claims"]:
        _check_claim(claim, path)
        defaults = {name: default for name, (_, default) in CLAIM_OPTIONAL.items()}
        claim |= {**defaults, "registered": content["registered"], **claim}
    ids = [claim["id"] for claim in content["claims"]]
    if len(set(ids)) < len(ids):
        raise FlexError(f"{path}: the ids of claims are not unique")
    for claim in content["claims"]:
        if claim["superseded_by"] and claim["superseded_by"] not in set(ids) - {claim["id"]}:
            raise FlexError(f"{path}: claim {claim['id']} is superseded by an id that is not there")
    return content


def _check_claim(claim: dict[str, Any], path: Path) -> None:
    where = f"{path}: claim {claim.get('id', '?')}"
    if set(claim) - set(CLAIM_OPTIONAL) != set(CLAIM_FIELDS):
        wrong = ", ".join(sorted(set(claim) - set(CLAIM_OPTIONAL) ^ set(CLAIM_FIELDS)))
        raise FlexError(f"{where}: missing or unknown fields: {wrong}")
    if ("superseded_by" in claim) != ("reason" in claim):
        raise FlexError(f"{where}: superseded_by and reason go together")
    kinds = CLAIM_FIELDS | {
        name: kind for name, (kind, _) in CLAIM_OPTIONAL.items() if name in claim
    }
    for field, kind in kinds.items():
        if type(claim[field]) is not kind:
            raise FlexError(f"{where}: {field} must be of type {kind.__name__}")
    for field, choices in CLAIM_CHOICES.items():
        if claim[field] not in choices:
            raise FlexError(f"{where}: {field} must be one of {', '.join(choices)}")
    if not (0 < claim["alpha"] < 1 and claim["smallest_effect"] > 0 and claim["minimum_n"] > 1):
        raise FlexError(f"{where}: needs 0 < alpha < 1, smallest_effect > 0, minimum_n > 1")
