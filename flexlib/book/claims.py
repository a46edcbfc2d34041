"""The registered claims as the pages show them: published beside measured, each with its unit and n."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import pandas as pd

from flexlib.book import verdict_badge
from flexlib.study import inference, paper


class Unit(NamedTuple):
    """How a difference is shown: multiplied and added to, formatted, with a unit, long and short."""

    factor: float
    offset: float
    form: str
    long: str
    short: str


_STEPS = Unit(100, 0, "+.1f", "% of the steps", "% steps")
UNITS = {
    "pass@1": Unit(100, 0, "+.1f", "points", "points"),
    "reached-target": Unit(100, 50, ".0f", "% of the seeds, 50 by chance", "% of the seeds"),
    "steps-to-common-loss": _STEPS,
    "steps-to-target (share of AdamW's steps)": _STEPS,
    "validation-loss": Unit(1, 0, "+.4f", "nats a token", "nats"),
    "update-norm": Unit(1, 0, "+.2f", "in the norm of the update", "norm"),
    "effective-rank": Unit(1, 0, "+.2f", "in effective rank", "ranks"),
    "rank-frequency": Unit(1, 0, "+.3f", "in mean rank frequency", "frequency"),
    "transfer": Unit(100, 0, "+.1f", "points", "points"),
    "transfer-asymmetry": Unit(100, 0, "+.1f", "points", "points"),
    "group-gain": Unit(100, 0, "+.1f", "points", "points"),
    "twin-retrieval": Unit(100, 0, "+.1f", "points of recall of the twin", "points"),
    "twin-cka": Unit(1, 0, "+.3f", "in CKA of twins", "CKA"),
    "retrieval-transfer": Unit(1, 0, "+.2f", "of rank correlation", "correlation"),
}


def number(metric: str, value: float, unit: str | None = None) -> str:
    """A difference in the short unit of its metric, or with the one given."""
    shown = _unit(metric)
    text = f"{shown.factor * value + shown.offset:{shown.form}}".replace("-", "\N{MINUS SIGN}")
    return f"{text} {shown.short if unit is None else unit}".rstrip()


def difference(metric: str, row: Mapping[str, Any], unit: str | None = None) -> str:
    """A difference in the long unit of its metric, or with the one given, and its interval; the columns are
    those of `inference.assess` and `inference.contrasts`."""
    low, high = (number(metric, row[name], "") for name in ("low", "high"))
    own = _unit(metric).long if unit is None else unit
    return f"{number(metric, row['difference'], own)} ({low} to {high})"


def _unit(metric: str) -> Unit:
    return UNITS.get(metric, Unit(1, 0, "+.3g", metric, metric))


def size(row: Mapping[str, Any]) -> str:
    """The n of a result: tasks, where there are any, x seeds (x base models)."""
    counts = [(row["tasks"], "task"), (row["seeds"], "seed"), (row["bases"], "base")]
    shown = [(n, name) for n, name in counts if n > 1 or name == "seed"]
    return " x ".join(f"{n:.0f} {name}{'s' if n > 1 else ''}" for n, name in shown)


def told(claim: Mapping[str, Any], row: Mapping[str, Any]) -> str:
    """What became of a claim, for a sentence: its difference, interval, n and verdict."""
    if row["verdict"] == "not run":
        return "not run yet"
    return f"{_measured(claim, row)}; verdict: {row['verdict']}"


def published(claim: Mapping[str, Any]) -> str:
    """The published figures of the claim's own contrast; a dash if there are none."""
    if not claim["published"]:
        return "–"
    found = inference.published(claim)
    if found is None:
        [name] = claim["published"]
        quantity = paper.table("context").set_index("id").loc[name]
        return f"{quantity['value']:g} {quantity['unit']} {quantity['quantity']}, no interval"
    values = paper.published().loc[claim["published"], "value"]
    row = {"difference": found.difference, "low": found.low, "high": found.high}
    return f"{values.iloc[0]:.1f} − {values.iloc[1]:.1f}: {difference('pass@1', row)}; n = {found.n[0]}"


def table(
    claims: pd.DataFrame,
    state: pd.DataFrame,
    *,
    here: str = "here",
    with_published: bool = True,
    beside: Mapping[str, pd.DataFrame] | None = None,
) -> pd.DataFrame:
    """A row a claim: number, statement, published, measured, adjusted p and verdict. Where other profiles
    stand beside it there is no room for p, and each scale has its verdict in its column.

    Args:
        claims: from `flexlib.study.paper.claims`; a subset is in order.
        state: from `inference.assess` on all of them.
        here: heading of the measured column.
        with_published: whether there is a column of the published figures.
        beside: states of other profiles by the heading of their column, in which claim X is ``S-X``.
    """
    state = state.set_index("id", drop=False)
    theirs = "published (95 % interval)"
    columns = ["no.", "statement", theirs, f"{here} (simultaneous 95 % interval)"]
    rows = []
    for claim in claims.to_dict("records"):
        row = state.loc[claim["id"]]
        name = claim["id"] + ("†" if claim["after_runs"] else "")
        p, verdict = "–", verdict_badge(row["verdict"])
        if row["verdict"] != "not run":
            p = inference.p_text(row["adjusted_p"], row["at_floor"] is True)
        if beside:
            others = [other[other["id"] == f"S-{claim['id']}"] for other in beside.values()]
            cells = [_judged(claim, row), *(_judged(claim, *o.to_dict("records")) for o in others)]
        else:
            cells = [_measured(claim, row), p, verdict]
        rows.append((name, claim["statement"], published(claim), *cells))
    columns += [*beside] if beside else ["p (Holm)", "verdict"]
    found = pd.DataFrame(rows, columns=columns)
    return found if with_published else found.drop(columns=theirs)


def _measured(claim: Mapping[str, Any], row: Mapping[str, Any]) -> str:
    if row["verdict"] == "not run":
        return "–"
    return f"{difference(claim['metric'], row)}; n = {size(row)}"


def _judged(claim: Mapping[str, Any], row: Mapping[str, Any] | None = None) -> str:
    """What was measured, with its verdict; a dash where the claim was not asked."""
    if row is None:
        return "–"
    verdict = verdict_badge(row["verdict"])
    return verdict if row["verdict"] == "not run" else f"{_measured(claim, row)} {verdict}"
