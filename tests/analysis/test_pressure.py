"""Under Adam: the three regimes of a penalty against simulated noise, and what is read from a training."""

from __future__ import annotations

import dataclasses
import math

import pytest
import tiny
import torch

from flexlib import config
from flexlib.analysis import pressure
from flexlib.errors import FlexError
from flexlib.runs.machine import Machine
from flexlib.training import fourier


def falls(strength: float, noise: float = 1.0, rate: float = 1e-3, steps: int = 600) -> float:
    """Mean weight, of many that begin at 0.2, after Adam under noise and a penalty strength * w^2."""
    generator = torch.Generator().manual_seed(0)
    w = torch.full((4000,), 0.2, requires_grad=True)
    adam = torch.optim.AdamW([w], lr=rate, weight_decay=0.0)
    for _ in range(steps):
        w.grad = noise * torch.randn(w.shape, generator=generator) + 2 * strength * w.detach()
        adam.step()
    return float(w.mean())


@pytest.mark.parametrize("strength", [0.01, 0.3, 1.0])
def test_a_weak_penalty_takes_off_the_e_folds_that_are_derived(strength):
    weight = torch.tensor([0.2])
    expected = pressure.efolds(weight, 2 * strength * weight, torch.tensor([1.0]), 0.6)
    found = -math.log(falls(strength) / 0.2)
    assert found == pytest.approx(float(expected), rel=0.15, abs=0.03)


def test_a_weight_that_nothing_else_pushes_falls_at_the_full_rate_whatever_the_strength():
    fallen = [0.2 - falls(s, noise=0.0, steps=100) for s in (1e-5, 1e-3, 10.0)]
    assert fallen == pytest.approx([0.1] * 3, rel=0.15)  # 100 steps of 1e-3
    # Under noise, such a strength does nothing.
    assert abs(0.2 - falls(1e-5, steps=100)) < 0.003


def test_where_the_penalty_outweighs_the_loss_ten_times_the_strength_changes_little():
    strong, stronger = (0.2 - falls(s, steps=100) for s in (50.0, 500.0))
    assert stronger / strong < 1.1 and strong == pytest.approx(0.1, rel=0.1)
    weak, ten_times = (0.2 - falls(s, steps=100) for s in (0.05, 0.5))
    assert ten_times / weak > 5


def test_the_second_moment_of_a_constant_gradient_is_its_square():
    w = torch.ones(3, requires_grad=True)
    adam = torch.optim.AdamW([w])
    gradient = torch.tensor([1e-3, -2.0, 0.0])
    for _ in range(3):
        w.grad = gradient
        adam.step()
        torch.testing.assert_close(
            pressure.loss_gradient(adam, w), gradient.abs(), rtol=1e-3, atol=0
        )
    with pytest.raises(FlexError, match="AdamW"):
        pressure.loss_gradient(torch.optim.SGD([w], 0.1), w)


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pressure")
    machine = Machine(
        base_model=tiny.make_base(folder / "base"), work_dir=folder / "work", progress=False
    )
    wanted = config.load("nano", "fourier-released", 0, overrides=["training.train_limit=48"])
    made = pressure.measure(wanted, machine, strengths=(1e-4, 1e-2, 1.0))
    assert list(machine.work_dir.iterdir()) == []
    return made


def test_a_training_is_read_at_its_first_step_and_along_it(rows):
    assert {r["step"] for r in rows} == {1, 6, 12, 18, 24, 30}
    assert len(rows) == 6 * 2 * 3 and set(rows[0]) == set(pressure.FIELDS)
    paths = [float(r["path"]) for r in rows if r["factor"] == "A" and r["strength"] == "1"]
    assert paths == sorted(paths, reverse=True)
    settings = config.load("nano", "lora", 0).training
    cosine = [(1 + math.cos(math.pi * k / 36)) / 2 for k in range(36)]
    rates = [settings.learning_rate * (0.05 + 0.95 * c) for c in cosine]
    assert paths == pytest.approx([sum(rates[k:]) for k in (1, 6, 12, 18, 24, 30)], rel=1e-3)


def test_at_the_first_step_the_penalty_has_all_of_a_and_later_it_has_not(rows):
    def overruled(step, factor, strength):
        return next(
            float(r["overruled"])
            for r in rows
            if (r["step"], r["factor"], r["strength"]) == (step, factor, strength)
        )

    assert all(overruled(1, "A", s) == 1 for s in ("0.0001", "0.01", "1"))  # B is zero
    assert overruled(30, "A", "0.0001") < 0.1
    for step in (6, 30):
        for factor in "AB":
            shares = [overruled(step, factor, s) for s in ("0.0001", "0.01", "1")]
            assert shares == sorted(shares)
            assert shares[0] < shares[2]


def test_an_optimiser_without_second_moments_is_refused(tmp_path):
    machine = Machine(
        base_model=tiny.make_base(tmp_path / "base"), work_dir=tmp_path / "work", progress=False
    )
    wanted = config.load("nano", "lion", 0, overrides=["training.train_limit=8"])
    with pytest.raises(FlexError, match="AdamW"):
        pressure.measure(wanted, machine)


def test_efolds_are_those_of_the_formula():
    f = fourier.Factors("", torch.ones(1, 4), torch.ones(4, 1), 1.0)
    f = dataclasses.replace(f, A=torch.tensor([[0.5, -0.25, 0.125, 0.0]]))
    p, s = torch.tensor([[3.0, -4.0, 0.0, 1.0]]), torch.tensor([[4.0, 3.0, 1.0, 0.0]])
    found = pressure.efolds(f.A, p, s, 0.1)
    assert found[0, :3].tolist() == pytest.approx([0.1 * 0.6 / 0.5, 0.1 * 0.8 / 0.25, 0.0])
