"""One number a run: read from what is stored, and paired by seed for the claims on it."""

from __future__ import annotations

import csv
import hashlib
import math
import shutil

import numpy as np
import pandas as pd
import pytest

from flexlib import analysis, formats
from flexlib.analysis import spectra
from flexlib.runs import store
from flexlib.study import convergence, hidden, language_groups, outcomes, paper, transfer
from flexlib.tasks import benchmarks


@pytest.fixture(scope="module")
def stored() -> pd.DataFrame:
    return outcomes.table(profile="nano")


def test_the_numbers_of_the_stored_runs_are_those_of_their_tables(stored):
    # What outcomes.by_claim leaves out, convergence.by_claim measures, seed by seed from the curves.
    assert set(stored["metric"]) - set(outcomes.METRICS) == {"validation-loss"}
    assert "validation-loss" in convergence.METRICS
    values = stored.set_index(["metric", "arm", "seed"])["value"]
    assert values.index.is_unique
    run = next(
        r
        for r in store.run_folders()
        if (config := store.read_config(r))["arm"] == "fourier-released"
        and config["profile"] == "nano"
        and not store.is_compact(r)
    )
    seed = store.read_config(run)["seed"]
    factors = spectra.read_adapter(run / "adapter")
    updates = [(f.scaling * f.B.double() @ f.A.double()).numpy() for f in factors]
    norm = np.sqrt(sum((u**2).sum() for u in updates))
    assert values["update-norm", "fourier-released", seed] == pytest.approx(norm, rel=1e-4)
    ranks = []
    for u in updates:
        s = np.linalg.svd(u, compute_uv=False)[:8]
        ranks.append(np.exp(-(s / s.sum() * np.log(s / s.sum())).sum()))
    found = values["effective-rank", "fourier-released", seed]
    assert found == pytest.approx(np.mean(ranks), rel=1e-3)
    centres = []
    for f in factors:
        power = (abs(np.fft.fft(f.B.double().numpy(), axis=1)) ** 2).sum(0)
        centres.append(
            (2 * np.minimum(np.arange(8), 8 - np.arange(8)) / 8 * power).sum() / power.sum()
        )
    found = values["rank-frequency", "fourier-released", seed]
    assert found == pytest.approx(np.mean(centres), rel=1e-4)
    curve = store.training(profile="nano")
    own = curve[(curve["arm"] == "fourier-released") & (curve["seed"] == seed)]
    last = own.dropna(subset="eval_loss").iloc[-1]["eval_loss"]
    assert values["validation-loss", "fourier-released", seed] == last


def test_every_run_with_factors_has_all_of_them(stored):
    factors = analysis.read("spectra", profile="nano")["run_id"].nunique()
    trained = store.training(profile="nano")["run_id"].nunique()
    sizes = stored.groupby("metric").size()
    assert factors > 50 and (sizes[list(outcomes.METRICS)] == factors).all()
    assert sizes["validation-loss"] == trained  # also without factors: (IA)^3, all weights


def test_the_final_loss_of_a_run_that_diverged_is_infinite(tmp_path):
    run = next(r for r in store.run_folders() if store.read_config(r)["arm"] == "lora")
    changed = shutil.copytree(run, tmp_path / run.name)
    rows = list(csv.DictReader((run / "training.csv").open(newline="")))
    rows[-1] |= {"eval_loss": math.nan, "loss": math.nan}
    altered = formats.to_csv(formats.TRAINING_FIELDS, rows)  # as the trainer writes its log
    (changed / "training.csv").write_bytes(altered)
    provenance = store.read_provenance(run)
    provenance["files"]["training.csv"] = hashlib.sha256(altered).hexdigest()
    (changed / "provenance.json").write_bytes(formats.to_json(provenance))
    table = outcomes.table(tmp_path, profile=store.read_config(run)["profile"])
    assert table.set_index("metric")["value"]["validation-loss"] == math.inf


def test_an_empty_store_has_no_numbers(tmp_path):
    assert outcomes.table(tmp_path, profile="nano").empty


def claims(**changes) -> pd.DataFrame:
    claim = {"id": "X", "treatment": "a", "control": "b", "benchmark": "d-adapter"}
    return pd.DataFrame([claim | {"metric": "update-norm"} | changes])


def made(arms: dict[str, dict[int, float]]) -> pd.DataFrame:
    rows = [(arm, seed, v) for arm, values in arms.items() for seed, v in values.items()]
    table = pd.DataFrame(rows, columns=["arm", "seed", "value"])
    return table.assign(benchmark="d-adapter", metric="update-norm")


def test_claims_are_paired_by_the_seeds_that_both_arms_have():
    noise = {1: 5.0, 2: -3.0, 3: 9.0, 4: 0.5}  # common to both arms: pairing removes it
    table = made(
        {
            "a": {s: 1.0 + v + 0.01 * s for s, v in noise.items()},
            "b": noise | {5: 100.0},
            "c": {9: 1.0},
        }
    )
    [result] = outcomes.by_claim(claims(), table, seed=0).values()
    assert result.estimate == pytest.approx(1.025)
    assert 1.0 < result.low < result.estimate < result.high < 1.05
    assert outcomes.by_claim(claims(control="c"), table, seed=0) == {}  # no seed in common
    assert outcomes.by_claim(claims(control="not run"), table, seed=0) == {}
    assert outcomes.by_claim(claims(metric="pass@1"), table, seed=0) == {}
    assert outcomes.by_claim(claims(benchmark="e-adapter"), table, seed=0) == {}


def test_every_registered_metric_is_measured_in_one_place():
    measured = ["pass@1", *outcomes.METRICS, *convergence.METRICS, *hidden.METRICS]
    measured += [*transfer.METRICS, language_groups.GROUP_GAIN]
    assert len(set(measured)) == len(measured)
    assert {c["metric"] for c in paper.registration()["claims"]} <= set(measured)


def test_registered_claims_name_metrics_and_benchmarks_that_there_are(stored):
    claims = paper.claims("nano")
    known = set(stored[["metric", "benchmark"]].itertuples(index=False, name=None))
    known |= {("pass@1", name) for name in benchmarks.NAMES}
    # Those of flexlib.study.convergence, hidden and transfer are tested there.
    elsewhere = claims["benchmark"].isin(["nanobench-validation", hidden.benchmark("nano")])
    elsewhere |= claims["metric"].isin(transfer.METRICS)
    asked = claims.loc[~elsewhere, ["metric", "benchmark"]]
    assert len(asked) and set(asked.itertuples(index=False, name=None)) <= known
