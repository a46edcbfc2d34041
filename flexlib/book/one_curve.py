"""What *What the penalty does* says and draws of Java against the size of the update."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from flexlib.book import claims as shown
from flexlib.study import stats, sweep

#: Plain LoRA, at the ranks that the penalty leaves too.
PLAIN = ("lora", "lora-rank-3", "lora-rank-2")
#: Penalties with a single setting.
SINGLE = (
    "nuclear-norm",
    "rank-weights",
    "fourier-described",
    "fourier-A-columns",
    "fourier-last-axis",
    "fourier-both-axes",
    "fourier-released regularizer.threshold=0.3",
    "fourier-released regularizer.threshold=0.7",
    "fourier-whole-A",
    "fourier-permuted",
    "fourier-orthogonal",
    "fourier-B-columns",
    "fourier-rank",
    "fourier-delta",
    "fourier-columns",
    "fourier-released adapter.alpha=8 adapter.rank=4",
    "fourier-released adapter.alpha=32 adapter.rank=16",
    "rank-weights-on-B",
    # Of the other released configurations two train other modules, and four are arms of other names.
    "released-fourier-02",
    "released-fourier-04",
    "released-fourier-08",
    "released-fourier-10",
)
OTHERS = "other penalties"
#: L2 of equal norm is L2 of another strength, and lies where the sweep of L2 has no setting.
REFERENCE, ITS_KIN = "l2-matched", "l2-norm"
#: Of the largest update: what is smaller is as good as the base.
VANISHED = 0.01
#: Predictions about penalties of equal size, and what a verdict on them means.
EQUAL = ("M-L2-java", "M-nuclear-java", "M-weights-java")
ANSWERS = {"confirmed": "the same", "not confirmed": "different", "cannot tell": "cannot tell"}


def points(
    swept: pd.DataFrame,
    verdicts: pd.DataFrame,
    sizes: pd.Series,
    names: Mapping[str, str],
    *,
    seed: int,
) -> pd.DataFrame:
    """Every setting with an update, by size: those of the sweep, and the arms above with one setting.

    Args:
        swept: ``setting, label, arm, rate, low, high, size``, a row a setting that has a strength.
        verdicts: in Java.
        sizes: mean norm of the update, by label.
        names: what an arm is called.
        seed: of the bootstrap.
    """
    single = verdicts[verdicts["arm"].isin([*SINGLE, *PLAIN, ITS_KIN])]
    alone = stats.arm_rates(single, seed=seed).rename(columns={"pass_at_k": "rate", "arm": "label"})
    alone = alone[alone["label"].isin(sizes.index)]
    arms = {**dict.fromkeys(PLAIN, names["lora"]), ITS_KIN: names[REFERENCE]}
    alone = alone.assign(
        size=alone["label"].map(sizes),
        setting=alone["label"].replace(ITS_KIN, REFERENCE),
        arm=alone["label"].map(arms).fillna(OTHERS),
    )
    every = pd.concat([swept, alone], ignore_index=True)
    return every[every["size"] >= VANISHED * every["size"].max()].sort_values("size")


def distances(points: pd.DataFrame, verdicts: pd.DataFrame, *, seed: int) -> pd.DataFrame:
    """How far each penalty lies from L2's curve in Java (:func:`flexlib.study.sweep.from_curve`)."""
    penalties = points[~points["setting"].isin(PLAIN)]
    return sweep.from_curve(penalties, verdicts, REFERENCE, "nanobench-java", seed=seed)


def told(away: pd.DataFrame, margin: float, names: Mapping[str, str]) -> tuple[str, str]:
    """The finding of the figure, and which penalties lie off the curve.

    Args:
        away: from `distances`.
        margin: 0..1, the smallest difference worth claiming.
        names: what an arm is called.
    """
    same = away[(away["low"] > -margin) & (away["high"] < margin)]
    below, above = away[away["high"] < 0], away[away["low"] > 0]
    unknown = len(away) - len({*same["setting"], *below["setting"], *above["setting"]})
    finding = (
        f"Of {len(away)} penalties with updates in the range of L2's, {len(same)} lie within "
        f"{100 * margin:g} points of L2's curve with their whole interval, {len(below)} lie below it, "
        f"{len(above)} above, and {unknown} cannot be told."
    )
    off = [
        f"{where} the curve, in points: "
        + ", ".join(
            f"{names[row['setting']]} {shown.difference('pass@1', row, '')}"
            for row in rows.to_dict("records")
        )
        + "."
        for where, rows in (("Below", below), ("Above", above))
        if len(rows)
    ]
    if off:
        off.append(
            "By these intervals, each alone, the size of the update does not explain all of what a penalty "
            "does to Java."
        )
    elif len(same) == len(away):
        off.append(
            "The size of the update explains what these penalties do to Java, to within that margin."
        )
    else:
        off.append(
            f"No penalty is shown to lie off the curve, and {unknown} are not shown to lie on it."
        )
    return finding, " ".join(off)


def at_equal_size(claims: pd.DataFrame, state: pd.DataFrame) -> str:
    """Java of penalties with updates of the released one's size against its own, as was predicted."""
    each = "; ".join(
        f"{claims.loc[i, 'statement'].split(' give')[0].rstrip(',')}: "
        f"{shown.difference('pass@1', state.loc[i])}, {ANSWERS[state.loc[i, 'verdict']]}"
        for i in EQUAL
        if state.loc[i, "verdict"] != "not run"
    )
    if not each:
        return "The penalties of equal size have not been run."
    return f"Java differs from that of the released penalty, at equal size of the update, as follows: {each}."
