"""An arm on several bases: which runs it has, and that its contrasts are over tasks, bases and seeds."""

from __future__ import annotations

import pandas as pd
import pytest

from flexlib.cli import main
from flexlib.study import bases, claims, inference, paper, plans


def verdicts(passed: dict[tuple[str, int], int], tasks: int = 20) -> pd.DataFrame:
    """So many of the tasks pass, by label and seed."""
    rows = [
        (arm, seed, "nanobench-java", "java", f"t{i}", i < count, "pass" if i < count else "wrong")
        for (arm, seed), count in passed.items()
        for i in range(tasks)
    ]
    columns = ["arm", "seed", "benchmark", "language", "task_id", "passed", "verdict"]
    return pd.DataFrame(rows, columns=columns).assign(sample=0)


def labels(arm: str) -> list[str]:
    cells = plans.cells(bases.PLAN)
    return cells.loc[cells["arm"] == arm, "label"].tolist()


def test_a_base_is_run_once_and_every_other_arm_with_its_seeds():
    runs = plans.configurations(bases.PLAN)
    assert len(runs) == len(set(runs)) == 4 * (1 + 3 * 3)
    assert {r.seed for r in runs if r.training is None} == {0}


def test_a_contrast_over_bases_counts_each_base_with_the_seeds_of_the_plan():
    bare, lora = labels("base"), labels("lora")
    made = {(bare[i], 0): n for i, n in enumerate((2, 4, 6, 0))}
    made |= {(lora[i], s): n for i, n in enumerate((6, 10, 8, 5)) for s in (1, 2, 3)}
    made[lora[0], 4] = 20  # beyond the plan
    made["fourier-released", 1] = 5  # on one base alone
    table = bases.over(verdicts(made))
    assert set(table["arm"]) - {label for label, _ in made} == {"base@bases", "lora@bases"}
    over = table[table["arm"] == "lora@bases"]
    assert len(set(over["base"])) == 4 and set(over["seed"]) == {1, 2, 3}
    effect = inference.contrast(table, "lora@bases", "base@bases", "nanobench-java", seed=0)
    assert effect.estimate == pytest.approx((4 + 6 + 2 + 5) / 4 / 20)
    assert (effect.bases, effect.seeds) == (4, (3, 1))
    asked = paper.claims().query("family == 'bases'")
    state = inference.assess(asked, table, seed=0, n_resamples=2000).set_index("id")
    assert (state.loc["B-lora-java", ["seeds", "bases"]] == [3, 4]).all()
    assert state.loc["B-C3-lora", "verdict"] == "not run"


@pytest.mark.parametrize("hole", [(0, 2), (3, 1)])
def test_an_arm_counts_on_several_bases_once_all_of_its_runs_are_there(hole):
    """A question is decided once, and no page stops where seeds and bases have a hole."""
    made = {(label, 0): 2 for label in labels("base")}
    made |= {(label, s): 9 for label in labels("lora") for s in (1, 2, 3)}
    del made[labels("lora")[hole[0]], hole[1]]
    assert set(bases.over(verdicts(made))["arm"]) - {label for label, _ in made} == {"base@bases"}


def test_a_base_that_is_not_there_is_told_with_its_command(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("flexlib.paths.ROOT", tmp_path)
    monkeypatch.chdir(tmp_path)
    for n in ("base", "base-2", "base-4"):
        (tmp_path / "data" / "nano" / n).mkdir(parents=True)
        for file in ("config.json", "model.safetensors"):
            (tmp_path / "data" / "nano" / n / file).touch()
    assert main(["sweep", "--plan", "bases"]) != 0
    assert capsys.readouterr().err == (
        "flexlib: no data/nano/base-3; pretrain first: flexlib pretrain --seed 3 "
        "--out data/nano/base-3 --work .flexlib-work/base-3\n"
    )


def test_bands_that_are_steady_on_the_first_base_are_sought_on_the_others():
    """Three bands: above in all further seeds of base 1, below in all, and one that is not steady."""
    first, second, *_ = labels("lora")
    made = {
        (first, 4): (1.2, 0.8, 1.1), (first, 5): (1.1, 0.9, 0.9),  # further seeds
        (first, 1): (1.5, 0.7, 1.0), (first, 2): (0.9, 0.9, 1.0),  # their mean is above, and below
        (second, 1): (0.8, 0.7, 1.3), (second, 2): (0.9, 0.8, 1.3),
    }  # fmt: skip
    ratios = pd.DataFrame(
        [
            (arm, seed, "radial", x, r)
            for (arm, seed), row in made.items()
            for x, r in enumerate(row)
        ],
        columns=["arm", "seed", "side", "x", "ratio"],
    )
    assert bases.steady_bands(ratios).values.tolist() == [
        ["base 1", 2, 2, 3, 2],
        ["base 2", 1, 2, 3, 2],
    ]
    assert bases.steady_bands(ratios[ratios["seed"] < 4]).empty


def test_other_contrasts_are_as_they_were():
    table = verdicts({("lora", 1): 8, ("lora", 2): 6, ("base", 0): 4})
    before = inference.contrast(table, "lora", "base", "nanobench-java", seed=0)
    after = inference.contrast(bases.over(table), "lora", "base", "nanobench-java", seed=0)
    assert (before.estimate, before.bound(0.025, 1)) == (after.estimate, after.bound(0.025, 1))


def test_a_claim_on_several_bases_is_decided_by_their_runs(monkeypatch):
    made = {(label, 0): 2 for label in labels("base")}
    made |= {(label, s): 12 for label in labels("lora") for s in (1, 2, 3)}
    monkeypatch.setattr(claims.store, "verdicts", lambda *_, **__: verdicts(made))
    state = claims.state(seed=0, claims=paper.claims().query("family == 'bases'"))
    assert state.loc["B-lora-java", "difference"] == pytest.approx(0.5)
    assert state.loc["B-lora-java", "bases"] == 4
    assert state.loc["B-C3-lora", "verdict"] == "not run"
