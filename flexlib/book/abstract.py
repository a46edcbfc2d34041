"""The numbers and sentences of the abstract."""

from __future__ import annotations

from typing import Any

import pandas as pd

from flexlib.book import claims as shown
from flexlib.book.landing import BEST, CONTROLS, States
from flexlib.errors import FlexError
from flexlib.study import inference

#: Published gains, and the claim that states each.
PUBLISHED = {"c1": "C1", "c3-lora": "C3-lora", "c3-base": "C3-base"}
#: Claims on the real model.
REAL = {"real-lora": "S-lora-java", "real-penalty": "S-C3-lora"}


def values(verdicts: pd.DataFrame, states: States, profile: str, *, seed: int) -> dict[str, Any]:
    """What the abstract says, by name: published gains in points with their intervals and n, what the arms of
    ``profile`` change, and what became of the claims on the real model.

    Raises:
        FlexError: a gain has no published figures.
    """
    claims, state = states[profile]
    said: dict[str, Any] = {}
    for name, claim in PUBLISHED.items():
        result = inference.published(claims.loc[claim])
        if result is None:
            raise FlexError(f"data/claims.yml has no two published figures for {claim}")
        said |= {
            f"{name}-gain": 100 * result.difference,
            f"{name}-low": shown.number("pass@1", result.low, ""),
            f"{name}-high": shown.number("pass@1", result.high, ""),
            f"{name}-n": result.n[0],
        }
    ran = verdicts[verdicts["profile"] == profile]
    python, java = (ran[ran["language"] == language] for language in ("python", "java"))
    control = next((arm for arm in CONTROLS if arm in set(java["arm"])), "")
    said["control"] = CONTROLS.get(control, "renumbered")
    for name, of, treatment, against in (
        ("lora-python", python, "lora", "base"),
        ("lora-java", java, "lora", "base"),
        ("penalty-java", java, "fourier-released", "lora"),
        ("penalty-base", java, "fourier-released", "base"),
        ("control-java", java, "fourier-released", control),
    ):
        said[name] = changes(of, state, treatment, against, seed=seed)
    said["best"] = shown.told(claims.loc[BEST], state.loc[BEST])
    asked, became = states.get("small", (None, None))
    for name, claim in REAL.items():
        told = None if asked is None else shown.told(asked.loc[claim], became.loc[claim])
        said[name] = told or "not run yet"
    return said


def changes(
    verdicts: pd.DataFrame, state: pd.DataFrame, treatment: str, control: str, *, seed: int
) -> str:
    """What an arm changes pass@1 by against another, on the benchmark of the verdicts, with its interval and
    n, for a sentence."""
    table = inference.contrasts(verdicts, [(treatment, control)], seed=seed, state=state)
    if table.empty:
        return "by an amount not yet measured (not run)"
    r = table.iloc[0]
    return (
        f"by {shown.difference('pass@1', r, 'points')}, n = {r['tasks']} tasks and {r['seeds']} seeds"
        f"{'' if r['claim'] else ', exploratory'}"
    )
