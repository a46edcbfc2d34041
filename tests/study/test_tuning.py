"""Tuning: every arm has the same budget, and the profile holds what the trials say."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import tomllib

import pandas as pd
import pytest
import tiny

from flexlib import cli, config, errors
from flexlib.config import layers
from flexlib.errors import FlexError
from flexlib.runs import pipeline, preflight
from flexlib.runs.machine import Machine
from flexlib.study import claims as registered
from flexlib.study import paper, tuning

PROFILE = tomllib.loads((layers.LAYERS / "profiles" / "nano.toml").read_text(encoding="utf-8"))


# --- what is registered and what was chosen ------------------------------------------------------


def test_every_arm_of_the_study_has_the_same_number_of_trials():
    trials = {arm: tuning.trials(arm) for arm in tuning.plans()["optimisers"]["trials"]}
    optimisers = {"adamw", "lion", "sophia", "sophia-corrected", "muon", "schedule-free"}
    assert set(trials) == {*optimisers, "python-broad"}
    assert {len(made) for made in trials.values()} == {8}
    for arm, made in trials.items():
        assert len({config.run_id(config.to_dict(wanted)) for _, wanted in made}) == 8
        for settings, wanted in made:
            assert wanted.training.learning_rate == settings["training.learning_rate"]
            # An average takes the place of the decay.
            assert wanted.training.final_lr_fraction == (arm == "schedule-free")
            if wanted.sophia:
                assert wanted.sophia.rho == settings["sophia.rho"]


def test_arms_differ_in_the_optimiser_alone():
    def rest(arm):
        data = config.to_dict(config.load("nano", arm, 1))
        for key in ("arm", "sophia"):
            data.pop(key, None)
        for key in ("optimizer", "learning_rate", "betas"):
            data["training"].pop(key)
        return data

    arms = ["lion", "sophia", "sophia-corrected", "sophia-released", "muon"]
    assert all(rest(arm) == rest("adamw") for arm in arms)
    free = rest("schedule-free")
    assert free["training"].pop("final_lr_fraction") == 1.0
    control = rest("adamw")
    assert control["training"].pop("final_lr_fraction") == 0.0 and free == control


def test_every_adapter_has_four_trials_and_differs_from_lora_in_itself_alone():
    """Of those that are penalised, in the penalty too, which is the released one."""

    def rest(arm):
        data = config.to_dict(config.load("nano", arm, 1, overrides=["training.learning_rate=1"]))
        return {k: v for k, v in data.items() if k not in ("arm", "lora", "adapter", "variant")}

    arms = tuning.plans()["adapters"]["trials"]
    assert {len(tuning.trials(arm)) for arm in arms} == {4}
    for arm in arms:
        found = rest(arm)
        assert found == rest("fourier-released" if arm.endswith("-fourier") else "lora"), arm
    asked = paper.claims().query("family == 'adapters'")
    assert set(asked["treatment"]) | set(asked["control"]) <= {*arms, "lora"}


def test_fourierft_and_its_controls_differ_in_the_basis_alone():
    first, *others = (
        dataclasses.asdict(config.load("nano", arm, 1).adapter)
        for arm in ("fourierft", "random-basis", "orthogonal-basis")
    )
    for found in others:
        assert first | {k: found[k] for k in ("kind", "basis")} == found
    lora = config.load("nano", "lora", 1).adapter
    assert first["frequencies"] == lora.rank * (192 + 192)


def test_the_profile_holds_the_best_trials_and_nothing_else():
    chosen = tuning.best(tuning.table())
    expected = tomllib.loads(tuning.as_toml(chosen)).get("arms", {})
    held = {a: v for a, v in PROFILE.get("arms", {}).items() if "regularizer" not in v}
    released = held.pop("sophia-released", None)
    assert held == expected, "write what `flexlib tune` prints into config/profiles/nano.toml"
    if "adamw" in chosen:
        rate = 0.8 * chosen["adamw"]["training.learning_rate"]  # the release's rule
        assert released["training"] == {"learning_rate": pytest.approx(rate)}


def test_the_profile_names_every_arm_that_is_tuned_and_what_of_it():
    """By it an arm without its values is refused; :mod:`flexlib.config` does not read the plans."""
    named = {(arm, key) for key, arms in PROFILE["tuned"].items() for arm in arms}
    assert named == {(arm, key) for arm, values in tuning.tuned().items() for key in values}
    for arm in tuning.tuned():
        assert (config.load("nano", arm, 1).untuned is None) == (arm in PROFILE["arms"]), arm
        assert all(wanted.untuned is None for _, wanted in tuning.trials(arm))


def test_the_plan_of_the_real_model_is_what_was_registered_in_prose():
    said = paper.registration()["small"]["tuned"]
    assert "1e-4, 2e-4 and 5e-4" in said and "seed 0" in said and "three seeds" in said
    plan = tuning.plans()["small"]
    assert (plan["profile"], plan["seed"], len(plan["seeds"])) == ("small", 0, 3)
    assert set(tuning.tuned("small")) == {"lora", "fourier-released"}
    for arm in tuning.tuned("small"):
        made = tuning.trials(arm, profile="small")
        assert [wanted.training.learning_rate for _, wanted in made] == [1e-4, 2e-4, 5e-4]
        assert {(w.profile, w.arm, w.seed, w.label) for _, w in made} == {("small", arm, 0, arm)}
    # An arm of one profile is not that of another.
    assert [w.profile for _, w in tuning.trials("lora")] == ["nano"] * 6
    asked = paper.claims("small").loc["S-C3-tuned"]
    assert {asked["treatment"], asked["control"]} == {a + tuning.TUNED for a in plan["trials"]}
    assert asked["minimum_n"] == len(plan["seeds"])


def test_trials_used_a_seed_that_no_result_uses():
    assert {plan["seed"] for plan in tuning.plans().values()} == {0}
    assert set(tuning.table()["seed"]) <= {0}


# --- making trials -------------------------------------------------------------------------------


@pytest.fixture
def small(tmp_path, monkeypatch):
    """Two trials of two arms on the tiny model, and a folder for their tables."""
    values = {"training.learning_rate": [1e-3, 1e-6], "training.train_limit": [8]}
    trials = {"adamw": values, "sophia": values}
    plan = {"profile": "nano", "seed": 0, "trials": trials}
    plans = {"optimisers": plan, "adapters": plan | {"trials": {}}}
    monkeypatch.setattr(tuning, "plans", lambda: plans)
    base = tiny.make_base(tmp_path / "base")
    return Machine(base_model=base, work_dir=tmp_path / "work", progress=False), tmp_path


def test_trials_are_made_once_and_the_best_is_that_of_the_lowest_loss(small):
    machine, folder = small
    made = list(tuning.tune("adamw", machine, folder))
    assert [new for _, _, new in made] == [True, True]
    assert made[0][1] < made[1][1]  # 6 steps of 1e-6 teach nothing
    assert list(machine.work_dir.iterdir()) == []
    assert [new for _, _, new in tuning.tune("adamw", machine, folder)] == [False, False]
    table = tuning.table(folder)
    assert table["eval_loss"].tolist() == [loss for _, loss, _ in made]
    assert set(table["steps"]) == {6}
    chosen = tuning.best(table)
    assert chosen == {"adamw": {"training.learning_rate": 1e-3, "training.train_limit": 8}}
    assert tomllib.loads(tuning.as_toml(chosen)) == {
        "arms": {"adamw": {"training": {"learning_rate": 1e-3, "train_limit": 8}}}
    }


def test_a_trial_under_way_is_left_alone(small):
    machine, folder = small
    _, wanted = tuning.trials("adamw")[0]
    tuning_run = tuning.tune("adamw", machine, folder)
    wanted, _ = preflight.resolve(dataclasses.replace(wanted, benchmarks=()), machine)
    name = f"tuning-{config.run_id(config.to_dict(wanted))}"
    with pipeline.locked(machine.work_dir, name), pytest.raises(errors.Busy):
        next(tuning_run)


def row(arm: str, rate: float, loss: float, base: str = "b") -> dict:
    settings = json.dumps({"training.learning_rate": rate, "training.train_limit": 8})
    return {"arm": arm, "settings": settings, "eval_loss": loss, "base_digest": base}


def test_diverged_trials_are_not_chosen_and_bases_are_not_mixed(small):
    nan = float("nan")
    chosen = tuning.best(pd.DataFrame([row("sophia", 1e-3, nan), row("sophia", 1e-6, 2.0)]))
    assert chosen["sophia"]["training.learning_rate"] == 1e-6
    assert tuning.best(pd.DataFrame([row("sophia", 1e-3, 1.0)])) == {}  # not complete
    with pytest.raises(FlexError, match="every trial of sophia diverged"):
        tuning.best(pd.DataFrame([row("sophia", 1e-3, nan), row("sophia", 1e-6, nan)]))
    with pytest.raises(FlexError, match="different base models"):
        tuning.best(pd.DataFrame([row("sophia", 1e-3, 1.0), row("sophia", 1e-6, 2.0, "c")]))


def test_unequal_budgets_are_refused(monkeypatch):
    registered = paper.registration()
    registered["tuning"]["trials"]["lion"]["training.learning_rate"].pop()
    monkeypatch.setattr(paper, "registration", lambda: registered)
    with pytest.raises(FlexError, match=r"unequal numbers of trials.*'lion': 7"):
        tuning.plans()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--arm", "l2-matched"], "arm 'l2-matched' is not tuned; for profile nano"),
        (["--arm", "lion", "--profile", "small"], "has trials for lora, fourier-released"),
        (["--profile", "paper"], "no arm of profile 'paper' is tuned"),
    ],
)
def test_what_has_no_plan_is_refused(capsys, arguments, message):
    assert cli.main(["tune", *arguments, "--quiet"]) == 2
    assert message in capsys.readouterr().err


# --- arms at the best of their trials, beside their own runs --------------------------------------


@pytest.fixture
def losses(monkeypatch):
    """Give every trial of the profile small a final loss, by its learning rate."""
    by_rate: dict[float, float] = {}

    @contextlib.contextmanager
    def trained(wanted, inputs, machine):
        machine.work_dir.mkdir(exist_ok=True)
        loss = by_rate[wanted.training.learning_rate]
        (machine.work_dir / "training.csv").write_text(f"step,eval_loss\n282,{loss}\n")
        yield machine.work_dir

    monkeypatch.setattr(preflight, "resolve", lambda wanted, _: (wanted, None))
    monkeypatch.setattr(tuning, "trained", trained)
    return by_rate


def test_trials_of_a_profile_have_tables_of_their_own_and_lead_to_runs_beside_it(losses, tmp_path):
    machine = Machine(work_dir=tmp_path / "work", progress=False)
    losses.update({1e-4: 0.9, 2e-4: 0.8, 5e-4: 0.7})
    made = tuning.tune("lora", machine, tmp_path, profile="small")
    next(made)
    assert tuning.labels("small", tmp_path) == {}  # not complete
    list(made)
    losses.update({2e-4: 0.6})
    list(tuning.tune("fourier-released", machine, tmp_path, profile="small"))
    names = {"small-lora.csv", "small-fourier-released.csv"}
    assert {p.name for p in tmp_path.glob("*.csv")} == names
    assert tuning.table(tmp_path, ["lora"]).empty  # of nano
    assert tuning.labels("small", tmp_path) == {
        "lora": "lora training.learning_rate=0.0005",
        "fourier-released": "fourier-released",  # its best is the profile's own
    }
    assert tuning.labels("nano", tmp_path) == {}
    said = tuning.to_do("small", tmp_path)
    assert (
        "flexlib grid --profile small --arm lora --seeds 1,2,3 "
        "--set training.learning_rate=0.0005\n" in said
    )
    assert "[arms" not in said  # which would change the arm's own runs


def test_the_command_tunes_a_profile_from_local_folders(monkeypatch, capsys):
    seen = []

    def tune(arm, machine, *, profile):
        seen.append((arm, machine, profile))
        yield {"training.learning_rate": 2e-4}, 0.5, True

    monkeypatch.setattr(tuning, "tune", tune)
    monkeypatch.setattr(tuning, "to_do", lambda profile: f"to do for {profile}\n")
    places = {"data_dir": "d", "base_model": "b", "work_dir": "w"}
    options = [a for k, v in places.items() for a in ("--" + k.replace("_", "-"), v)]
    assert cli.main(["tune", "--profile", "small", *options, "--quiet"]) == 0
    assert [(arm, profile) for arm, _, profile in seen] == [
        ("lora", "small"), ("fourier-released", "small"),
    ]  # fmt: skip
    assert {k: str(getattr(seen[0][1], k)) for k in places} == places
    assert "lora training.learning_rate=0.0002: final" in capsys.readouterr().out
    seen.clear()
    assert cli.main(["tune", "--quiet"]) == 0
    assert [(arm, profile) for arm, _, profile in seen] == [(a, "nano") for a in tuning.tuned()]


def test_a_claim_of_tuned_arms_is_decided_by_the_planned_runs_at_the_best(monkeypatch):
    """Of 20 problems a benchmark the penalty solves 5, and 15 at the learning rate that is its best; plain LoRA,
    whose best is the profile's own, solves 10."""
    rates = [1e-4, 2e-4, 5e-4]
    made = {"lora": [0.9, 0.7, 0.8], "fourier-released": [0.9, 0.8, 0.7]}
    trials = pd.DataFrame(
        [
            {"arm": arm, "settings": json.dumps({"training.learning_rate": rate}),
             "eval_loss": loss, "base_digest": "b"}
            for arm, losses in made.items() for rate, loss in zip(rates, losses, strict=True)
        ]
    )  # fmt: skip
    solved = {
        "lora": 10, "fourier-released": 5, "fourier-released training.learning_rate=0.0005": 15,
    }  # fmt: skip
    rows = [
        (arm, seed, benchmark, "java", f"{benchmark}/{i}", 0, i < n, "pass" if i < n else "wrong")
        for arm, n in solved.items()
        for seed in range(1, 6)  # more than the plan's
        for benchmark in ("multipl-e-java", "multipl-e-mbpp-java")
        for i in range(20)
    ]
    columns = ["arm", "seed", "benchmark", "language", "task_id", "sample", "passed", "verdict"]
    verdicts = pd.DataFrame(rows, columns=columns)
    curve = {"arm": "lora", "seed": 1, "step": 0, "tokens": 0.0, "passes": 0.0, "eval_loss": 1.0}
    for name, table in {"verdicts": verdicts, "training": pd.DataFrame([curve])}.items():
        monkeypatch.setattr(registered.store, name, lambda *_, table=table, **__: table)
    claims = paper.claims("small").loc[["S-C3-lora-pooled", "S-C3-tuned"]]

    def state(trials):
        monkeypatch.setattr(tuning, "table", lambda *_, **__: trials)
        return registered.state("small", seed=0, claims=claims)

    found = state(trials)
    tuned = found.loc["S-C3-tuned"]
    assert (tuned["verdict"], tuned["seeds"]) == ("yes", 3)
    assert tuned["difference"] == pytest.approx(0.25)
    assert found.loc["S-C3-lora-pooled", "difference"] == pytest.approx(-0.25)
    assert state(trials.iloc[:-1]).loc["S-C3-tuned", "verdict"] == "not run"
    assert state(trials.iloc[:0]).loc["S-C3-tuned", "verdict"] == "not run"
