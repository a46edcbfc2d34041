"""The programs on the page are those in the store, with their own verdicts."""

from __future__ import annotations

import base64
import gzip
import json
import re

import pytest

from flexlib import paths
from flexlib.book import explorer
from flexlib.errors import FlexError
from flexlib.runs import store


def unpacked(script: bytes) -> dict:
    _, text = re.fullmatch(rb'flexPrograms\("([^"]+)", "([^"]+)"\);\n', script).groups()
    return json.loads(gzip.decompress(base64.b64decode(text)))


@pytest.fixture(scope="module")
def runs():
    """Two stored runs of the nano profile."""
    first = store.runs(profile="nano").drop_duplicates("arm").set_index("arm")["run_id"]
    if not {"base", "lora"} <= set(first.index):
        pytest.skip("the store has no base and no plain LoRA")
    return [paths.RUNS / first[arm] for arm in ("base", "lora")]


def test_every_program_and_verdict_arrives_at_its_task(runs):
    texts = explorer.prompts("nanobench-java", None)
    found = unpacked(explorer.as_script("n", explorer.collect(runs, "nanobench-java", texts)))
    assert [run["arm"] for run in found["runs"]] == ["base", "lora"]
    by_name = {run.name: run for run in runs}
    for shown in found["runs"]:
        folder = by_name[shown["id"]]
        completions = {
            c["task_id"]: c["completion"] for c in store.read_completions(folder, "nanobench-java")
        }
        verdicts = {v["task_id"]: v for v in store.read_verdicts(folder, "nanobench-java")}
        assert len(found["tasks"]) == len(completions)
        for task, (program, verdict, detail) in zip(found["tasks"], shown["answers"], strict=True):
            assert task["programs"][program] == completions[task["id"]]
            assert found["verdicts"][verdict] == verdicts[task["id"]]["verdict"]
            assert found["details"][detail] == verdicts[task["id"]]["detail"]
            assert task["prompt"] == texts[task["id"]]


def test_an_arm_has_the_name_that_it_has_in_every_table():
    """Runs of the arm shuffled are stored under another."""
    stored = store.runs(profile="nano").query("arm == 'shuffled'")["run_id"]
    shown = explorer.collect([paths.RUNS / stored.iloc[0]], "nanobench-java", None)
    assert [run["arm"] for run in shown["runs"]] == ["shuffled"]


def test_a_file_that_would_be_too_large_keeps_fewer_seeds(runs):
    content = explorer.collect(runs, "nanobench-python", None)
    assert all(task["prompt"] is None for task in content["tasks"])
    whole = len(explorer.as_script("n", content))
    lora = store.runs(profile="nano").query("arm == 'lora'")["run_id"]
    more = [paths.RUNS / run for run in lora[:4]]
    script, note = explorer.fitting(
        "n", [runs[0], *more], "nanobench-python", None, limit=whole + 500
    )
    assert len(script) <= whole and re.match(r"The first [123] seeds of every arm", note)
    assert explorer.fitting("n", runs, "nanobench-python", None)[1] == ""
    with pytest.raises(FlexError, match="one seed an arm"):
        explorer.fitting("n", runs, "nanobench-python", None, limit=100)


def test_prompts_of_other_people_need_their_files_and_bring_their_licence(tmp_path):
    assert explorer.prompts("multipl-e-java", None) is None
    assert explorer.prompts("humaneval", str(tmp_path)) is None
    (tmp_path / "multipl-e").mkdir()
    (tmp_path / "multipl-e/LICENSE").write_text("Copyright")
    assert explorer.licence("multipl-e-mbpp-java", str(tmp_path)) == "Copyright"
    assert explorer.licence("multipl-e-java", None) == ""


@pytest.mark.parametrize(
    ("benchmark", "name"),
    [("nanobench-cpp", "NanoBench"), ("humaneval", "HumanEval"), ("multipl-e-java", "HumanEval"),
     ("multipl-e-mbpp-java", "MBPP"), ("mbpp", "MBPP")],
)  # fmt: skip
def test_translations_belong_to_what_they_translate(benchmark, name):
    key = explorer.family(benchmark)
    assert explorer.FAMILIES[key] == name
    assert explorer.NOTICES[key]


def test_the_index_lists_every_file(runs, tmp_path):
    folder = tmp_path / "runs"
    folder.mkdir()
    for run in runs:
        (folder / run.name).symlink_to(run)
    entries = explorer.write(folder, tmp_path / "out", None)
    assert {e["file"] for e in entries} == {"nano-nanobench-java", "nano-nanobench-python"}
    assert all(
        (tmp_path / "out" / f"{e['file']}.js").stat().st_size <= explorer.LIMIT for e in entries
    )
    assert (
        json.loads((tmp_path / "out/index.js").read_text()[len("flexBenchmarks(") : -3]) == entries
    )
