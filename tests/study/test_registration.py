"""A claim stands in data/claims.yml of the very commit that its runs were made from."""

from __future__ import annotations

import json
import subprocess
from collections import defaultdict
from functools import cache

import pytest
import yaml
from raw_runs import ROOT, stored

# Of runs that were there before, something new was computed; or runs are named by their arm alone.
OTHER_RUNS = {"hidden", "small-hidden", "languages"}
# Of C3-last-axis seed 1 was stored two minutes before the registration, unseen; of S-M-units-… it had been seen. The comments
# in claims.yml tell.
KNOWN = {
    "C3-last-axis": {1},
    "S-M-units-loss": {1},
    "S-M-units-norm": {1},
    "S-M-units-rank": {1},
    "S-M-units-frequency": {1},
}
# The same questions under the ids that they had at first (883293b gave them new ones, their texts as they were).
FORMER = {
    "C3-best-lora": "S1",
    "C3-best-units": "S2",
    "C3-best-L2": "S3",
    "C3-best-python": "S4",
}


@cache
def registered_at(commit: str) -> set[str]:
    """The ids in the registration of a commit."""
    shown = subprocess.run(
        ["git", "show", f"{commit}:data/claims.yml"],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )
    if shown.returncode:
        pytest.skip(f"the history of this checkout lacks the commit {commit[:8]}")
    return {claim["id"] for claim in yaml.safe_load(shown.stdout)["claims"]}


def commits() -> dict[tuple[str, str], dict[tuple[str, int], str]]:
    """For each profile and arm of a claim the commit of every run, by label and seed. ``ARM@best`` has all settings
    that one can be chosen from but the arm's own, ``ARM@bases`` all other bases: the study's own runs were known."""
    found: dict[tuple[str, str], dict[tuple[str, int], str]] = defaultdict(dict)
    swept = {"regularizer.strength", "training.learning_rate"}
    for folder, config, label in stored():
        run = label, config["seed"]
        made = json.loads((folder / "provenance.json").read_text())["git"]["commit"]
        found[config["profile"], label][run] = made
        arm, *settings = label.split()
        names = {setting.partition("=")[0] for setting in settings}
        for known, how in ((swept, "best"), ({"base_model"}, "bases")):
            if names and names <= known:
                found[config["profile"], f"{arm}@{how}"][run] = made
    return found


def test_a_claim_was_registered_before_its_runs_or_says_that_it_was_not():
    runs, checked, several = commits(), 0, 0
    for claim in yaml.safe_load((ROOT / "data" / "claims.yml").read_text())["claims"]:
        arms = [runs.get((claim.get("profile", "nano"), claim[side]), {})
                for side in ("treatment", "control")]  # fmt: skip
        if claim.get("after_runs") or claim["family"] in OTHER_RUNS or not all(arms):
            continue
        names = {claim["id"], FORMER.get(claim["id"])}
        early = [
            {seed for (_, seed), commit in of.items() if not names & registered_at(commit)}
            for of in arms
        ]
        # Without the runs of one arm there is no contrast to be seen.
        assert KNOWN.get(claim["id"], set()) in early, (claim["id"], early)
        several += "@" in claim["treatment"]
        checked += 1
    assert checked > 40 and several >= 7
