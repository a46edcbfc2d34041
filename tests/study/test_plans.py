"""Registered plans: which runs they have, and what is made of them in each cell."""

from __future__ import annotations

from collections import Counter

import pandas as pd
import pytest
import verdict_tables

from flexlib import config, figures
from flexlib.cli import main
from flexlib.cli import sweep as command
from flexlib.nanobench import benchmark
from flexlib.nanobench.syntax import LANGUAGES
from flexlib.runs import preflight, store
from flexlib.runs.machine import Machine
from flexlib.study import inference, paper, plans, sweep

HALF = "data.share=0.5 data.transform=shuffled-alike"
FEW = "data.size=23 training.steps=282"


def verdicts(passed: dict[tuple[str, int], int], tasks: int = 20) -> pd.DataFrame:
    """In Java so many of the tasks pass, by label and seed; in Python none."""
    rows = [
        (arm, seed, f"nanobench-{language}", language, f"t{i}", i < top)
        for (arm, seed), count in passed.items()
        for language, top in (("java", count), ("python", 0))
        for i in range(tasks)
    ]
    return verdict_tables.table(rows)


def test_every_run_once_whole_seeds_first_and_the_studys_own_among_them():
    runs = plans.configurations("data")
    assert len(runs) == len(set(runs)) == 135
    assert [r.seed for r in runs] == sorted(r.seed for r in runs)
    stored = set(store.runs(profile="nano")[["arm", "seed"]].itertuples(index=False, name=None))
    own = [r for r in runs if r.variant is None]
    assert len(own) == 15 and {(r.label, r.seed) for r in own} <= stored
    by_seed = Counter(r.seed for r in runs if r.variant)
    assert by_seed == {1: 36, 2: 36, 3: 36, 4: 6, 5: 6}  # at most 120 to be made


def test_the_arms_of_a_cell_differ_in_nothing_but_the_penalty():
    of_cell = {}
    for run in plans.configurations("data"):
        of_cell.setdefault((run.variant, run.seed), []).append(run)
    for runs in of_cell.values():
        assert [r.arm for r in runs] == ["lora", "fourier-released", "fourier-units"]
        assert len({(r.training, r.data, r.adapter, r.benchmarks) for r in runs}) == 1


def test_equal_steps_are_those_of_the_training_set_as_it_is():
    training = store.training(profile="nano")
    last = set(training[training["arm"] == "lora"].groupby("seed")["step"].max())
    for run in plans.configurations("data"):
        if run.training.steps:
            assert {run.training.steps} == last


def test_the_records_of_a_cell_are_as_many_as_it_says():
    machine = Machine(progress=False)
    wanted = {(r.label, r.seed): r for r in plans.configurations("data")}
    cells = plans.cells("data")
    for cell in cells[cells["arm"] == "lora"].itertuples():
        records = preflight._records(wanted[cell.label, 1], machine)
        assert (len(records["train"]), len(records["validation"])) == (cell.tasks, 90)
    # Drawn by the seed, not the beginning of the file, and the same for every arm.
    few = {k: preflight._records(wanted[k], machine)["train"] for k in wanted if FEW in k[0]}
    assert few[f"lora {FEW}", 1] == few[f"fourier-units {FEW}", 1] != few[f"lora {FEW}", 2]
    assert few[f"lora {FEW}", 1] != benchmark.load_split("train")[:23]


def test_questions_are_asked_of_cells_with_enough_seeds():
    asked = paper.claims().query("family == 'data'")
    cells = plans.cells("data").set_index("label")
    assert len(asked) <= 6
    for claim in asked.itertuples():
        pair = cells.loc[[claim.treatment, claim.control]]
        assert (pair["seeds"] >= claim.minimum_n).all()
        assert pair["name"].nunique() == 1


def test_every_adapter_that_has_trials_is_run_and_five_times_where_something_is_asked():
    of = plans.cells("adapters").set_index("arm")
    assert set(of.index) - {"lora"} == set(plans.plan("adapters")["trials"])
    assert not of.index.has_duplicates
    asked = paper.claims().query("family == 'adapters'")
    for claim in asked.itertuples():
        assert (of.loc[[claim.treatment, claim.control], "seeds"] >= claim.minimum_n).all()
    in_question = {*asked["treatment"], *asked["control"]}
    assert set(of.index[of["seeds"] == 5]) == in_question
    assert set(of["seeds"]) == {3, 5}


def test_rates_of_the_cells_that_have_runs_in_the_order_of_the_plan():
    made = {(f"fourier-released {HALF}", s): 5 for s in (1, 2)} | {("lora", 1): 8, ("lora", 2): 10}
    made |= {(f"lora {FEW}", 1): 4, ("sophia", 1): 20}
    table = plans.rates(plans.cells("data"), verdicts(made), seed=0)
    java = table[table["language"] == "java"]
    assert java[["group", "name", "arm", "seeds"]].values.tolist() == [
        ["equal steps", "23 tasks", "lora", 1],
        ["equal steps", "374 tasks", "lora", 2],
        ["equal epochs", "374 tasks", "lora", 2],
        ["quality", "as it is", "lora", 2],
        ["quality", "50 % of answers swapped", "fourier-released", 2],
    ]
    assert java["rate"].tolist() == pytest.approx([0.2, 0.45, 0.45, 0.45, 0.25])
    assert (java["low"] <= java["rate"]).all() and (java["rate"] <= java["high"]).all()
    steps = java[java["group"] == "equal steps"]
    ax = figures.sweep(steps, "tasks", "rate", "arm", "number of tasks", "pass@1, Java", "tasks")
    assert ax.containers[0].lines[0].get_xdata().tolist() == [23, 374]


def test_differences_are_within_a_cell_and_registered_ones_have_their_interval():
    seeds = range(1, 6)
    made = {(f"{arm} {HALF}", s): n for s in seeds
            for arm, n in (("lora", 4), ("fourier-released", 10), ("fourier-units", 9))}  # fmt: skip
    table = verdicts(made)
    asked = paper.claims().query("family == 'data'")
    state = inference.assess(asked, table, seed=0, n_resamples=500)
    state = state.set_index("id", drop=False)
    assert state.loc["D-swapped-java", "verdict"] == "yes"
    assert state.loc["D-23-java", "verdict"] == "not run"
    found = plans.differences("data", table, state, seed=0)
    java = found[found["language"] == "java"]
    assert set(java["name"]) == {"50 % of answers swapped"} and set(java["tasks"]) == {374}
    assert java["difference"].tolist() == pytest.approx([0.3, 0.25, 0.05])
    assert java["claim"].tolist() == ["D-swapped-java", "", "D-swapped-units"]
    assert tuple(java.iloc[0][["low", "high"]]) == tuple(
        state.loc["D-swapped-java", ["low", "high"]]
    )


def test_seeds_beyond_the_plan_do_not_count_nor_does_an_interval_of_more():
    cells = plans.cells("bases")
    first = cells[cells["name"] == "base 1"].set_index("arm")["label"]
    made = {(first["lora"], s): n for s, n in enumerate((4, 6, 5, 20, 20), start=1)}
    made |= {(first["base"], 0): 2}
    table = verdicts(made)
    asked = paper.claims().query("family == 'lora'")
    state = inference.assess(asked, table, seed=0, n_resamples=500).set_index("id", drop=False)
    assert state.loc["L2", "seeds"] == 5
    found = plans.differences("bases", table, state, seed=0)
    java = found[found["language"] == "java"]
    assert java[["seeds", "claim"]].values.tolist() == [[3, ""]]
    assert java["difference"].tolist() == pytest.approx([(5 - 2) / 20])
    rates = plans.rates(cells, table, seed=0).query("language == 'java'").set_index("label")
    assert rates.loc[first["lora"], "rate"] == pytest.approx(5 / 20)
    assert rates.loc[first["lora"], "seeds"] == 3


def test_without_runs_there_is_no_row_and_all_is_to_do(tmp_path):
    nothing = store.verdicts(tmp_path, profile="nano")
    assert plans.progress(plans.configurations("data"), nothing) == (0, 135)
    assert plans.rates(plans.cells("data"), nothing, seed=0).empty
    state = inference.assess(paper.claims().query("family == 'data'"), nothing, seed=0)
    assert plans.differences("data", nothing, state, seed=0).empty
    assert (state["verdict"] == "not run").all()
    some = verdicts({("lora", 1): 1, ("lora", 9): 1, (f"lora {FEW}", 5): 1})
    assert plans.progress(plans.configurations("data"), some) == (2, 135)


def test_an_arm_of_a_plan_has_settings_of_its_own():
    cells = plans.cells("regime")
    assert len(plans.configurations("regime")) == 45
    by_cell = cells.groupby("name")["arm"].nunique()
    assert sorted(by_cell) == [3, 3, 3, 4]  # a wider rho in one
    assert cells["arm"].nunique() == 4 and cells["label"].is_unique
    assert cells["arm"][0] == cells["label"][0] == "adamw"
    wide = cells[cells["arm"].str.contains("rho=0.2")]
    for label, cell in zip(wide["label"], wide.itertuples(), strict=True):
        run = next(r for r in plans.configurations("regime") if r.label == label)
        assert (run.training.batch_size, run.training.epochs) == (cell.batch, cell.epochs)
        assert (run.sophia.rho, run.training.learning_rate) == (0.2, 0.002)
    asked = paper.claims().query("family == 'regime'")
    pairs = {(c.treatment, c.control) for c in asked.itertuples()}
    at = cells[cells["name"] == "batch 16, 10 epochs"].set_index("arm")
    assert pairs == {(at["label"].iloc[1], at["label"].iloc[0])} and (at["seeds"] == 5).all()


def test_an_arm_is_compared_with_the_first_of_its_plan():
    table = verdicts(
        {(arm, s): n for s in (1, 2) for arm, n in (("lora", 4), ("released-fourier-07", 9))}
    )
    state = inference.assess(paper.claims().query("family == 'data'"), table, seed=0)
    found = plans.differences("released", table, state, seed=0).query("language == 'java'")
    assert found[["treatment", "control", "name"]].values.tolist() == [
        ["released-fourier-07", "lora", "as released"]
    ]
    assert found["difference"].item() == pytest.approx(0.25)


def test_a_label_of_several_cells_has_the_most_seeds_of_them():
    planned = pd.DataFrame({"label": ["lora", "lora", "dora"], "seeds": [3, 5, 3]})
    runs = pd.DataFrame({"arm": ["lora", "lora", "dora", "dora"], "seed": [5, 6, 3, 5]})
    assert plans.within(planned, runs).values.tolist() == [["lora", 5], ["dora", 3]]


def test_an_arm_of_one_cell_is_compared_there_alone():
    cells = plans.cells("regime")
    wider = cells[cells["arm"].str.contains("rho=3")]["label"].item()
    labels = ["adamw", "adamw training.batch_size=16", wider]
    table = verdicts(
        {(arm, s): n for s in (1, 2) for arm, n in zip(labels, (2, 4, 9), strict=True)}
    )
    state = inference.assess(paper.claims().query("family == 'data'"), table, seed=0)
    found = plans.differences("regime", table, state, seed=0).query("language == 'java'")
    assert found[["treatment", "control"]].values.tolist() == [[wider, labels[1]]]
    assert found["difference"].item() == pytest.approx(0.25)


@pytest.mark.parametrize("plan", plans.ALL)
def test_the_command_lists_or_makes_the_runs_of_a_plan(plan, monkeypatch, capsys):
    made, of_plan = [], [config.load("nano", "lora", 3)]
    monkeypatch.setattr(command, "make", lambda wanted, machine, compact: made.extend(wanted))
    monkeypatch.setattr(plans, "configurations", {plan: of_plan}.__getitem__)
    main(["sweep", "--plan", plan, "--list"])
    assert capsys.readouterr().out == "nano lora seed 3\n" and not made
    main(["sweep", "--plan", plan])
    assert made == of_plan


def test_the_sweep_of_the_strength_is_a_plan_as_any_other():
    assert plans.configurations(plans.STRENGTH) == sweep.configurations()


def test_a_cell_can_have_arms_and_a_decoding_of_its_own():
    runs = plans.configurations("languages")
    whole = [r for r in runs if {b.language for b in r.benchmarks} == set(LANGUAGES)]
    assert len(whole) == len(set(whole)) == 41  # 2 arms, 4 languages, 5 seeds, and the base once
    assert Counter(r.seed for r in whole if r.arm == "base") == {0: 1}
    controls = [r for r in runs if r not in whole]
    assert Counter(r.arm for r in controls) == {"fourier-units": 5, "l2-norm": 5}
    cells = plans.cells("languages").set_index(["name", "arm"])["label"]
    assert cells["Java", "lora"] == "lora four-languages training.dataset=nanobench-java"
    assert set(cells["base"].index) == {"base"}


def test_the_runs_of_the_claims_on_the_real_model_are_planned():
    """But for those at tuned learning rates, which the trials choose."""
    planned = set()
    for name in ("real-model", "real-model-languages", "real-model-norm"):
        planned |= set(plans.cells(name)["label"])
    claims = paper.claims("small").query("family != 'small-hidden'")
    asked = {*claims["treatment"], *claims["control"]}
    assert {label for label in asked if not label.endswith("-tuned")} <= planned


def test_the_real_model_is_stored_whole(monkeypatch):
    seen = []
    monkeypatch.setattr(command, "make", lambda wanted, machine, compact: seen.append(compact))
    for name in ("real-model", "harder"):
        assert main(["sweep", "--plan", name]) == 0
    assert seen == [False, True]
