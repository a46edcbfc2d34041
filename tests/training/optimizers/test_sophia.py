"""SophiaG against its definition: references written out by hand in numpy, in float64."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from flexlib.errors import FlexError
from flexlib.training.optimizers.sophia import SophiaG

HESSIAN = np.diag([100.0, 1.0, 0.01])  # a quadratic that no single step size suits
START = np.array([1.0, -1.0, 2.0])


def quadratic_trajectory(steps: int, every: int, bias_correction: bool) -> list[np.ndarray]:
    """Algorithm 3 on ``theta^T H theta / 2``, written out; an estimate of the diagonal after steps 1,
    1 + every, ...: ``B g_hat^2`` with B = 4 and noisy ``g_hat``."""
    lr, beta1, beta2, rho, eps, decay = 0.05, 0.965, 0.99, 0.3, 1e-15, 0.1
    rng = np.random.default_rng(1)
    theta, m, h, n, trajectory = START.copy(), np.zeros(3), np.zeros(3), 0, []
    for t in range(steps):
        g = HESSIAN @ theta
        m = beta1 * m + (1 - beta1) * g
        h_now = h / (1 - beta2**n) if bias_correction and n else h
        theta = theta - lr * decay * theta
        theta = theta - lr * np.sign(m) * np.minimum(np.abs(m) / (rho * h_now + eps), 1)
        trajectory.append(theta)
        if t % every == 0:
            g_hat = rng.standard_normal(3) * np.sqrt(np.diag(HESSIAN) / 4)
            h = beta2 * h + (1 - beta2) * 4 * g_hat**2
            n += 1
    return trajectory


@pytest.mark.parametrize("bias_correction", [False, True])
@pytest.mark.parametrize("every", [1, 10])
def test_trajectory_on_a_quadratic_is_that_of_the_definition(every, bias_correction):
    rng = np.random.default_rng(1)
    theta = torch.nn.Parameter(torch.tensor(START))
    optimizer = SophiaG(
        [theta], lr=0.05, rho=0.3, weight_decay=0.1, every=every, bias_correction=bias_correction
    )
    clipped = set()
    for t, expected in enumerate(quadratic_trajectory(300, every, bias_correction)):
        theta.grad = torch.tensor(HESSIAN) @ theta.detach()
        optimizer.step()
        np.testing.assert_allclose(theta.detach().numpy(), expected, rtol=1e-12, atol=1e-14)
        clipped.add(optimizer.diagnostics()["unclipped"])
        if t % every == 0:
            g_hat = rng.standard_normal(3) * np.sqrt(np.diag(HESSIAN) / 4)
            theta.grad = torch.tensor(g_hat)
            optimizer.update_curvature(positions=4)
    assert len(clipped) > 1  # both branches of the clip were taken


@given(
    positions=st.integers(1, 5000),
    rho=st.floats(1e-3, 10),
    beta2=st.floats(0, 0.999),
    scale=st.floats(1e-6, 1e3),
)
@settings(max_examples=50, deadline=None)
def test_a_constant_batch_size_may_stand_in_the_step_as_in_the_authors_code(
    positions, rho, beta2, scale
):
    """They average g_hat^2 and put B into the ratio: |m| / (rho * B * h + 1e-15)."""
    generator = torch.Generator().manual_seed(positions)
    theta = torch.nn.Parameter(torch.zeros(5, dtype=torch.float64))
    optimizer = SophiaG([theta], lr=1.0, betas=(0.5, beta2), rho=rho, weight_decay=0.0)
    m = h = expected = torch.zeros(5, dtype=torch.float64)
    for _ in range(4):
        g, g_hat = scale * torch.randn(2, 5, generator=generator, dtype=torch.float64)
        theta.grad = g
        optimizer.step()
        m = m * 0.5 + g * 0.5
        expected = expected - m.sign() * (m.abs() / (rho * positions * h + 1e-15)).clamp(max=1)
        torch.testing.assert_close(theta.detach(), expected, rtol=1e-9, atol=1e-12)
        theta.grad = g_hat
        optimizer.update_curvature(positions=positions)
        h = h * beta2 + g_hat**2 * (1 - beta2)


def test_constant_curvature_is_the_sign_of_the_momentum_above_gamma_times_the_constant():
    """As released: gamma 0.01 and a Hessian of 1e-4 clip wherever |m| > 1e-6."""
    theta = torch.nn.Parameter(torch.zeros(4, dtype=torch.float64))
    optimizer = SophiaG(
        [theta], lr=1.0, betas=(0.0, 0.99), rho=0.01, eps=1e-12, weight_decay=0.0,
        curvature="constant",
    )  # fmt: skip
    for _ in range(20):  # no curvature update is due, ever
        before = theta.detach().clone()
        theta.grad = torch.tensor([3.0, -1.01e-6, 5e-7, 0.0], dtype=torch.float64)
        optimizer.step()
        moved = (theta.detach() - before).tolist()
        assert moved == pytest.approx([-1.0, 1.0, -0.5, 0.0], rel=1e-5)
    assert optimizer.diagnostics()["unclipped"] == 0.5
    assert optimizer.diagnostics()["curvature_norm"] == pytest.approx(2 * 1e-4)


def test_groups_keep_their_own_options_and_dtypes():
    a, b = (torch.nn.Parameter(torch.ones(3, dtype=d)) for d in (torch.float32, torch.float64))
    idle = torch.nn.Parameter(torch.ones(2))
    optimizer = SophiaG(
        [{"params": [a, b, idle]}, {"params": [c := torch.nn.Parameter(torch.ones(3))], "lr": 0.5}],
        lr=0.1,
        weight_decay=0.0,
    )
    for p in (a, b, c):
        p.grad = torch.ones_like(p)
    optimizer.step()  # no curvature yet: every coordinate is clipped
    assert a.tolist() == pytest.approx([0.9] * 3) and b.tolist() == pytest.approx([0.9] * 3)
    assert c.tolist() == [0.5] * 3 and idle.tolist() == [1.0] * 2
    assert optimizer.diagnostics() == {"unclipped": 0.0, "curvature_norm": 0.0}


def run(optimizer: SophiaG, theta: torch.nn.Parameter, first: int, last: int) -> None:
    for t in range(first, last):
        gradients = torch.Generator().manual_seed(t)
        theta.grad = torch.randn(7, generator=gradients)
        optimizer.step()
        if t % 3 == 0:
            theta.grad = torch.randn(7, generator=gradients)
            optimizer.update_curvature(positions=t + 1)


@pytest.mark.parametrize("bias_correction", [False, True])
@pytest.mark.parametrize("stop", [1, 5, 12])
def test_resumed_from_its_state_is_uninterrupted(stop, bias_correction, tmp_path):
    def fresh():
        theta = torch.nn.Parameter(torch.ones(7))
        return SophiaG([theta], lr=0.1, every=3, bias_correction=bias_correction), theta

    whole, expected = fresh()
    run(whole, expected, 0, 20)
    first, theta = fresh()
    run(first, theta, 0, stop)
    torch.save({"optimizer": first.state_dict(), "theta": theta.detach()}, tmp_path / "state")
    saved = torch.load(tmp_path / "state", weights_only=True)
    second, resumed = fresh()
    resumed.data.copy_(saved["theta"])
    second.load_state_dict(saved["optimizer"])
    run(second, resumed, stop, 20)
    assert torch.equal(resumed, expected)
    assert second.diagnostics() == whole.diagnostics()


def test_training_without_curvature_is_refused():
    """Sophia that is never told the curvature would train all the same, as sign momentum."""
    theta = torch.nn.Parameter(torch.ones(3))
    optimizer = SophiaG([theta], every=4)
    theta.grad = torch.ones(3)
    for _ in range(4):
        optimizer.step()
    with pytest.raises(FlexError, match="not updated in 4 steps: call update_curvature"):
        optimizer.step()
    restored = SophiaG([theta], every=4)
    restored.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    with pytest.raises(FlexError, match="not updated in 4 steps"):
        restored.step()
    optimizer.update_curvature(positions=1)
    optimizer.step()


def test_a_curvature_update_needs_positions_and_gradients():
    theta = torch.nn.Parameter(torch.ones(3))
    optimizer = SophiaG([theta])
    with pytest.raises(TypeError):
        optimizer.update_curvature()  # no default that a wrong use could train with
    with pytest.raises(FlexError, match="1 or more positions"):
        optimizer.update_curvature(positions=0)
    with pytest.raises(FlexError, match="no parameter has a gradient"):
        optimizer.update_curvature(positions=8)


@pytest.mark.parametrize(
    "option",
    [
        {"lr": -1.0}, {"betas": (1.0, 0.99)}, {"rho": 0.0}, {"eps": 0.0}, {"weight_decay": -0.1},
        {"every": 0}, {"curvature": "hessian"}, {"constant": 0.0},
    ],
)  # fmt: skip
def test_hyperparameters_out_of_range_are_refused(option):
    [name] = option
    with pytest.raises(FlexError, match=f"Sophia's {name} cannot be"):
        SophiaG([torch.nn.Parameter(torch.ones(1))], **option)


def test_sparse_gradients_are_refused():
    theta = torch.nn.Parameter(torch.ones(3))
    theta.grad = torch.ones(3).to_sparse()
    with pytest.raises(FlexError, match="no sparse gradients"):
        SophiaG([theta]).step()


def test_closure_is_evaluated_with_gradients():
    theta = torch.nn.Parameter(torch.ones(3))

    def closure():
        theta.grad = None
        loss = (theta**2).sum()
        loss.backward()
        return loss

    assert SophiaG([theta], lr=0.1, weight_decay=0.0).step(closure).item() == 3.0
    assert theta.tolist() == pytest.approx([0.9] * 3)
