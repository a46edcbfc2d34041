"""The suite itself: what a test draws is the same in every run."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch


@pytest.fixture(scope="module")
def drawn() -> tuple[float, float, float]:
    return random.random(), np.random.rand(), torch.rand(1).item()


@pytest.mark.parametrize("earlier", [0, 3])
def test_every_test_begins_with_the_same_random_numbers(drawn, earlier):
    wanted = (
        random.Random(0).random(),
        np.random.RandomState(0).rand(),
        torch.rand(1, generator=torch.Generator().manual_seed(0)).item(),
    )
    assert drawn == wanted
    assert (random.random(), np.random.rand(), torch.rand(1).item()) == wanted
    torch.rand(earlier)  # which the next test does not see
