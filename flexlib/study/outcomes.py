"""What there is one number of for each run that trained, and the registered claims on it.

=================  =========================  ====================================================
metric             benchmark                  what
=================  =========================  ====================================================
update-norm        <training set>-adapter     Frobenius norm of the update, all modules together
effective-rank     <training set>-adapter     of the update, mean over modules
rank-frequency     <training set>-adapter     mean frequency, 0..1, of the energy of B along its rank
                                              index (flexlib.analysis.spectra); 1/2 without an order
validation-loss    <training set>-validation  final, nats a token; infinite of a run that diverged
=================  =========================  ====================================================
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from flexlib import analysis
from flexlib.runs import derived, store
from flexlib.study import inference
from flexlib.study.inference import Effect

METRICS = ("update-norm", "effective-rank", "rank-frequency")  # of `by_claim`


def table(folder: Path | None = None, *, profile: str) -> pd.DataFrame:
    """The numbers of all runs of a profile: ``arm, seed, benchmark, metric, value``.

    Raises:
        FlexError: a run is corrupt.
    """
    return derived.kept("outcomes", folder, profile, lambda: _table(folder, profile))


def by_claim(claims: pd.DataFrame, outcomes: pd.DataFrame, *, seed: int) -> dict[str, Effect]:
    """The results, by id, of the registered ``claims`` on `METRICS`: differences of means over the seeds
    that both arms have, paired by seed. Claims of which the arms share fewer than two seeds are left out.

    Args:
        outcomes: from :func:`table`.
        seed: of the bootstrap.
    """
    results: dict[str, Effect] = {}
    for claim in claims[claims["metric"].isin(METRICS)].itertuples():
        chosen = outcomes[
            (outcomes["metric"] == claim.metric) & (outcomes["benchmark"] == claim.benchmark)
        ]
        values = chosen.pivot(index="seed", columns="arm", values="value")
        if {claim.treatment, claim.control} <= set(values):
            arms = values[claim.treatment], values[claim.control]
            if effect := inference.paired_by_seed(*arms, seed=seed):
                results[claim.id] = effect
    return results


# --- details ------------------------------------------------------------------------------------


def _table(folder: Path | None, profile: str) -> pd.DataFrame:
    from flexlib.analysis import spectra  # torch is slow to import

    keys = ["arm", "seed"]
    size = spectra.sizes(analysis.read("spectra", folder, profile=profile)).set_index(keys)
    shares = spectra.rank_shares(folder, profile=profile)
    mean = (shares["x"] * shares["value"]).groupby([shares[key] for key in keys]).sum()
    curve = store.training(folder, profile=profile).dropna(subset="eval_loss")
    measured = {
        ("adapter", "update-norm"): size["norm"],
        ("adapter", "effective-rank"): size["effective_rank"],
        ("adapter", "rank-frequency"): mean,
        ("validation", "validation-loss"): curve.sort_values("step")
        .groupby(keys)["eval_loss"]
        .last(),
    }
    rows = pd.concat(
        [
            values.rename("value").reset_index().assign(part=part, metric=metric)
            for (part, metric), values in measured.items()
        ],
        ignore_index=True,
    )
    runs = store.runs(folder, profile=profile).reindex(columns=[*keys, "training.dataset"])
    rows = rows.merge(runs, on=keys)
    rows["benchmark"] = rows["training.dataset"].astype(str) + "-" + rows["part"].astype(str)
    return rows[[*keys, "benchmark", "metric", "value"]]
