"""The registered sweep: which runs it has, under which labels, and which setting of an arm is its best."""

import json

import numpy as np
import pandas as pd
import pytest
import verdict_tables

from flexlib import config
from flexlib.errors import FlexError
from flexlib.study import claims as registered
from flexlib.study import paper, stats, sweep, tuning


@pytest.fixture
def tuned(tmp_path, monkeypatch):
    """Trials of the penalty in which the profile's own learning rate, 4e-3, is best and 2e-3 is second."""
    losses = {5e-4: 0.9, 1e-3: 0.8, 2e-3: 0.7, 4e-3: 0.6, 8e-3: 0.75, 1.6e-2: 0.95}
    rows = [{"arm": "fourier-released", "settings": json.dumps({"training.learning_rate": r}), "eval_loss": v}
            for r, v in losses.items()]  # fmt: skip
    monkeypatch.setattr(tuning, "table", lambda folder, arms=None: pd.DataFrame(rows))
    return tmp_path


def test_nothing_is_planned_before_the_learning_rates_are_tuned(tmp_path, monkeypatch):
    columns = ["arm", "settings", "eval_loss"]
    monkeypatch.setattr(tuning, "table", lambda *_: pd.DataFrame(columns=columns))
    with pytest.raises(FlexError, match="flexlib tune --arm fourier-released"):
        sweep.configurations(tmp_path)
    assert sweep.best(pd.DataFrame(columns=["metric", "arm", "seed", "value"]), tmp_path) == {}
    assert set(sweep.cells(tmp_path)["learning_rate"]) == {4e-3}


def test_the_second_learning_rate_is_the_best_that_is_not_the_profiles(tuned):
    assert sweep.learning_rates(tuned) == (4e-3, 2e-3)


def test_every_run_of_the_plan_once_and_whole_seeds_first(tuned):
    plan = sweep.plan()
    runs = sweep.configurations(tuned)
    cells = 2 * (1 + len(plan["penalties"]) * len(plan["strengths"]))
    assert len(runs) == len(set(runs)) == cells * len(plan["seeds"])
    assert [r.seed for r in runs] == sorted(r.seed for r in runs)
    assert {r.label for r in runs} == set(sweep.cells(tuned)["label"])


def test_a_run_at_the_profiles_own_values_is_the_arms_own(tuned):
    cells = sweep.cells(tuned).set_index(["arm", "strength", "learning_rate"])["label"]
    assert cells["fourier-released", 0.01, 4e-3] == "fourier-released"
    assert cells["l2-matched", 0.1, 4e-3] == "l2-matched regularizer.strength=0.1"
    assert cells["fourier-units", 0.01, 2e-3] == "fourier-units training.learning_rate=0.002"
    for row in sweep.cells(tuned).itertuples():
        overrides = [part for part in row.label.split(" ")[1:]]
        assert config.load("nano", row.arm, 1, overrides=overrides).label == row.label


def outcomes(tuned, losses):
    labels = sweep.cells(tuned)["label"]
    rows = [("validation-loss", label, seed, losses.get(label, 1.0) + 0.001 * seed)
            for label in labels for seed in sweep.plan()["seeds"]]  # fmt: skip
    return pd.DataFrame(rows, columns=["metric", "arm", "seed", "value"])


def test_the_best_setting_has_the_lowest_mean_loss_of_complete_arms(tuned):
    lowest = "fourier-released regularizer.strength=0.001 training.learning_rate=0.002"
    table = outcomes(tuned, {lowest: 0.5, "lora": 0.4, "l2-matched": 0.3})
    best = sweep.best(table, tuned)
    assert best["fourier-released"] == lowest
    assert (best["lora"], best["l2-matched"]) == ("lora", "l2-matched")
    assert set(best) == {"lora", *sweep.plan()["penalties"]}
    incomplete = table.drop(table[(table["arm"] == "l2-matched") & (table["seed"] == 3)].index)
    assert "l2-matched" not in sweep.best(incomplete, tuned)
    # The mean of a setting of which a run diverged is no loss to compare; nor is one left of l2-matched.
    worse = table["arm"].str.startswith("l2-matched") | (table["arm"] == lowest)
    diverged = table.assign(value=table["value"].mask(worse & (table["seed"] == 2), float("inf")))
    assert set(sweep.best(diverged, tuned)) == set(best) - {"l2-matched"}
    assert sweep.best(diverged, tuned)["fourier-released"] != lowest
    # Seeds beyond the plan's have no say, nor have other metrics.
    beyond = table.assign(value=table["value"].where(table["arm"] != "lora", 9.0), seed=99)
    other = table.assign(metric="update-norm", value=-100 * table["value"])
    assert sweep.best(pd.concat([table, beyond, other]), tuned) == best


def test_rows_at_the_best_setting_are_added_under_a_name_of_their_own():
    table = pd.DataFrame({"arm": ["a x=1", "a x=1", "b"], "seed": [1, 9, 1], "passed": [1, 0, 1]})
    added = sweep.at_best(table, {"a": "a x=1"})
    assert added["arm"].tolist() == ["a x=1", "a x=1", "b", "a@best"]
    assert added.iloc[-1]["passed"] == 1 and added.iloc[-1]["seed"] == 1


BEST = "fourier-released regularizer.strength=0.001 training.learning_rate=0.002"


@pytest.mark.parametrize(
    ("losses", "difference", "verdict"),
    [
        ({BEST: 0.5, "lora": 0.4}, 0.5, "yes"),
        ({"fourier-released": 0.5, "lora": 0.4}, -0.25, "no"),
    ],
)
def test_a_claim_at_best_is_decided_by_the_runs_of_the_best_setting(
    tuned, monkeypatch, losses, difference, verdict
):
    """Of 20 tasks plain LoRA solves 5, the penalty none at its own strength and 15 at another."""
    verdicts = pd.DataFrame(
        [
            (
                arm,
                seed,
                "nanobench-java",
                "java",
                f"t{i}",
                0,
                i < solved,
                "pass" if i < solved else "wrong",
            )
            for arm, solved in {"lora": 5, "fourier-released": 0, BEST: 15}.items()
            for seed in range(1, 8)  # more than the plan's
            for i in range(20)
        ],
        columns=["arm", "seed", "benchmark", "language", "task_id", "sample", "passed", "verdict"],
    )
    curve = {"arm": "lora", "seed": 1, "step": 0, "tokens": 0.0, "passes": 0.0, "eval_loss": 1.0}
    made = {"verdicts": verdicts, "training": pd.DataFrame([curve])}
    for name, table in made.items():
        monkeypatch.setattr(registered.store, name, lambda *_, table=table, **__: table)
    numbers = outcomes(tuned, losses).assign(benchmark="nanobench-validation")
    monkeypatch.setattr(registered.outcomes, "table", lambda *_, **__: numbers)
    claims = paper.claims().loc[["C3-best-lora", "C3-best-L2"]]
    state = registered.state(seed=0, claims=claims)
    row = state.loc["C3-best-lora"]
    assert (row["verdict"], row["seeds"]) == (verdict, 5)
    assert row["difference"] == pytest.approx(difference)
    assert state.loc["C3-best-L2", "verdict"] == "not run"


def test_distance_from_a_curve_is_taken_at_equal_size():
    """Against the difference of means by hand, and its interval against that of the same numbers."""
    rng = np.random.default_rng(5)
    settings = pd.DataFrame(
        [("l2", "a", 1.0), ("l2", "b", 4.0), ("l2", "c", 16.0),
         ("fourier", "d", 2.0),  # half way between 1 and 4, by the logarithm
         ("fourier", "e", 8.0), ("fourier", "f", 32.0),  # larger than any of the reference
         ("other", "d", 2.0)],
        columns=["setting", "label", "size"],
    )  # fmt: skip
    solved = {
        label: (rng.random((60, 3)) < rate).astype(float)
        for label, rate in zip("abcdef", (0.2, 0.4, 0.3, 0.3, 0.6, 0.9), strict=True)
    }
    verdicts = verdict_tables.table(
        (label, seed, "x", "java", f"{task:02}", bool(passed))
        for label, table in solved.items()
        for (task, seed), passed in np.ndenumerate(table)
        if (label, seed) != ("d", 2)
    )
    away = sweep.from_curve(settings.sample(frac=1, random_state=0), verdicts, "l2", "x", seed=3)
    away = away.set_index("setting")
    at_2, at_8 = (
        solved["d"] - (solved["a"] + solved["b"]) / 2,
        solved["e"] - (solved["b"] + solved["c"]) / 2,
    )
    both = ((at_2 + at_8) / 2)[:, :2]  # the seeds that all settings have
    assert away.loc["fourier", "difference"] == pytest.approx(both.mean())
    assert away.loc["fourier", ["settings", "seeds"]].tolist() == [2, 2]
    same = stats.paired_bootstrap(both, seed=3)
    assert away.loc["fourier", ["low", "high"]].tolist() == pytest.approx([same.low, same.high])
    one = sweep.from_curve(settings, verdicts[verdicts["seed"] == 1], "l2", "x", seed=3)
    assert one.empty  # shows no spread
    assert away.loc["other", "difference"] == pytest.approx(at_2[:, :2].mean())
    assert sweep.from_curve(
        settings.query("setting == 'fourier'"), verdicts, "l2", "x", seed=3
    ).empty


def test_claims_at_best_can_be_on_any_metric_that_a_run_has(tuned, monkeypatch):
    numbers = outcomes(tuned, {BEST: 0.5, "lora": 0.4}).assign(benchmark="nanobench-validation")
    norm = numbers.assign(metric="update-norm", benchmark="nanobench-adapter")
    norm["value"] = (
        norm["arm"].map({"lora": 4.0, "fourier-released": 9.0, BEST: 7.0}).fillna(0.0)
        + norm["seed"]
    )
    monkeypatch.setattr(registered.outcomes, "table", lambda *_, **__: pd.concat([numbers, norm]))
    losses = numbers.rename(columns={"value": "eval_loss"}).assign(step=1, tokens=0.0, passes=0.0)
    monkeypatch.setattr(registered.store, "training", lambda *_, **__: losses)
    empty = pd.DataFrame(columns=["arm", "benchmark", "task_id", "seed", "passed"])
    monkeypatch.setattr(registered.store, "verdicts", lambda *_, **__: empty)
    one = paper.claims().loc[["C3-best-lora"]]
    asked = [
        one.assign(id="norm", metric="update-norm", benchmark="nanobench-adapter"),
        one.assign(id="loss", metric="validation-loss", benchmark="nanobench-validation"),
        one.assign(
            id="control", metric="update-norm", benchmark="nanobench-adapter", treatment="lora"
        ),
    ]
    state = registered.state(seed=0, claims=pd.concat(asked))
    assert state["difference"].tolist() == pytest.approx([3.0, 0.1, 0.0])
    alone = registered.state(seed=0, claims=asked[2])  # it is named by the control
    assert alone["difference"].tolist() == pytest.approx([0.0])
