"""The tables and figures of the optimiser study, against values worked out by hand."""

from __future__ import annotations

import matplotlib
import numpy as np
import pandas as pd
import pytest

from flexlib.errors import FlexError
from flexlib.figures import optimizers, style
from flexlib.study import convergence, inference, paper, stats

matplotlib.use("Agg")
import matplotlib.pyplot as plt


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def training_table() -> pd.DataFrame:
    """Two seeds of two arms, validation at steps 0, 10 and 20, and a step without in between."""
    losses = {
        ("adamw", 1): [3.0, 2.0, 1.5],
        ("adamw", 2): [3.0, 1.0, 1.2],  # rises again
        ("sophia", 1): [3.0, 1.0, 0.9],
        ("sophia", 2): [3.0, 2.0, 1.3],  # never reaches 1.2
    }
    rows = []
    for (arm, seed), values in losses.items():
        for step, loss in zip((0, 5, 10, 20), (values[0], np.nan, *values[1:]), strict=True):
            rows.append(
                {
                    "arm": arm, "seed": seed, "step": step, "tokens": step * (99 + 2 * seed),
                    "passes": step * 1.1 if step else np.nan, "eval_loss": loss,
                    "unclipped": 0.2 if step else np.nan,
                }
            )  # fmt: skip
    return pd.DataFrame(rows)


def test_the_first_step_at_a_target_is_interpolated():
    steps, losses = np.array([0, 10, 20]), np.array([3.0, 2.0, 1.0])
    assert convergence.step_reached(steps, losses, 1.25) == pytest.approx(17.5)
    assert convergence.step_reached(steps, losses, 2.0) == 10
    assert convergence.step_reached(steps, losses, 3.5) == 0
    assert convergence.step_reached(steps, losses, 0.9) == float("inf")
    passing = np.array([3.0, np.inf, 1.0])  # half precision can overflow and come back
    assert convergence.step_reached(steps, passing, 2.0) == 20


def test_steps_to_the_controls_final_loss_of_the_same_seed():
    table = convergence.steps_to_target(convergence.curves(training_table()))
    rows = table.set_index(["arm", "seed"])
    assert rows.loc[("adamw", 1), "share"] == 1.0  # its own last step
    assert rows.loc[("sophia", 1), "share"] == pytest.approx(7.5 / 20)  # 1.5 on the way 3 -> 1
    assert rows.loc[("adamw", 2), "share"] == pytest.approx(9.0 / 20)  # 1.2 on the way down
    assert not rows.loc[("sophia", 2), "reached"] and rows.loc[("sophia", 2), "share"] == 1.0


def test_arms_are_compared_seed_by_seed():
    table = convergence.by_seed(convergence.curves(training_table()), "sophia").set_index("seed")
    assert table["reached"].tolist() == [True, False]
    assert table["final_loss"].tolist() == pytest.approx([0.9 - 1.5, 1.3 - 1.2])
    # The common loss: 1.5 in the first seed, which adamw has at its end; 1.3 in the second, which it
    # passed at step 8.5.
    assert table["steps"].tolist() == pytest.approx([7.5 / 20 - 1, 1 - 8.5 / 20])
    assert table["share"].tolist() == pytest.approx([7.5 / 20 - 1, 1 - 9.0 / 20])
    other = convergence.by_seed(convergence.curves(training_table()), "adamw", "sophia")
    for column in ("steps", "final_loss"):  # exchanging the arms changes the sign, and nothing else
        assert other[column].tolist() == pytest.approx((-table[column]).tolist())
    effects = convergence.versus(convergence.curves(training_table()), "sophia", seed=0)
    assert effects["reached"].estimate == 0 and effects["reached"].trials == 2
    assert effects["steps"].estimate == pytest.approx(table["steps"].mean())
    assert min(effects["final_loss"].seeds) == 2


@pytest.mark.parametrize("diverged", ["sophia", "adamw"])
def test_a_run_that_diverged_reaches_nothing_and_has_no_finite_difference(diverged):
    """Although it was below the other arm's final loss on the way."""
    table = training_table()
    own = (table["arm"] == diverged) & (table["seed"] == 2)
    table.loc[own & (table["step"] == 10), "eval_loss"] = 0.5
    table.loc[own & (table["step"] == 20), "eval_loss"] = np.inf  # as the store has it
    curves = convergence.curves(table)
    for treatment, control in (("sophia", "adamw"), ("adamw", "sophia")):
        rows = convergence.by_seed(curves, treatment, control).set_index("seed")
        lost = treatment == diverged
        assert rows.loc[2, "reached"] == (not lost)
        assert rows.loc[2, "steps"] == (1 if lost else -1)  # censored, against from the start
        assert rows.loc[2, "final_loss"] == (np.inf if lost else -np.inf)
        effects = convergence.versus(curves, treatment, control, seed=0)
        assert effects["final_loss"].estimate == (np.inf if lost else -np.inf)
    reached = convergence.steps_to_target(curves).set_index(["arm", "seed"])
    assert not reached.loc[(diverged, 2), "reached"] and reached.loc[(diverged, 2), "share"] == 1
    claims = paper.claims()
    results = convergence.by_claim(claims, table, seed=0)
    no_verdicts = pd.DataFrame(columns=["arm", "benchmark"])
    state = inference.assess(claims, no_verdicts, measured=results, seed=0).set_index("id")
    assert state.loc[["C2a-steps", "C2a-final-loss"], "seeds"].tolist() == [2, 2]
    assert state.loc["C2a-final-loss", ["low", "high"]].tolist() == [-np.inf, np.inf]
    assert state.loc["C2a-final-loss", "verdict"] == "cannot tell"


def test_a_seed_without_its_control_is_refused():
    curves = convergence.curves(training_table())
    with pytest.raises(FlexError, match="sophia seed 2 has no adamw of its seed"):
        convergence.steps_to_target(curves[(curves.arm == "sophia") | (curves.seed == 1)])
    with pytest.raises(FlexError, match="no seed in common"):
        convergence.by_seed(curves[(curves.arm == "adamw") == (curves.seed == 1)], "sophia")


def test_curves_carry_every_cost():
    costs = pd.DataFrame({"way": ["adamw", "sophia"], "ms_per_step": [100.0, 110.0]})
    table = training_table()
    table["arm"] = pd.Categorical(table["arm"])  # as in the book
    curves = convergence.curves(table, costs).set_index(["arm", "seed", "step"])
    assert curves.loc[("sophia", 1, 20), "seconds"] == pytest.approx(2.2)
    assert curves.loc[("adamw", 1, 20), "passes"] == pytest.approx(22)
    assert curves.loc[("adamw", 1, 0), "passes"] == 0
    assert curves.loc[("adamw", 1, 20), "tokens"] == 20 * 102  # the mean of 101 and 103
    assert len(curves) == 12  # rows with a validation loss


def test_warmth_is_that_of_an_average_from_zero():
    average, shown = 0.0, []
    for _ in range(10):
        average = 0.99 * average + 0.01 * 1.0
        shown.append(average)
    assert convergence.warmth(np.arange(1, 11)) == pytest.approx(shown)


def test_a_measured_claim_is_decided_in_its_family():
    """C2a-steps has no pass@1; given its result, it gets a verdict, and a p-value adjusted with C2b's."""
    claims = paper.claims().loc[["C2a-steps", "C2b"]]
    verdicts = pd.DataFrame(columns=["arm", "benchmark", "task_id", "seed", "passed"])
    sooner = stats.paired_bootstrap(
        np.linspace(0.68, 0.72, 10)[None], np.ones((1, 10)), seed=0, paired_seeds=True
    )
    later = stats.paired_bootstrap(np.ones((1, 10)), np.ones((1, 10)), seed=0, paired_seeds=True)
    states = {
        name: inference.assess(claims, verdicts, seed=0, measured={"C2a-steps": result}).set_index(
            "id"
        )
        for name, result in (("sooner", sooner), ("later", later))
    }
    assert states["sooner"].loc["C2a-steps", "verdict"] == "reproduced"
    adjusted = states["sooner"].loc["C2a-steps", "adjusted_p"]
    assert adjusted == pytest.approx(2 * sooner.p_value)
    assert states["later"].loc["C2a-steps", "verdict"] == "not reproduced"
    assert states["later"].loc["C2b", "verdict"] == "not run"


def test_claims_on_losses_are_measured_where_both_arms_ran():
    training = training_table()
    claims = pd.concat([paper.claims(), paper.claims(superseded=True)])
    results = convergence.by_claim(claims, training, seed=0)
    assert set(results) == {"C2a", "C2a-reached", "C2a-steps", "C2a-final-loss"}
    direct = convergence.versus(convergence.curves(training), "sophia", seed=0)
    for name, column in (
        ("C2a", "share"),
        ("C2a-steps", "steps"),
        ("C2a-final-loss", "final_loss"),
    ):
        assert results[name].estimate == direct[column].estimate
        assert results[name].bound(0.025, 1) == direct[column].bound(0.025, 1)
    alone = training[(training["arm"] == "adamw") | (training["seed"] == 2)]
    [(name, reached)] = convergence.by_claim(claims, alone, seed=0).items()
    assert (name, reached.trials) == ("C2a-reached", 1)  # one seed has no spread to bootstrap
    assert convergence.by_claim(claims, training[training.arm == "sophia"], seed=0) == {}


# --- figures --------------------------------------------------------------------------------------


def test_a_panel_for_every_cost():
    costs = pd.DataFrame({"way": ["adamw", "sophia"], "ms_per_step": [100.0, 110.0]})
    axes = optimizers.loss_by_cost(convergence.curves(training_table(), costs))
    labels = [ax.get_xlabel() for ax in axes.flat]
    assert labels == list(optimizers.AXES.values())
    by_time = {line.get_label(): line for line in axes.flat[3].lines}
    assert by_time["sophia (2 seeds)"].get_xdata()[-1] == pytest.approx(2.2)
    assert by_time["sophia (2 seeds)"].get_ydata()[-1] == pytest.approx(1.1)
    without = optimizers.loss_by_cost(convergence.curves(training_table()))
    assert not without.flat[3].axison  # no benchmark, no panel


def test_unclipped_is_drawn_against_what_is_healthy():
    ax = optimizers.unclipped(training_table())
    assert {tuple(line.get_ydata()) for line in ax.lines} == {(0.2, 0.2, 0.2)}
    box = ax.patches[0].get_extents().transformed(ax.transData.inverted())
    assert (box.y0, box.y1) == pytest.approx(convergence.HEALTHY)


def test_steps_to_target_is_drawn_with_intervals():
    table = pd.DataFrame({"arm": ["sophia"], "difference": [-0.2], "low": [-0.3], "high": [-0.05]})
    ax = optimizers.steps_to_target(table)
    [container] = ax.containers
    [segment] = container.lines[2][0].get_segments()
    assert segment[:, 0].tolist() == pytest.approx([-0.3, -0.05])


def test_what_is_missing_is_said():
    ax = style.not_run("not run: flexlib grid")
    assert [t.get_text() for t in ax.texts] == ["not run: flexlib grid"] and not ax.axison
