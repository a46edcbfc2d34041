"""The comparison of adapters, on made-up runs: rates, changes and costs against a count by hand."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest
import tiny

from flexlib import config, formats, models
from flexlib.models import adapters as on_models
from flexlib.runs import store
from flexlib.study import adapters

TASKS = 40


def made(folder: Path, arm: str, seed: int, python: list[int], java: list[int]) -> None:
    """A stored run that solves the tasks of these numbers."""
    data = config.to_dict(config.load("nano", arm, seed))
    source = folder.parent / f"work-{arm}-{seed}"
    source.mkdir()
    (source / "config.json").write_bytes(formats.to_json(data))
    (source / "provenance.json").write_bytes(formats.to_json({}))
    if "training" in data:
        (source / "adapter").mkdir()
        (source / "adapter" / "adapter_model.safetensors").write_bytes(b"weights")
        (source / "training.csv").write_bytes(formats.to_csv(formats.TRAINING_FIELDS, []))
    for name, solved in ((adapters.PYTHON, python), (adapters.JAVA, java)):
        rows = [
            {
                "task_id": f"t/{i}", "sample": 0, "detail": "",
                "verdict": "pass" if i in solved else "wrong", "passed": i in solved,
            }
            for i in range(TASKS)
        ]  # fmt: skip
        (source / f"completions-{name}.ndjson.gz").write_bytes(formats.to_jsonl_gz([]))
        csv_bytes = formats.to_csv(formats.VERDICT_FIELDS, rows)
        (source / f"verdicts-{name}.csv").write_bytes(csv_bytes)
    store.save(folder, config.run_id(data), source)


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return tiny.make_base(tmp_path_factory.mktemp("base"))


def first(count: int) -> list[int]:
    return list(range(count))


@pytest.fixture(scope="module")
def table(base, tmp_path_factory) -> pd.DataFrame:
    folder = tmp_path_factory.mktemp("store") / "runs"
    made(folder, "base", 0, first(10), first(20))
    made(folder, "lora", 1, first(20), first(20))
    made(folder, "lora", 2, first(30), first(10))
    made(folder, "prompt", 1, first(10), list(range(5, 25)))
    made(folder, "adamw", 1, first(40), first(40))  # no arm of this table
    arms = ("prompt", "vera", "lora")
    return adapters.table(arms, folder, seed=0, base=base).set_index("arm", drop=False)


def test_a_row_for_each_arm_that_was_run_in_the_order_asked_for(table):
    assert table["arm"].tolist() == ["prompt", "lora"]
    assert table["kind"].tolist() == ["prompt", "lora"]
    assert list(table.columns) == adapters.COLUMNS


def test_rates_changes_and_what_is_forgotten_are_those_counted_by_hand(table):
    lora, prompt = table.loc["lora"], table.loc["prompt"]
    assert (lora["seeds"], prompt["seeds"]) == (2, 1)
    assert (lora["python"], lora["java"]) == (25 / 40, 15 / 40)
    assert lora["python_change"] == pytest.approx(15 / 40)
    assert lora["java_change"] == pytest.approx(-5 / 40)
    assert lora["java_low"] < lora["java_change"] < lora["java_high"]
    # Of the base's 20 in Java seed 1 keeps all, seed 2 half.
    assert lora["forgotten"] == 0.25
    # As many as before, five of them others.
    assert prompt["java_change"] == 0 and prompt["forgotten"] == 0.25


def test_parameters_are_counted_on_the_base(table):
    # Two layers, q and v, rank 8, 32 inputs and outputs; 20 embeddings of 32.
    assert table.loc["lora", "parameters"] == 2 * 2 * 8 * (32 + 32)
    assert table.loc["prompt", "parameters"] == 20 * 32


def test_nothing_is_compared_without_the_base(base, tmp_path):
    folder = tmp_path / "runs"
    assert adapters.table(folder=folder, seed=0, base=base).empty
    made(folder, "lora", 1, first(20), first(20))
    assert adapters.table(folder=folder, seed=0, base=base).empty


def test_every_arm_goes_on_the_nano_base_and_fourierft_is_of_the_size_of_lora():
    def count(arm: str) -> int:
        wanted = config.load("nano", arm, 1)
        skeleton = models.skeleton(models.locate(wanted.base_model))
        return sum(math.prod(shape) for shape in on_models.check(skeleton, wanted.adapter).values())

    counts = {arm: count(arm) for arm in adapters.ARMS}
    a_rank = 5 * 2 * (192 + 192)  # layers, modules, inputs and outputs
    ranks = {"lora-rank-1": 1, "lora-rank-2": 2, "lora-rank-3": 3, "lora-rank-4": 4, "lora": 8}
    ranks |= {"lora-rank-16": 16, "rslora": 16, "fourierft": 8}
    ranks |= {"random-basis": 8, "orthogonal-basis": 8}
    assert {arm: counts[arm] / a_rank for arm in ranks} == ranks
    assert max(counts, key=lambda arm: counts[arm]) == "full"


def test_nothing_is_forgotten_where_nothing_was_known():
    rows = [("base", False), ("lora", True)]
    verdicts = pd.DataFrame(rows, columns=["arm", "passed"])
    verdicts = verdicts.assign(benchmark=adapters.JAVA, task_id="t/0")
    assert adapters.forgotten(verdicts).empty
