"""What all tests share: quiet, offline, one thread a process, seeded, and where the benchmark data
lies."""

from __future__ import annotations

import os
import random
import signal
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Property tests try the same examples in every run, however slow the machine is.
settings.register_profile(
    "suite", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("suite")

# A suite that a shell started in the background has SIGINT ignored, and so would the processes have
# that it starts and interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Before torch, transformers or matplotlib are imported. Tests run in several processes, so that
# more threads in each only get in each other's way.
os.environ.update(
    OMP_NUM_THREADS="1",
    TOKENIZERS_PARALLELISM="false",
    HF_HUB_OFFLINE="1",
    HF_DATASETS_OFFLINE="1",
    MPLBACKEND="agg",
)


@pytest.hookimpl(tryfirst=True)
def pytest_fixture_setup() -> None:
    _seed()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call() -> None:
    _seed()


def _seed() -> None:
    """Every test and every fixture begins with the same random numbers, whatever ran before it."""
    random.seed(0)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(0)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session: pytest.Session):
    """After pytest's own last line: how many tests were skipped, and why."""
    yield
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None:  # a process of pytest-xdist, which reports to another
        return
    reasons = Counter(
        report.longrepr[2].removeprefix("Skipped: ")
        for report in reporter.stats.get("skipped", [])
        if isinstance(report.longrepr, tuple)
    )
    if reasons:
        why = "; ".join(f"{number} ({reason})" for reason, number in reasons.most_common())
        reporter.write_line(f"skipped: {why}")


@pytest.fixture(scope="session")
def benchmark_data() -> Path:
    """The folder with HumanEval, MBPP and MultiPL-E, which are not part of the project."""
    default = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("FLEX_BENCHMARK_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"no benchmark data in {folder}: set FLEX_BENCHMARK_DATA")
    return folder


@pytest.fixture
def untuned(monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """Arms of the nano profile as they were before their trials: it has no settings for them."""
    from flexlib.config import layers

    arms, read = ("full", "prompt", "rslora"), layers._read

    def before(kind: str, name: str) -> dict:
        table = read(kind, name)
        if (kind, name) == ("profile", "nano"):
            for arm in arms:
                table["arms"].pop(arm, None)
        return table

    monkeypatch.setattr(layers, "_read", before)
    return arms
