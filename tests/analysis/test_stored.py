"""Analyses of stored runs: made after the store, again, by name; a failure loses nothing."""

from __future__ import annotations

import re
import shutil

import pandas as pd
import pytest

from flexlib import analysis, cli, paths
from flexlib.analysis import stored
from flexlib.errors import FlexError
from flexlib.runs import store
from flexlib.runs.machine import Machine

NANO = store.runs(profile="nano").query("arm in ['base', 'lora']").groupby("arm")["run_id"].first()
RUN, BASE = (paths.RUNS / NANO[arm] for arm in ("lora", "base"))


@pytest.fixture
def runs(tmp_path):
    """A store with a trained run and a base."""
    for run in (RUN, BASE):
        shutil.copytree(run, tmp_path / run.name)
    return tmp_path


@pytest.fixture
def toy(monkeypatch):
    """An analysis that is not part of flexlib: how often each verdict was given."""

    def function(run, machine):
        if "training" not in store.read_config(run):
            return None
        return [{"verdict": "pass", "count": 7}]

    monkeypatch.setitem(
        stored.ANALYSES, "toy", analysis.Analysis(("verdict", "count"), function, automatic=True)
    )


def test_a_toy_analysis_is_made_kept_and_read(runs, toy, capsys):
    """A row of the table is all that it takes."""
    assert cli.main(["analyse", "toy", "--store", str(runs)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert sorted(said) == sorted([f"{RUN.name}: made", f"{BASE.name}: nothing to analyse"])
    table = analysis.read("toy", runs)
    assert table[["run_id", "arm", "verdict", "count"]].values.tolist() == [
        [RUN.name, "lora", "pass", 7]
    ]
    assert list(analysis.analyse("toy", Machine(store=runs), [RUN.name])) == [
        (RUN.name, "there already")
    ]
    assert "utc" in store.read_provenance(runs / RUN.name)["analyses"]["toy"]


def test_the_stored_spectra_are_those_that_are_computed_now(runs):
    """Runs of before keep theirs, made with the run; computed again they are the same."""
    old = analysis.read("spectra", runs)
    assert list(analysis.analyse("spectra", Machine(store=runs), [RUN.name], again=True)) == [
        (RUN.name, "made")
    ]
    new = analysis.read("spectra", runs)
    known = new[new["quantity"].isin(old["quantity"].unique())]  # later versions add quantities
    pd.testing.assert_frame_equal(known.reset_index(drop=True), old, rtol=1e-3)


def test_a_damaged_table_is_said_and_rebuilt(runs):
    path = runs / RUN.name / "spectra.csv.gz"
    path.write_bytes(path.read_bytes()[:-20])
    again = f"`flexlib analyse spectra {RUN.name} --store {runs} --again`"
    with pytest.raises(FlexError, match=re.escape(again)):
        analysis.read("spectra", runs)
    assert len(store.verdicts(runs)) > 0  # the run itself is whole
    list(analysis.analyse("spectra", Machine(store=runs), [RUN.name], again=True))
    before = analysis.read("spectra", paths.RUNS).query(f"run_id == '{RUN.name}'")
    rebuilt = analysis.read("spectra", runs)
    assert rebuilt["quantity"].isin(before["quantity"]).sum() == len(before)


def test_an_analysis_that_fails_loses_nothing(runs, monkeypatch, capsys):
    def broken(run, machine):
        raise ValueError("a bug")

    monkeypatch.setitem(stored.ANALYSES, "toy", analysis.Analysis(("x",), broken, automatic=True))
    before = {p: p.read_bytes() for p in (runs / RUN.name).rglob("*") if p.is_file()}
    from flexlib.cli.analyse import after_run

    after_run(runs / RUN.name, Machine(store=runs))
    assert "toy: failed (ValueError: a bug)" in capsys.readouterr().out
    assert before == {p: p.read_bytes() for p in (runs / RUN.name).rglob("*") if p.is_file()}


def test_an_unknown_analysis_is_refused(runs):
    with pytest.raises(FlexError, match="no analysis 'nothing'; there are fences, spectra"):
        list(analysis.analyse("nothing", Machine(store=runs)))
