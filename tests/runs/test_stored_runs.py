"""The runs that the study stands on: today's code reads them, names them and judges them as it did."""

from __future__ import annotations

import dataclasses
import json

import pytest

from flexlib import analysis, config
from flexlib.formats import digest_of
from flexlib.runs import store
from flexlib.runs.machine import Machine
from flexlib.runs.regrade import regrade
from flexlib.tasks import training_sets, transforms

RUNS = store.run_folders()
CONFIGS = {run.name: json.loads((run / "config.json").read_text()) for run in RUNS}


def test_every_id_is_the_hash_of_the_configuration():
    assert len(RUNS) >= 88
    assert [config.run_id(stored) for stored in CONFIGS.values()] == list(CONFIGS)


def test_todays_configuration_of_a_stored_run_has_its_id():
    """Given the same command, the run is found and not made again. The digests are of files, which are
    not read here."""
    for run_id, stored in CONFIGS.items():
        variant = stored.get("variant", "").split()
        decoding = [v for v in variant if "=" not in v]
        overrides = [v for v in variant if "=" in v and not v.startswith("limit=")]
        wanted = config.load(
            stored["profile"],
            config.arm_of(stored),
            stored["seed"],
            decoding=decoding[0] if decoding else None,
            overrides=overrides,
            limit=stored.get("limit"),
        )
        training = wanted.training and dataclasses.replace(
            wanted.training, digest=stored["training"]["digest"]
        )
        benchmarks = tuple(
            dataclasses.replace(b, digest=stored["benchmarks"][b.name]["digest"])
            for b in wanted.benchmarks
        )
        resolved = dataclasses.replace(
            wanted, base_digest=stored["base_digest"], training=training, benchmarks=benchmarks
        )
        assert config.run_id(config.to_dict(resolved)) == run_id, stored["arm"]


def test_adapters_of_stored_runs_are_told_in_todays_words():
    table = store.runs()
    trained = table[table["training.dataset"].notna()]
    for arm, kind in set(zip(trained["arm"], trained["adapter.kind"], strict=True)):
        name = arm.split()[0]
        assert kind == config.load("nano", name, 1).method()[1].kind, arm
    ranked = trained["adapter.kind"].isin(["lora", "rslora", "dora", "pissa", "vera"])
    assert trained["adapter.rank"].notna().equals(ranked)
    assert not [column for column in table if column.startswith("lora.")]


def test_spectra_of_before_are_read():
    spectra = analysis.read("spectra")
    # The update is the product of two factors; of an early run, whose section had another name, too.
    products = ("lora", "rslora", "pissa")
    factors = {
        run_id
        for run_id, stored in CONFIGS.items()
        if "training" in stored and stored.get("adapter", {}).get("kind", "lora") in products
    }
    assert set(spectra["run_id"]) == factors


def test_answers_are_shuffled_as_they_were():
    splits = {s: training_sets.load_records("nanobench", s) for s in ("train", "validation")}
    of = [c for c in CONFIGS.values() if config.arm_of(c) == "shuffled"]
    assert of
    for stored in of:
        train = transforms.transformed(splits["train"], "shuffled-alike", stored["seed"])
        assert training_sets.digest({**splits, "train": train}) == stored["training"]["digest"]


def test_two_configurations_that_differ_have_two_ids():
    assert len({digest_of(stored) for stored in CONFIGS.values()}) == len(RUNS)


@pytest.mark.slow
def test_a_stored_run_is_judged_as_it_was(monkeypatch):
    """All its programs, in both languages: plain LoRA's first run that has kept its completions."""
    nano = [r for r in RUNS if CONFIGS[r.name]["profile"] == "nano"]
    plain = [r for r in nano if config.arm_of(CONFIGS[r.name]) == "lora"]
    run = next(r for r in plain if "dropped" not in store.read_provenance(r))
    results = list(regrade(Machine(progress=False), [run.name], write=False))
    assert [r.programs for r in results] == [500, 500]
    assert [r.changes for r in results] == [[], []]
