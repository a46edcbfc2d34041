"""Training texts are MBPP's, as released, and labels mark what is learnt."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import json
import re
import sys
import types

import pytest
import tiny

from flexlib import models
from flexlib.errors import FlexError
from flexlib.tasks import benchmarks, corpora, data, sources

RECORD = {
    "task_id": 601,
    "text": "Write a function to add one.",
    "code": "def add_one(n):\n    return n + 1",
    "test_list": ["assert add_one(1) == 2", "assert add_one(-1) == 0"],
}
TEXT = """Write a function to add one.

# assert add_one(1) == 2
# assert add_one(-1) == 0

def add_one(n):
    return n + 1"""


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return models.load_tokenizer(tiny.make_base(tmp_path_factory.mktemp("base")))


def labelled(tokenizer, example) -> str:
    return tokenizer.decode([t for t in example["labels"] if t != data.IGNORED])


def test_text_is_task_asserts_code():
    assert "".join(data.training_text(RECORD)) == TEXT


def test_every_line_of_an_assert_is_a_comment():
    prompt, _ = data.training_text({**RECORD, "test_list": ["assert f(1,\r\n2) == 3"]})
    assert prompt.endswith("\n\n# assert f(1,\n# 2) == 3\n\n")


def test_loss_on_all_labels_every_token_and_eos(tokenizer):
    example = data.encode(RECORD, tokenizer, loss_on="all", max_length=512)
    assert example["labels"] == example["input_ids"]
    assert tokenizer.decode(example["input_ids"]) == TEXT + tokenizer.eos_token


def test_loss_on_completion_labels_the_code_and_eos(tokenizer):
    whole = data.encode(RECORD, tokenizer, loss_on="all", max_length=512)
    example = data.encode(RECORD, tokenizer, loss_on="completion", max_length=512)
    assert example["input_ids"] == whole["input_ids"]
    assert labelled(tokenizer, example).lstrip("\n") == RECORD["code"] + tokenizer.eos_token


def test_a_long_text_is_cut_and_then_has_no_end(tokenizer):
    example = data.encode(RECORD, tokenizer, loss_on="all", max_length=10)
    assert len(example["input_ids"]) == len(example["labels"]) == 10
    assert tokenizer.eos_token_id not in example["input_ids"]


def test_a_record_without_a_token_to_learn_is_refused(tokenizer):
    with pytest.raises(FlexError, match="record 601 has no token to learn"):
        data.encode_all([RECORD], tokenizer, loss_on="completion", max_length=10)


def test_no_records_are_refused(tokenizer):
    with pytest.raises(FlexError, match="empty"):
        data.encode_all([], tokenizer, loss_on="all", max_length=10)


def test_collator_pads_to_the_longest():
    rows = [{"input_ids": [5, 6, 7], "labels": [-100, 6, 7]}, {"input_ids": [8], "labels": [8]}]
    batch = data.collator(pad_token_id=0)(rows)
    assert batch["input_ids"].tolist() == [[5, 6, 7], [8, 0, 0]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert batch["labels"].tolist() == [[-100, 6, 7], [8, -100, -100]]


def test_digest_follows_the_text_alone():
    split = {"train": [RECORD]}
    assert data.digest(split) == data.digest({"train": [{**RECORD, "note": "new"}]})
    assert data.digest(split) != data.digest({"train": [{**RECORD, "code": "pass"}]})


def test_mbpp_splits_are_the_official_ones(benchmark_data):
    train = data.load_records("mbpp", "train", benchmark_data)
    validation = data.load_records("mbpp", "validation", benchmark_data)
    assert [r["task_id"] for r in train] == list(range(601, 975))
    assert [r["task_id"] for r in validation] == list(range(511, 601))
    assert "".join(data.training_text(train[0])).startswith("Write a function to find the longest")


def mbpp_folder(tmp_path, rows: list[dict]):
    (tmp_path / "mbpp").mkdir()
    (tmp_path / "mbpp" / "mbpp.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    return tmp_path


MBPP_ROW = {**RECORD, "test_setup_code": "", "challenge_test_list": []}


def test_mbpp_with_a_column_missing_is_refused(tmp_path):
    rows = [{"task_id": i, "text": "", "code": ""} for i in range(1, 975)]
    with pytest.raises(FlexError, match="row 1: no column test_list, test_setup_code"):
        data.load_records("mbpp", "train", mbpp_folder(tmp_path, rows))


def test_mbpp_with_rows_missing_is_refused(tmp_path):
    rows = [{**MBPP_ROW, "task_id": i} for i in range(1, 974)]
    with pytest.raises(FlexError, match="has 973 rows instead of 974"):
        data.load_records("mbpp", "train", mbpp_folder(tmp_path, rows))


def test_a_file_of_other_content_is_refused_unless_asked_for(tmp_path, monkeypatch):
    folder = mbpp_folder(tmp_path, [{**MBPP_ROW, "task_id": i} for i in range(1, 975)])
    with pytest.raises(
        FlexError,
        match=r"is not the pinned google-research-datasets/mbpp full .*FLEXLIB_ANY_DATA=1",
    ):
        data.load_records("mbpp", "train", folder)
    monkeypatch.setenv("FLEXLIB_ANY_DATA", "1")
    assert len(data.load_records("mbpp", "train", folder)) == 374


@pytest.fixture
def hub(monkeypatch):
    """A hub with one table of MultiPL-E, whose prompt the test can change, and its pin."""
    rows = [
        {"name": "t", "language": "java", "prompt": "p", "tests": "t", "stop_tokens": ["s"], "n": 1}
    ]
    fake = types.ModuleType("datasets")
    fake.load_dataset = lambda *names, **where: rows
    monkeypatch.setitem(sys.modules, "datasets", fake)
    source = dataclasses.replace(benchmarks.source("multipl-e-java"), rows=1)
    pinned = json.dumps([["t", "java", "p", "t", ["s"]]], separators=(",", ":"))
    source = dataclasses.replace(source, sha256=hashlib.sha256(pinned.encode()).hexdigest())
    return source, rows


def test_the_hubs_content_is_held_against_the_pin(hub, monkeypatch):
    source, rows = hub
    assert sources.read(source) == rows
    assert sources.describe(source) == (
        f"hub, nuprl/MultiPL-E@28441b6024e7 humaneval-java, content {source.sha256} checked"
    )
    rows[0]["prompt"] = "p, reworded again"
    told = (
        r"the hub's nuprl/MultiPL-E@28441b6024e7 humaneval-java is not the pinned .*"
        r"--data-dir.* FLEXLIB_ANY_DATA=1"
    )
    with pytest.raises(FlexError, match=told) as error:
        sources.read(source)
    assert "\n" not in str(error.value)
    monkeypatch.setenv("FLEXLIB_ANY_DATA", "1")
    assert sources.read(source) == rows
    assert sources.describe(source).endswith("content not checked")


def test_mbpp_java_is_without_what_mbpp_trains_on(benchmark_data):
    rows = benchmarks.read_rows("multipl-e-mbpp-java", benchmark_data)
    problems = benchmarks.load_benchmark("multipl-e-mbpp-java", benchmark_data)
    number = lambda name: int(re.fullmatch(r"mbpp_(\d+)_\w+", name)[1])
    trained = {r["task_id"] for r in data.load_records("mbpp", "train", benchmark_data)}
    assert {p.language for p in problems} == {"java"}
    assert [p.task_id for p in problems] == [
        r["name"] for r in rows if number(r["name"]) not in trained
    ]
    assert len(rows) - len(problems) == 116


def test_mbpp_java_of_unknown_numbers_is_refused(monkeypatch):
    row = {"name": "add_one", "language": "java", "prompt": "", "tests": "", "stop_tokens": []}
    monkeypatch.setattr(benchmarks, "read_rows", lambda *_: [row])
    with pytest.raises(FlexError, match="'add_one' is no task of MBPP by its name"):
        benchmarks.load_benchmark("multipl-e-mbpp-java")


def test_mbpp_with_other_problems_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("FLEXLIB_ANY_DATA", "1")
    rows = [{**MBPP_ROW, "task_id": i} for i in range(974)]
    with pytest.raises(FlexError, match="train split has 374 problems, found 373"):
        data.load_records("mbpp", "train", mbpp_folder(tmp_path, rows))


def test_missing_mbpp_is_refused(tmp_path):
    with pytest.raises(FlexError, match="mbpp.jsonl"):
        data.load_records("mbpp", "train", tmp_path)


@pytest.mark.parametrize("dataset", ["mbpp", "apps", "codesearchnet"])
def test_without_network_the_way_out_is_named(dataset):
    """The suite runs with the hub switched off."""
    pytest.importorskip("datasets")
    with pytest.raises(FlexError, match=r"cannot fetch .* from the hub .*--data-dir") as error:
        data.load_records(dataset, "train")
    assert "\n" not in str(error.value)


def test_without_the_package_datasets_the_way_out_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(FlexError, match=r"package datasets: install it, or .*--data-dir"):
        data.load_records("mbpp", "train")


def test_the_hub_is_asked_for_the_pinned_commit(monkeypatch, benchmark_data):
    """The hub's tables have the columns of the files; the splits are joined."""
    asked = []
    rows = benchmarks.read_rows("mbpp", benchmark_data)

    def load_dataset(repository, configuration, *, split, revision):
        asked.append((repository, configuration, split, revision))
        first, last = benchmarks.MBPP_SPLITS[split]
        return [r for r in rows if first <= r["task_id"] <= last]

    fake = types.ModuleType("datasets")
    fake.load_dataset = load_dataset
    monkeypatch.setitem(sys.modules, "datasets", fake)
    train = data.load_records("mbpp", "train")
    assert train == data.load_records("mbpp", "train", benchmark_data)
    revision = "4bb6404fdc6cacfda99d4ac4205087b89d32030c"
    assert asked == [
        ("google-research-datasets/mbpp", "full", split, revision)
        for split in ("prompt", "test", "validation", "train")
    ]


# --- the sets of rounds 2 and 3 -------------------------------------------------------------------


@pytest.fixture
def apps_folder(tmp_path):
    def row(i):
        solutions = json.dumps([f"print({i})", "print()"])
        difficulty = "competition" if i < corpora.APPS_COMPETITION else "introductory"
        return {"id": i, "question": f"\nQ{i}\n", "solutions": solutions, "difficulty": difficulty}

    (tmp_path / "apps").mkdir()
    lines = "".join(json.dumps(row(i)) + "\n" for i in range(5000))
    (tmp_path / "apps" / "train.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    return tmp_path


def test_apps_holds_out_every_tenth_competition_problem(apps_folder):
    train = data.load_records("apps", "train", apps_folder)
    validation = data.load_records("apps", "validation", apps_folder)
    assert len(train) + len(validation) == 361 and len(validation) == 36
    assert not {r["task_id"] for r in train} & {r["task_id"] for r in validation}
    assert validation[0]["task_id"] == "apps/9"
    assert data.training_text(train[0]) == ("Q0\n\n", "print(0)")


def test_apps_without_its_competition_problems_is_refused(apps_folder, monkeypatch):
    monkeypatch.setattr(corpora, "APPS_COMPETITION", 400)
    with pytest.raises(FlexError, match="400 competition problems to train on, found 361"):
        data.load_records("apps", "train", apps_folder)


def test_codesearchnet_is_docstring_then_function(tmp_path, monkeypatch):
    monkeypatch.setitem(corpora._CODESEARCHNET_ROWS, "train", 1)
    row = {
        "func_documentation_string": "Add. ",
        "func_code_string": "def f():\n    1",
        "func_code_url": "u",
    }
    (tmp_path / "codesearchnet").mkdir()
    (tmp_path / "codesearchnet" / "python-train.jsonl").write_text(json.dumps(row))
    [record] = data.load_records("codesearchnet", "train", tmp_path)
    assert data.training_text(record) == ("Add.\n\n", "def f():\n    1")


def test_unknown_dataset_is_refused():
    with pytest.raises(
        FlexError, match="unknown dataset 'ape'; the datasets are nanobench, mbpp, apps"
    ):
        data.load_records("ape", "train")


# --- format-only answers ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def nanobench():
    return data.load_records("nanobench", "train")


def test_format_only_answers_belong_to_other_tasks_of_the_same_signature(nanobench):
    changed = data.format_only(nanobench, seed=1)
    for before, after in zip(nanobench, changed, strict=True):
        assert data.training_text(after)[0] == data.training_text(before)[0]
        old, new = data._signature(before), data._signature(after)
        assert (new["name"], new["types"]) == (old["name"], old["types"])
        assert after["code"] != before["code"]
    # Every code once, and never for a task of its own composition.
    body = lambda code: code.partition("\n")[2]
    exact = {body(r["code"]): r["composition"] for r in nanobench}
    unrenamed = [(r, exact[body(r["code"])]) for r in changed if body(r["code"]) in exact]
    assert len(unrenamed) > 20
    assert all(r["composition"] != composition for r, composition in unrenamed)


def test_format_only_answers_depend_on_the_seed_alone(nanobench):
    first, again, other = (data.format_only(nanobench, seed) for seed in (1, 1, 2))
    assert first == again
    assert sum(a["code"] != b["code"] for a, b in zip(first, other, strict=True)) > 300


def test_format_only_renames_the_function_and_its_parameters():
    records = [
        RECORD,
        {
            "task_id": 2,
            "text": "Write a function to count down.",
            "code": "import math\ndef down(k):\n    return 0 if k == 0 else down(k - 1)  # down\n",
            "test_list": ["assert down(3) == 0"],
        },
    ]
    first, second = data.format_only(records, seed=0)
    assert first["code"] == (
        "import math\ndef add_one(n):\n    return 0 if n == 0 else add_one(n - 1)  # down\n"
    )
    assert second["code"] == "def down(k):\n    return k + 1"
    clash = {**records[1], "code": "def down(k):\n    n = 1\n    return n - k\n"}
    assert "def add_one(k):" in data.format_only([RECORD, clash], seed=0)[0]["code"]


def test_format_only_on_mbpp(benchmark_data):
    records = data.load_records("mbpp", "train", benchmark_data)
    for before, after in zip(records, data.format_only(records, seed=1), strict=True):
        assert after["code"] != before["code"]
        assert data._signature(after)["name"] == data._signature(before)["name"]


def test_format_only_needs_another_task():
    with pytest.raises(FlexError, match="need other tasks to take code from") as error:
        data.format_only([RECORD], seed=0)
    assert "\n" not in str(error.value)
    with pytest.raises(FlexError, match="record 601 defines no function that it tests"):
        data.format_only([RECORD, {**RECORD, "code": "x = 1"}], seed=0)
