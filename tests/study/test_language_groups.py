"""Six further languages: over all of them, by groups, and the claims on them."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import pytest
import verdict_tables

from flexlib import config
from flexlib.study import claims as state
from flexlib.study import inference, language_groups, paper

SIX = {
    "typescript": "multipl-e-ts",
    "php": "multipl-e-php",
    "go": "multipl-e-go",
    "rust": "multipl-e-rs",
    "lua": "multipl-e-lua",
    "racket": "multipl-e-rkt",
}
DYNAMIC, STATIC = ("php", "lua", "racket"), ("typescript", "go", "rust")
N = 20


def made_up(passed, seeds=(1, 2, 3), arms=("lora",)) -> pd.DataFrame:
    """``passed(arm, language, seed)`` of 20 tasks pass, the first ones; the base passes 4."""
    runs = [("base", 0), *product(arms, seeds)]
    rows = [
        (f"{arm} six-languages", seed, benchmark, language, f"HumanEval_{i:02}", i < count)
        for arm, seed in runs
        for language, benchmark in SIX.items()
        for count in [4 if arm == "base" else passed(arm, language, seed)]
        for i in range(N)
    ]
    return verdict_tables.table(rows)


def asked(**changes) -> pd.DataFrame:
    registered = {"id": "S", "metric": "pass@1", "benchmark": "multipl-e-six"}
    arms = {"treatment": "lora six-languages", "control": "base six-languages"}
    return pd.DataFrame([registered | arms | changes])


def decided(verdicts: pd.DataFrame, **changes):
    [found] = language_groups.by_claim(asked(**changes), verdicts, seed=0).values()
    return found


TYPING = {"metric": "group-gain", "benchmark": "multipl-e-dynamic-static"}


def test_labels_and_benchmarks_are_those_of_the_decoding():
    wanted = config.load("small", "lora", 1, decoding="six-languages")
    assert wanted.label == language_groups.label("lora")
    assert language_groups.benchmarks() == SIX


def test_every_grouping_has_each_language_once():
    groupings = language_groups.groupings()
    for groups in groupings.values():
        assert sorted(name for of in groups.values() for name in of) == sorted(SIX)
    names = [name for groups in groupings.values() for name in groups]
    assert len(set(names)) == len(names)  # a claim names a group alone
    assert groupings["typing"] == {"dynamic": list(DYNAMIC), "static": list(STATIC)}


def test_all_languages_count_alike():
    order = {language: i for i, language in enumerate(SIX)}
    verdicts = made_up(lambda arm, language, seed: 5 + order[language] + seed)
    found = decided(verdicts)
    assert found.estimate == pytest.approx((5 + 2.5 + 2 - 4) / N)
    assert (found.tasks, found.seeds) == (N, (3,))


def test_arms_are_paired_by_seed():
    verdicts = made_up(
        lambda arm, language, seed: {"lora": 6, "other": 7}[arm] + seed, arms=("lora", "other")
    )
    missing = verdicts["arm"].str.startswith("other") & (verdicts["seed"] == 3)
    found = decided(
        verdicts[~missing], treatment="other six-languages", control="lora six-languages"
    )
    assert found.estimate == pytest.approx(1 / N) and found.seeds == (2,)


def test_the_contrast_of_groups_is_that_of_their_gains():
    """Not of their rates: the base's own differ."""
    passed = {"php": 9, "lua": 10, "racket": 11, "typescript": 7, "go": 6, "rust": 5}
    verdicts = made_up(lambda arm, language, seed: passed[language])
    easy = verdicts["arm"].str.startswith("base") & verdicts["language"].isin(STATIC)
    verdicts.loc[easy, "passed"] = verdicts["task_id"] < "HumanEval_03"
    found = decided(verdicts, **TYPING)
    assert found.estimate == pytest.approx(((10 - 4) - (6 - 3)) / N)
    assert (found.tasks, found.seeds) == (N, (3,))


def test_one_task_in_several_languages_is_one_task():
    """Every language passes the same tasks: as uncertain as one language, not as six, and of groups that
    are alike nothing is uncertain."""
    verdicts = made_up(lambda *_: 10)
    one = inference.contrast(
        verdicts, "lora six-languages", "base six-languages", "multipl-e-go", seed=0
    )
    assert decided(verdicts).bound(0.025, 1) == pytest.approx(one.bound(0.025, 1))
    alike = decided(verdicts, **TYPING)
    assert alike.bound(0.025, 1) == alike.bound(0.025, -1) == 0


def test_seeds_are_drawn_as_a_whole():
    """A seed that is better in one group is so for all tasks: the contrast varies with the seeds."""
    verdicts = made_up(lambda arm, language, seed: 4 + (4 * seed if language in DYNAMIC else 0))
    found = decided(verdicts, **TYPING)
    by_seed = np.array([4, 8, 12]) / N
    assert found.estimate == pytest.approx(by_seed.mean())
    assert found.se > by_seed.std(ddof=1) / np.sqrt(3) / 2


def test_only_tasks_of_all_languages_count():
    verdicts = made_up(lambda *_: 4 + 1)
    in_go = verdicts["language"] == "go"
    cut = verdicts[~(in_go & (verdicts["task_id"] == "HumanEval_04"))]  # the one that is gained
    assert decided(cut).estimate == 0 and decided(cut).tasks == N - 1
    broken = verdicts.copy()
    one = in_go & (broken["task_id"] == "HumanEval_04") & (broken["seed"] == 2)
    broken.loc[one, ["verdict", "passed"]] = ["harness_error", False]
    assert decided(broken).estimate == 0 and decided(broken).tasks == N - 1


def test_a_claim_waits_for_all_its_languages():
    verdicts = made_up(lambda *_: 8)
    cut = verdicts[~(verdicts["arm"].str.startswith("lora") & (verdicts["language"] == "rust"))]
    for claim in (asked(), asked(**TYPING)):
        assert language_groups.by_claim(claim, verdicts, seed=0)
        assert language_groups.by_claim(claim, cut, seed=0) == {}
        assert language_groups.by_claim(claim, verdicts[verdicts["seed"] <= 1], seed=0) == {}
    assert language_groups.by_claim(asked(benchmark="humaneval"), verdicts, seed=0) == {}


def test_gains_by_group():
    verdicts = made_up(lambda arm, language, seed: 10 if language in DYNAMIC else 6)
    table = language_groups.by_group(verdicts, "lora", seed=0, n_resamples=200)
    gains = table.set_index("group")["difference"]
    assert gains["dynamic"] == pytest.approx(6 / N) and gains["static"] == pytest.approx(2 / N)
    assert gains["procedural"] == pytest.approx((6 + 2 + 2) / 3 / N)  # lua, go and rust
    assert gains["near"] == pytest.approx(6 / N)
    assert (table["low"] <= table["difference"]).all() and set(table["seeds"]) == {3}
    some = verdicts[~(verdicts["arm"].str.startswith("lora") & (verdicts["language"] == "rust"))]
    left = language_groups.by_group(some, "lora", seed=0, n_resamples=50)["group"].tolist()
    assert left == ["dynamic", "object-oriented", "functional", "near"]
    one = verdicts[verdicts["seed"] <= 1]
    assert len(language_groups.by_group(one, "lora", seed=0, n_resamples=50)) == len(table)
    assert language_groups.by_group(verdicts.iloc[:0], "lora", seed=0).empty


def test_the_registered_questions_are_decided_by_what_is_there(monkeypatch):
    registered = paper.claims("small").query("family == 'small-languages'")
    assert len(registered) == 4 and set(registered["minimum_n"]) == {3}
    of = {"lora": 10, "fourier-released": 4, "fourier-units": 4}
    verdicts = made_up(lambda arm, *_: of[arm], arms=tuple(of))
    found = language_groups.by_claim(registered, verdicts, seed=0)
    assert set(found) == set(registered.index)
    monkeypatch.setattr(state.store, "verdicts", lambda *_, **__: verdicts)
    told = state.state("small", seed=0, claims=registered)["verdict"]
    assert told.to_dict() == {
        "S-six-lora": "yes",
        "S-six-C3": "no",
        "S-six-units": "yes",
        "S-six-typing": "no",
    }
    monkeypatch.setattr(state.store, "verdicts", lambda *_, **__: verdicts.iloc[:0])
    assert set(state.state("small", seed=0, claims=registered)["verdict"]) == {"not run"}
