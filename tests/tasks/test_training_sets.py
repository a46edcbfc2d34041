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
from grading_helpers import judge_all

from flexlib import paths
from flexlib.errors import FlexError
from flexlib.grading import Program, grade
from flexlib.models import load_tokenizer
from flexlib.tasks import benchmarks, corpora, sources, training_sets, transforms

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


def test_text_is_task_asserts_code():
    assert "".join(training_sets.training_text(RECORD)) == TEXT


def test_every_line_of_an_assert_is_a_comment():
    prompt, _ = training_sets.training_text({**RECORD, "test_list": ["assert f(1,\r\n2) == 3"]})
    assert prompt.endswith("\n\n# assert f(1,\n# 2) == 3\n\n")


def test_digest_follows_the_text_alone():
    split = {"train": [RECORD]}
    assert training_sets.digest(split) == training_sets.digest(
        {"train": [{**RECORD, "note": "new"}]}
    )
    assert training_sets.digest(split) != training_sets.digest(
        {"train": [{**RECORD, "code": "pass"}]}
    )


def test_mbpp_splits_are_the_official_ones(benchmark_data):
    train = training_sets.load_records("mbpp", "train", benchmark_data)
    validation = training_sets.load_records("mbpp", "validation", benchmark_data)
    assert [r["task_id"] for r in train] == list(range(601, 975))
    assert [r["task_id"] for r in validation] == list(range(511, 601))
    assert "".join(training_sets.training_text(train[0])).startswith(
        "Write a function to find the longest"
    )


def mbpp_folder(tmp_path, rows: list[dict]):
    (tmp_path / "mbpp").mkdir()
    (tmp_path / "mbpp" / "mbpp.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    return tmp_path


MBPP_ROW = {**RECORD, "test_setup_code": "", "challenge_test_list": []}


def test_mbpp_with_a_column_missing_is_refused(tmp_path):
    rows = [{"task_id": i, "text": "", "code": ""} for i in range(1, 975)]
    with pytest.raises(FlexError, match="row 1: no column test_list, test_setup_code"):
        training_sets.load_records("mbpp", "train", mbpp_folder(tmp_path, rows))


def test_mbpp_with_rows_missing_is_refused(tmp_path):
    rows = [{**MBPP_ROW, "task_id": i} for i in range(1, 974)]
    with pytest.raises(FlexError, match="has 973 rows instead of 974"):
        training_sets.load_records("mbpp", "train", mbpp_folder(tmp_path, rows))


def test_a_file_of_other_content_is_refused_unless_asked_for(tmp_path, monkeypatch):
    folder = mbpp_folder(tmp_path, [{**MBPP_ROW, "task_id": i} for i in range(1, 975)])
    with pytest.raises(
        FlexError,
        match=r"is not the pinned google-research-datasets/mbpp full .*FLEXLIB_ANY_DATA=1",
    ):
        training_sets.load_records("mbpp", "train", folder)
    monkeypatch.setenv("FLEXLIB_ANY_DATA", "1")
    assert len(training_sets.load_records("mbpp", "train", folder)) == 374


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
    trained = {r["task_id"] for r in training_sets.load_records("mbpp", "train", benchmark_data)}
    assert {p.language for p in problems} == {"java"}
    assert [p.task_id for p in problems] == [
        r["name"] for r in rows if number(r["name"]) not in trained
    ]
    assert len(rows) - len(problems) == 116


def test_mbpps_test_split_has_nothing_that_is_trained_on(benchmark_data):
    problems = benchmarks.load_benchmark("mbpp-test", benchmark_data)
    assert [p.task_id for p in problems] == [str(number) for number in range(11, 511)]
    for split in ("train", "validation"):
        records = training_sets.load_records("mbpp", split, benchmark_data)
        assert not {str(r["task_id"]) for r in records} & {p.task_id for p in problems}
        texts = {r["code"] for r in records}
        rows = {str(r["task_id"]): r for r in benchmarks.read_rows("mbpp-test", benchmark_data)}
        assert not texts & {rows[p.task_id]["code"] for p in problems}
    # The same problems as in the whole, prompted, cut and tested alike, from the same pinned file.
    whole = {p.task_id: p for p in benchmarks.load_benchmark("mbpp", benchmark_data)}
    assert problems == [whole[p.task_id] for p in problems]
    assert benchmarks.source("mbpp-test") == benchmarks.source("mbpp")
    assert len(benchmarks.load_benchmark("mbpp-test", benchmark_data, limit=3)) == 3


def test_references_of_mbpps_test_split_pass_and_those_of_another_task_fail(benchmark_data):
    rows = {str(r["task_id"]): r for r in benchmarks.read_rows("mbpp-test", benchmark_data)}
    problems = benchmarks.load_benchmark("mbpp-test", benchmark_data)[::100]
    following = [*problems[1:], problems[0]]
    right, wrong = (
        judge_all(
            [
                Program(p.task_id, p.language, p.prompt, rows[of.task_id]["code"], p.tests)
                for p, of in zip(problems, answers, strict=True)
            ]
        )
        for answers in (problems, following)
    )
    assert [v.verdict for v in right] == ["pass"] * 5
    assert not any(v.passed for v in wrong)


def test_an_mbpp_without_all_of_its_test_split_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("FLEXLIB_ANY_DATA", "1")
    rows = [{**MBPP_ROW, "task_id": i} for i in range(12, 986)]
    with pytest.raises(FlexError, match="test split has 500 problems, found 499"):
        benchmarks.load_benchmark("mbpp-test", mbpp_folder(tmp_path, rows))


def test_mbpp_java_of_unknown_numbers_is_refused(monkeypatch):
    row = {"name": "add_one", "language": "java", "prompt": "", "tests": "", "stop_tokens": []}
    monkeypatch.setattr(benchmarks, "read_rows", lambda *_: [row])
    with pytest.raises(FlexError, match="'add_one' is no task of MBPP by its name"):
        benchmarks.load_benchmark("multipl-e-mbpp-java")


def test_mbpp_with_other_problems_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("FLEXLIB_ANY_DATA", "1")
    rows = [{**MBPP_ROW, "task_id": i} for i in range(974)]
    with pytest.raises(FlexError, match="train split has 374 problems, found 373"):
        training_sets.load_records("mbpp", "train", mbpp_folder(tmp_path, rows))


def test_missing_mbpp_is_refused(tmp_path):
    with pytest.raises(FlexError, match=r"mbpp.jsonl"):
        training_sets.load_records("mbpp", "train", tmp_path)


@pytest.mark.parametrize("dataset", ["mbpp", "apps", "codesearchnet"])
def test_without_network_the_way_out_is_named(dataset):
    """The suite runs with the hub switched off."""
    pytest.importorskip("datasets")
    with pytest.raises(FlexError, match=r"cannot fetch .* from the hub .*--data-dir") as error:
        training_sets.load_records(dataset, "train")
    assert "\n" not in str(error.value)


def test_without_the_package_datasets_the_way_out_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(FlexError, match=r"package datasets: install it, or .*--data-dir"):
        training_sets.load_records("mbpp", "train")


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
    train = training_sets.load_records("mbpp", "train")
    assert train == training_sets.load_records("mbpp", "train", benchmark_data)
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
    train = training_sets.load_records("apps", "train", apps_folder)
    validation = training_sets.load_records("apps", "validation", apps_folder)
    assert len(train) + len(validation) == 361 and len(validation) == 36
    assert not {r["task_id"] for r in train} & {r["task_id"] for r in validation}
    assert validation[0]["task_id"] == "apps/9"
    assert training_sets.training_text(train[0]) == ("Q0\n\n", "print(0)")


def test_apps_without_its_competition_problems_is_refused(apps_folder, monkeypatch):
    monkeypatch.setattr(corpora, "APPS_COMPETITION", 400)
    with pytest.raises(FlexError, match="400 competition problems to train on, found 361"):
        training_sets.load_records("apps", "train", apps_folder)


def test_codesearchnet_is_docstring_then_function(tmp_path, monkeypatch):
    monkeypatch.setitem(corpora._CODESEARCHNET_ROWS, "train", 1)
    row = {
        "func_documentation_string": "Add. ",
        "func_code_string": "def f():\n    1",
        "func_code_url": "u",
    }
    (tmp_path / "codesearchnet").mkdir()
    (tmp_path / "codesearchnet" / "python-train.jsonl").write_text(json.dumps(row))
    [record] = training_sets.load_records("codesearchnet", "train", tmp_path)
    assert training_sets.training_text(record) == ("Add.\n\n", "def f():\n    1")


def test_unknown_dataset_is_refused():
    with pytest.raises(
        FlexError, match="unknown dataset 'ape'; the datasets are nanobench, nanobench-large"
    ):
        training_sets.load_records("ape", "train")


# --- NanoBench's ----------------------------------------------------------------------------------


def test_the_plain_set_is_validated_on_what_every_arm_is():
    plain, all_words = (
        training_sets.load_records(name, "train") for name in ("nanobench-plain", "nanobench")
    )
    assert len(plain) == len(all_words) and not any(r["ambiguous"] for r in plain)
    assert training_sets.load_records("nanobench-plain", "validation") == (
        training_sets.load_records("nanobench", "validation")
    )


def test_the_large_set_is_validated_on_what_every_arm_is():
    assert len(training_sets.load_records("nanobench-large", "train")) == 3000
    assert training_sets.load_records("nanobench-large", "validation") == (
        training_sets.load_records("nanobench", "validation")
    )


def test_a_document_is_trained_on_as_it_is():
    record = training_sets.load_records("nanobench-broad", "validation")[0]
    assert training_sets.training_text(record) == ("", record["code"])
    documented = {"text": "Add.", "code": "x", "test_list": []}
    assert training_sets.training_text(documented) == ("Add.\n\n", "x")


@pytest.mark.parametrize("language", ["java", "javascript", "cpp"])
def test_another_language_has_the_same_tasks_in_the_same_words(language):
    for split in ("train", "validation"):
        python = training_sets.load_records("nanobench", split)
        other = training_sets.load_records(f"nanobench-{language}", split)
        for ours, theirs in zip(python, other, strict=True):
            kept = ("task_id", "text", "composition", "ambiguous")
            assert [ours[k] for k in kept] == [theirs[k] for k in kept]
            prompt, code = training_sets.training_text(theirs)
            assert prompt.startswith(f"{ours['text']}\n\n// assert ") and "#" not in prompt
            assert "//" not in code  # the sentence stands before the code alone
            for test in theirs["test_list"]:
                assert test.split("(")[0].removeprefix("assert ") in code
            values = [[t.split("(", 1)[1].lower() for t in r["test_list"]] for r in (ours, theirs)]
            assert values[0] == values[1]


@pytest.mark.parametrize("language", ["java", "javascript", "cpp"])
def test_its_code_is_a_whole_program_that_passes(language):
    """By the hidden tests of its task, which close what they need closed themselves."""
    closing = {"java": "    }\n}\n", "javascript": "", "cpp": "}\n"}[language]
    programs = []
    for record in training_sets.load_records(f"nanobench-{language}", "train")[:3]:
        assert record["code"].endswith(closing)
        whole = record["code"].removesuffix(closing)
        signature = whole.index("{\n", whole.index("(")) + 2
        program = (language, whole[:signature], whole[signature:], record[f"tests_{language}"])
        programs.append(Program(record["task_id"], *program))
    assert [v.verdict for v in grade(programs, progress=False)] == ["pass"] * 3


def test_few_texts_in_another_language_are_longer_than_the_base_reads():
    tokenizer = load_tokenizer(paths.NANO_BASE)
    for name, most in {"nanobench-java": 6, "nanobench-javascript": 0, "nanobench-cpp": 17}.items():
        texts = [
            "".join(training_sets.training_text(record))
            for record in training_sets.load_records(name, "train")
        ]
        assert sum(len(tokenizer(text)["input_ids"]) >= 256 for text in texts) == most


def test_python_answers_are_not_shuffled_among_those_of_another_language():
    records = training_sets.load_records("nanobench-java", "train")
    with pytest.raises(FlexError, match="defines no function that it tests"):
        transforms.shuffled_alike(records, seed=1)
