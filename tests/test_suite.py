"""The suite itself: what a test draws is the same in every run, and what was skipped is said."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings

TESTS = Path(__file__).parent


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


def test_property_tests_hang_on_no_clock_and_no_chance():
    assert settings.default.deadline is None and settings.default.derandomize
    assert HealthCheck.too_slow in settings.default.suppress_health_check


def test_the_last_line_says_how_many_were_skipped_and_why(tmp_path):
    """In a clone without the benchmark data, under pytest-xdist too."""
    missing = tmp_path / "nothing"
    names = {
        "test_training_sets.py": ["test_mbpp_splits_are_the_official_ones"],
        "test_transforms.py": ["test_alike_on_mbpp"],
        "test_known_truth.py": ["test_humaneval"],
    }
    tests = [f"{next(TESTS.rglob(f))}::{name}" for f, of in names.items() for name in of]
    for processes in ([], ["-n", "1"]):
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *processes, *tests],
            cwd=TESTS.parent,
            env=os.environ | {"FLEX_BENCHMARK_DATA": str(missing)},
            check=False,
            capture_output=True,
            text=True,
        )
        assert done.stdout.splitlines()[-1] == (
            f"skipped: 3 (no benchmark data in {missing}: set FLEX_BENCHMARK_DATA)"
        ), done.stdout
