"""Power from the discordance of two seeds, against a simulation of the design."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from flexlib import paths
from flexlib.errors import FlexError
from flexlib.runs import store
from flexlib.study import paper, power

RNG = np.random.default_rng(3)
P = RNG.beta(0.6, 0.8, size=300)  # pass probability of each problem


def draw(seeds):
    return RNG.random((len(P), seeds)) < P[:, None]


@pytest.mark.parametrize("against_one", [False, True])
def test_the_standard_error_is_that_of_simulated_arms(against_one):
    discordant = float(np.mean(2 * P * (1 - P)))
    differences = [draw(5).mean() - draw(1 if against_one else 5).mean() for _ in range(4000)]
    se = power.standard_error(discordant, len(P), 5, against_one=against_one)
    assert np.std(differences) == pytest.approx(se, rel=0.04)


def test_detectable_and_equivalence_are_their_tests():
    se = 0.01
    shift = power.detectable(se)
    assert norm.sf(norm.ppf(0.975) - shift / se) == pytest.approx(0.8, abs=1e-6)
    z = RNG.standard_normal(200_000) * se
    both = (z + 0.02 > se * norm.ppf(0.95)) & (0.02 - z > se * norm.ppf(0.95))
    assert power.equivalence_power(se, 0.02) == pytest.approx(both.mean(), abs=0.005)
    assert power.equivalence_power(0.1, 0.02) == 0.0


def test_discordance_is_counted_on_pooled_problems():
    rows = [
        ("lora", seed, benchmark, "java", f"{benchmark}-{task}", 0, passed)
        for benchmark, tasks in (("a", 4), ("b", 6))
        for seed in (1, 2, 3)
        for task in range(tasks)
        for passed in [task < 2 if seed == 1 else task < 1]
    ]
    columns = ["arm", "seed", "benchmark", "language", "task_id", "sample", "passed"]
    verdicts = pd.DataFrame(rows, columns=columns).assign(verdict="wrong", detail="")
    table = power.of_design(verdicts, "lora", ["a", "a + b"], [5], margin=0.02)
    assert table["discordant"].tolist() == [0.25, 0.25, 0.2, 0.2]
    assert table["tasks"].tolist() == [4, 4, 10, 10]
    with pytest.raises(FlexError, match="1 seed on a"):
        power.of_design(verdicts[verdicts["seed"] == 1], "lora", ["a"], [5], margin=0.02)


@pytest.fixture(scope="module")
def verdicts() -> pd.DataFrame:
    return store.verdicts(profile="small")


def test_the_stored_file_is_what_is_computed(tmp_path, verdicts, monkeypatch):
    monkeypatch.setattr(store, "verdicts", lambda **options: verdicts)
    power.main(tmp_path)
    assert (tmp_path / power.FILE).read_bytes() == (paths.DATA / power.FILE).read_bytes()


def test_later_claims_and_runs_change_nothing_of_it(tmp_path, verdicts, monkeypatch):
    content = paper.registration()
    first = next(c for c in content["claims"] if c["profile"] == "small")
    later = {
        "registered": power.REGISTERED + timedelta(days=1),
        "benchmark": "humaneval-cpp",
        "smallest_effect": 0.05,
    }
    claims = [{**first, **later, "id": "later"}, *content["claims"]]
    monkeypatch.setattr(paper, "registration", lambda: {**content, "claims": claims})
    unjudged = verdicts[(verdicts["arm"] == "lora") & (verdicts["seed"] == 1)].assign(
        seed=0, verdict="harness_error", passed=False
    )
    more = pd.concat([verdicts, unjudged], ignore_index=True)
    monkeypatch.setattr(store, "verdicts", lambda **options: more)
    power.main(tmp_path)
    assert (tmp_path / power.FILE).read_bytes() == (paths.DATA / power.FILE).read_bytes()
