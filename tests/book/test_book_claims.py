"""The table of claims: each in the unit of its metric, with n, the published figures of its contrast beside it."""

import numpy as np
import pandas as pd

from flexlib.book import claims as shown
from flexlib.study import claims as registered
from flexlib.study import inference, paper


def state_of(**rows):
    table = pd.DataFrame.from_dict(rows, orient="index")
    return table.assign(id=table.index)


FOUND = {"tasks": 500, "seeds": 10, "bases": 1, "at_floor": False, "verdict": "reproduced"}


def test_a_row_has_units_n_and_the_published_contrast():
    state = state_of(
        **{
            "C3-lora": FOUND | {"difference": 0.1, "low": -0.02, "high": 0.2, "adjusted_p": 0.0004, "at_floor": True},
            "C2a-reached": FOUND | {"difference": -0.5, "low": -0.5, "high": -0.08, "adjusted_p": 0.01, "tasks": 1},
            "C2a-steps": FOUND | {"difference": 0.38, "low": 0.2, "high": 0.5, "adjusted_p": 0.01, "tasks": 1},
            "C1": {"verdict": "not run"},
        }
    )  # fmt: skip
    table = shown.table(paper.claims().loc[state["id"]], state, here="nano").set_index("no.")
    measured = table["nano (simultaneous 95 % interval)"]
    assert measured["C3-lora†"] == "+10.0 points (−2.0 to +20.0); n = 500 tasks x 10 seeds"
    assert measured["C2a-reached†"] == ("0 % of the seeds, 50 by chance (0 to 42); n = 10 seeds")
    assert measured["C2a-steps†"] == "+38.0 % of the steps (+20.0 to +50.0); n = 10 seeds"
    assert measured["C1"] == table.loc["C1", "p (Holm)"] == "–"
    assert table.loc["C3-lora†", "p (Holm)"] == "≤ 0.0004"
    published = table["published (95 % interval)"]
    assert published["C3-lora†"].startswith("42.1 − 31.5: +10.6 points (")
    assert published["C2a-steps†"].startswith("30 percent fewer steps")
    assert published["C2a-reached†"] == "–"
    assert [">reproduced<" in v for v in table["verdict"]] == [True] * 3 + [False]


def test_no_claims_have_a_table_of_the_same_columns():
    claims, state = paper.claims(), state_of(C1={"verdict": "not run"})
    none = shown.table(claims.iloc[:0], state)
    assert none.empty and list(none) == list(shown.table(claims.loc[["C1"]], state))


def test_another_scale_has_its_own_n_and_verdict_beside():
    claims = paper.claims()
    state = state_of(**{i: {"verdict": "not run"} for i in ("C1", "C3-lora", "C3-base")})
    few = FOUND | {"tasks": 158, "seeds": 1, "verdict": "cannot tell"}
    other = state_of(
        **{
            "S-C3-lora": few | {"difference": 0.01, "low": -0.1, "high": 0.2, "adjusted_p": 1.0},
            "S-C3-base": {"verdict": "not run"},
        }
    )
    table = shown.table(claims.loc[state["id"]], state, beside={"real": other}).set_index("no.")
    assert table.loc["C1", "real"] == "–"  # S-C1-python is another contrast
    assert table.loc["C3-lora†", "real"].startswith(
        "+1.0 points (−10.0 to +20.0); n = 158 tasks x 1 seed <"
    )
    assert ">cannot tell<" in table.loc["C3-lora†", "real"]
    assert ">not run<" in table.loc["C3-base†", "real"]
    here = "here (simultaneous 95 % interval)"
    assert list(table)[-2:] == [here, "real"] and ">not run<" in table.loc["C1", here]
    [row] = other.loc[["S-C3-lora"]].to_dict("records")
    told = shown.told(claims.loc["C3-lora"], row)
    assert told == "+1.0 points (−10.0 to +20.0); n = 158 tasks x 1 seed; verdict: cannot tell"
    assert shown.told(claims.loc["C1"], {"verdict": "not run"}) == "not run yet"


def test_a_claim_that_stands_beside_another_is_of_the_same_contrast():
    nano, small = paper.claims(), paper.claims("small")
    pairs = [(i, f"S-{i}") for i in nano.query("kind == 'claim'").index if f"S-{i}" in small.index]
    assert len(pairs) >= 3
    for first, second in pairs:
        for key in ("kind", "treatment", "control", "metric", "direction"):
            assert nano.loc[first, key] == small.loc[second, key], (first, key)


def test_a_table_of_questions_has_no_published_figures_and_a_sentence_its_own_unit():
    claims, state = paper.claims(), state_of(C1={"verdict": "not run"})
    whole = shown.table(claims.loc[["C1"]], state)
    without = shown.table(claims.loc[["C1"]], state, with_published=False)
    assert set(whole) - set(without) == {"published (95 % interval)"}
    row = {"difference": -0.1, "low": -0.2, "high": 0.02}
    assert shown.difference("pass@1", row) == "−10.0 points (−20.0 to +2.0)"
    assert shown.difference("pass@1", row, "") == "−10.0 (−20.0 to +2.0)"


def test_n_is_of_what_was_sampled():
    assert shown.size(FOUND) == "500 tasks x 10 seeds"
    assert shown.size(FOUND | {"bases": 4}) == "500 tasks x 10 seeds x 4 bases"
    assert shown.size(FOUND | {"tasks": 1, "seeds": 1}) == "1 seed"


def test_superseded_claims_are_decided_in_the_family_that_they_were_registered_in(monkeypatch):
    claims = registered.as_registered()
    old = paper.claims(superseded=True)
    assert set(old["id"]) <= set(claims["id"]) and claims["registered"].nunique() == 1
    assert {"C1", "C2b"} <= set(claims["id"]) and "C3-lora" not in set(claims["id"])

    empty = pd.DataFrame(columns=["arm", "benchmark", "task_id", "seed", "passed"])
    losses = pd.DataFrame(
        {"arm": arm, "seed": seed, "step": step, "eval_loss": loss, "tokens": 0.0, "passes": 0.0}
        for arm, end in (("adamw", 1.0), ("sophia", 1.5))
        for seed in range(10)
        for step, loss in ((0, 3.0), (10, end + 0.01 * seed))
    )
    monkeypatch.setattr(registered.store, "verdicts", lambda *a, **k: empty)
    monkeypatch.setattr(registered.store, "training", lambda *a, **k: losses)
    state = registered.state(seed=0, claims=paper.claims())
    assert state.loc["C2a-reached", "verdict"] == "not reproduced"
    assert state.loc["C2b", "verdict"] == "not run"
    family = (paper.claims()["family"] == "published").sum()
    assert state.loc["C2a-steps", "level_low"] == 0.025 / family  # the others count, run or not
    assert "C2a" not in state.index
    before = registered.state(seed=0, claims=claims)
    assert before.loc["C2a", "verdict"] == "not reproduced"
    assert np.isnan(before.loc["C3", "difference"])
    assert inference.p_text(before.loc["C3", "adjusted_p"]) == "–"
