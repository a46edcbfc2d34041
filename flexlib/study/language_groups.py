"""The real model in six further languages: over all of them, and by groups of languages.

The groups are registered in data/claims.yml (``groupings``); all runs are of the decoding
``six-languages``. Registered claims are on:

==========  ======================  ===========================================================
metric      benchmark               what
==========  ======================  ===========================================================
pass@1      multipl-e-six           mean over the six languages
group-gain  multipl-e-FIRST-SECOND  gain over the control, mean over the languages of the group
                                    FIRST, less that over those of SECOND
==========  ======================  ===========================================================

One task of HumanEval in several languages is one task: its rates are averaged before tasks are drawn, and
only tasks that are in all of the languages count.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from flexlib import config
from flexlib.study import paper, transfer
from flexlib.study.stats import Bootstrap, paired_bootstrap

PROFILE, DECODING = "small", "six-languages"
ALL, GROUP_GAIN = "multipl-e-six", "group-gain"


def label(arm: str) -> str:
    """The stored name of an arm in these languages."""
    return f"{arm} {DECODING}"


def groupings() -> dict[str, dict[str, list[str]]]:
    """The registered groupings: by name, the languages of each group."""
    return paper.registration()["groupings"]


def benchmarks() -> dict[str, str]:
    """The benchmark of each language."""
    return {
        b.language: b.name for b in config.load(PROFILE, "base", 0, decoding=DECODING).benchmarks
    }


def gain(
    verdicts: pd.DataFrame, treatment: str, control: str, languages: Sequence[str]
) -> pd.DataFrame | None:
    """pass@1 of one stored arm minus that of another, mean over languages: tasks down, the seeds that both
    have across. A base has one run, which is paired with every seed. None if something was not run."""
    names = benchmarks()
    sides = [
        transfer.mean_rates(verdicts, [(arm, names[language]) for language in languages])
        for arm in (treatment, control)
    ]
    return transfer.difference(*sides, untrained=control.split(maxsplit=1)[0] == "base")


def by_claim(claims: pd.DataFrame, verdicts: pd.DataFrame, *, seed: int) -> dict[str, Bootstrap]:
    """The results, by id, of the registered ``claims`` of the table above. A claim is left out until all
    its languages have runs, of two common seeds at least.

    Args:
        verdicts: from :func:`flexlib.runs.store.verdicts`, of one profile.
        seed: of the bootstrap.
    """
    results = {}
    asked = claims[(claims["benchmark"] == ALL) | (claims["metric"] == GROUP_GAIN)]
    groups = {name: of for grouping in groupings().values() for name, of in grouping.items()}
    for claim in asked.itertuples():
        if claim.metric == GROUP_GAIN:
            first, second = claim.benchmark.removeprefix("multipl-e-").split("-")
            found = transfer.difference(
                *(
                    gain(verdicts, claim.treatment, claim.control, groups[g])
                    for g in (first, second)
                )
            )
        else:
            found = gain(verdicts, claim.treatment, claim.control, list(benchmarks()))
        if found is not None and found.shape[1] > 1:
            results[claim.id] = paired_bootstrap(found.to_numpy(), seed=seed)
    return results


def by_group(
    verdicts: pd.DataFrame, arm: str, control: str = "base", *, seed: int, n_resamples: int = 10_000
) -> pd.DataFrame:
    """The gain of an arm over the control in every group that was run: ``grouping, group, languages,
    tasks, seeds, difference, low, high``, with a 95 % interval of each group alone.

    Args:
        arm: as profiles name it, and so the control.
        seed: of the bootstrap.
    """
    rows = []
    for grouping, groups in groupings().items():
        for group, languages in groups.items():
            found = gain(verdicts, label(arm), label(control), languages)
            if found is None:
                continue
            result = paired_bootstrap(found.to_numpy(), seed=seed, n_resamples=n_resamples)
            interval = (result.estimate, result.low, result.high)
            rows.append((grouping, group, languages, *found.shape, *interval))
    columns = ["grouping", "group", "languages", "tasks", "seeds", "difference", "low", "high"]
    return pd.DataFrame(rows, columns=columns)
