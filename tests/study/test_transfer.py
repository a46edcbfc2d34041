"""Trained on one language, tested on another: cells, their means, and the claims on them."""

from __future__ import annotations

from itertools import combinations, product

import pandas as pd
import pytest
import verdict_tables

from flexlib import config
from flexlib.nanobench.syntax import LANGUAGES
from flexlib.study import claims as state
from flexlib.study import inference, paper, transfer

N = 20


def made_up(passed, seeds=(1, 2, 3), arms=("lora",)) -> pd.DataFrame:
    """``passed(arm, trained, tested, seed)`` of 20 tasks pass; the base passes 4."""
    runs = [("base", None, 0), *product(arms, LANGUAGES, seeds)]
    rows = [
        (transfer.label(arm, trained), seed, f"nanobench-{tested}", tested, f"t{i:02}", i < count)
        for arm, trained, seed in runs
        for tested in LANGUAGES
        for count in [4 if trained is None else passed(arm, trained, tested, seed)]
        for i in range(N)
    ]
    return verdict_tables.table(rows)


def claim(**changes) -> pd.DataFrame:
    registered = {"id": "T", "treatment": "lora", "control": "base", "metric": "transfer"}
    return pd.DataFrame([registered | {"benchmark": "nanobench-off-diagonal"} | changes])


def test_labels_are_those_of_the_store():
    for trained in LANGUAGES:
        dataset = "nanobench" if trained == "python" else f"nanobench-{trained}"
        wanted = config.load(
            "nano", "lora", 1, decoding=transfer.DECODING, overrides=[f"training.dataset={dataset}"]
        )
        assert wanted.label == transfer.label("lora", trained)
    assert config.load("nano", "base", 1, decoding="four-languages").label == transfer.label("base")


def test_a_cell_is_the_gain_over_the_base_of_its_own_language():
    order = {name: i for i, name in enumerate(LANGUAGES)}
    verdicts = made_up(lambda arm, trained, tested, seed: 5 + 2 * order[trained] + order[tested])
    table = transfer.matrix(verdicts, "lora", seed=0, n_resamples=200)
    assert list(zip(table["trained"], table["tested"], strict=True)) == list(
        product(LANGUAGES, repeat=2)
    )
    for row in table.itertuples():
        count = 5 + 2 * order[row.trained] + order[row.tested]
        assert row.difference == pytest.approx((count - 4) / N)
        assert row.low < row.difference < row.high and (row.tasks, row.seeds) == (N, 3)


def test_against_another_arm_a_cell_keeps_its_training_language():
    verdicts = made_up(lambda arm, *_: {"lora": 8, "other": 10}[arm], arms=("lora", "other"))
    table = transfer.matrix(verdicts, "other", "lora", seed=0, n_resamples=200)
    assert len(table) == 16 and table["difference"].tolist() == pytest.approx([0.1] * 16)
    assert transfer.matrix(verdicts, "unheard-of", seed=0).empty


def test_transfer_leaves_the_diagonal_out():
    verdicts = made_up(lambda arm, trained, tested, seed: 20 if trained == tested else 6 + seed)
    [found] = transfer.by_claim(claim(), verdicts, seed=0).values()
    assert found.estimate == pytest.approx((8 - 4) / N)  # 7, 8 and 9 of 20, and the base's 4
    assert (found.tasks, found.seeds) == (N, (3,))
    cells = lambda arm, trained, tested, seed: 10 if (trained, tested) == ("java", "cpp") else 4
    row = claim(benchmark="nanobench-from-java")
    [found] = transfer.by_claim(row, made_up(cells), seed=0).values()
    assert found.estimate == pytest.approx(6 / 3 / N)
    [found] = transfer.by_claim(
        claim(benchmark="nanobench-from-cpp"), made_up(cells), seed=0
    ).values()
    assert found.estimate == 0


def test_arms_are_paired_by_seed():
    verdicts = made_up(lambda arm, *_: {"lora": 6, "other": 7}[arm] + _[-1], arms=("lora", "other"))
    missing = verdicts["arm"].str.startswith("other") & (verdicts["seed"] == 3)
    pair = claim(treatment="other", control="lora")
    [found] = transfer.by_claim(pair, verdicts[~missing], seed=0).values()
    assert found.estimate == pytest.approx(1 / N) and found.seeds == (2,)


def test_the_asymmetry_is_the_difference_of_two_gains():
    gains = {("python", "java"): 9, ("java", "python"): 6}
    cells = lambda arm, trained, tested, seed: gains.get((trained, tested), 12)
    asked = claim(metric="transfer-asymmetry", benchmark="nanobench-python-java")
    verdicts = made_up(cells)
    # The base's own rates differ: what counts are the gains over them.
    easy = verdicts["arm"].str.startswith("base") & (verdicts["benchmark"] == "nanobench-java")
    verdicts.loc[easy, "passed"] = verdicts["task_id"] < "t02"
    [found] = transfer.by_claim(asked, verdicts, seed=0).values()
    assert found.estimate == pytest.approx(((9 - 2) - (6 - 4)) / N)


def test_every_pair_has_its_asymmetry_that_of_the_claim_on_it():
    order = {name: i for i, name in enumerate(LANGUAGES)}
    verdicts = made_up(lambda arm, trained, tested, seed: 5 + 2 * order[trained] + seed)
    table = transfer.asymmetries(verdicts, "lora", seed=0).set_index(["first", "second"])
    assert list(table.index) == list(combinations(LANGUAGES, 2))
    for first, second in table.index:
        gap = 2 * (order[first] - order[second]) / N
        assert table.loc[(first, second), "difference"] == pytest.approx(gap)
    asked = claim(metric="transfer-asymmetry", benchmark="nanobench-python-java")
    [found] = transfer.by_claim(asked, verdicts, seed=0).values()
    row = table.loc[("python", "java")]
    assert (found.estimate, found.low, found.high) == tuple(row[["difference", "low", "high"]])
    assert tuple(row[["tasks", "seeds"]]) == (N, 3)
    cut = verdicts[verdicts["arm"] != transfer.label("lora", "cpp")]
    assert len(transfer.asymmetries(cut, "lora", seed=0)) == 3
    own = lambda arm, trained, _, seed: (arm == "other") + 3 + seed * (1 + order[trained])
    both = made_up(own, arms=("lora", "other"))  # seed by seed one more, whatever it is trained on
    against = transfer.asymmetries(both, "other", "lora", seed=0)
    assert len(against) == 6 and (against["difference"] == 0).all()


def test_one_task_in_several_languages_is_one_task():
    """Every language passes the same half: as uncertain as one language, not as three."""
    verdicts = made_up(lambda *_: 10)
    [found] = transfer.by_claim(claim(), verdicts, seed=0).values()
    one = inference.contrast(
        verdicts, transfer.label("lora", "java"), "base four-languages", "nanobench-cpp", seed=0
    )
    assert found.bound(0.025, 1) == pytest.approx(one.bound(0.025, 1))


def test_a_claim_waits_for_all_its_cells():
    verdicts = made_up(lambda *_: 8)
    cut = verdicts[verdicts["arm"] != transfer.label("lora", "cpp")]
    assert transfer.by_claim(claim(), cut, seed=0) == {}
    assert transfer.by_claim(claim(benchmark="nanobench-from-java"), cut, seed=0)
    assert transfer.by_claim(claim(), verdicts[verdicts["seed"] <= 1], seed=0) == {}
    assert transfer.by_claim(claim(metric="update-norm"), verdicts, seed=0) == {}
    # One run of a trained arm is no base: it does not stand for all seeds.
    one = verdicts["arm"].isin([transfer.label("lora", "java")]) & (verdicts["seed"] > 1)
    asked = claim(metric="transfer-asymmetry", benchmark="nanobench-python-java")
    assert transfer.by_claim(asked, verdicts, seed=0)
    assert transfer.by_claim(asked, verdicts[~one], seed=0) == {}


def test_the_registered_questions_are_decided_by_what_is_there(monkeypatch):
    asked = paper.claims().query("family == 'languages'")
    arms = ("lora", "fourier-released")
    verdicts = made_up(lambda *_: 16, seeds=range(1, 6), arms=arms)
    found = transfer.by_claim(asked, verdicts, seed=0)
    assert set(found) == set(asked.index)
    monkeypatch.setattr(state.store, "verdicts", lambda *_, **__: verdicts)
    decided = state.state(seed=0, claims=asked)["verdict"]
    assert decided["T-java"] == "yes" and decided["T-penalty"] == "no"


def test_answers_that_do_not_parse_are_counted_by_seed():
    rows = [("lora", s, "b", "python", f"t{i}", False) for s in (1, 2) for i in range(4)]
    verdicts = verdict_tables.table(rows)
    broken = (verdicts["seed"] == 2) & verdicts["task_id"].isin(["t0", "t1"])
    verdicts.loc[broken, "verdict"] = "compile_error"
    other = verdicts.assign(arm="base", verdict="compile_error")
    found = transfer.unparsed(pd.concat([verdicts, other]), "lora", "b")
    assert found.to_dict() == {1: 0, 2: 0.5}
    assert transfer.unparsed(verdicts, "lora", "of another").empty
