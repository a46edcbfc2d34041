"""What becomes of a training set: subsets by seed, and answers that are not the right ones."""

from __future__ import annotations

from collections import Counter

import pytest

from flexlib.errors import FlexError
from flexlib.tasks import training_sets, transforms

RECORD = {
    "task_id": 601,
    "text": "Write a function to add one.",
    "code": "def add_one(n):\n    return n + 1",
    "test_list": ["assert add_one(1) == 2", "assert add_one(-1) == 0"],
}


@pytest.fixture(scope="module")
def nanobench():
    return training_sets.load_records("nanobench", "train")


def test_alike_answers_belong_to_other_tasks_of_the_same_signature(nanobench):
    changed = transforms.shuffled_alike(nanobench, seed=1)
    for before, after in zip(nanobench, changed, strict=True):
        assert training_sets.training_text(after)[0] == training_sets.training_text(before)[0]
        old, new = transforms._signature(before), transforms._signature(after)
        assert (new["name"], new["types"]) == (old["name"], old["types"])
        assert after["code"] != before["code"]
    # Every code once, and never for a task of its own composition.
    body = lambda code: code.partition("\n")[2]
    exact = {body(r["code"]): r["composition"] for r in nanobench}
    unrenamed = [(r, exact[body(r["code"])]) for r in changed if body(r["code"]) in exact]
    assert len(unrenamed) > 20
    assert all(r["composition"] != composition for r, composition in unrenamed)


def test_alike_answers_depend_on_the_seed_alone(nanobench):
    first, again, other = (transforms.shuffled_alike(nanobench, seed) for seed in (1, 1, 2))
    assert first == again
    assert sum(a["code"] != b["code"] for a, b in zip(first, other, strict=True)) > 300


def test_alike_renames_the_function_and_its_parameters():
    records = [
        RECORD,
        {
            "task_id": 2,
            "text": "Write a function to count down.",
            "code": "import math\ndef down(k):\n    return 0 if k == 0 else down(k - 1)  # down\n",
            "test_list": ["assert down(3) == 0"],
        },
    ]
    first, second = transforms.shuffled_alike(records, seed=0)
    assert first["code"] == (
        "import math\ndef add_one(n):\n    return 0 if n == 0 else add_one(n - 1)  # down\n"
    )
    assert second["code"] == "def down(k):\n    return k + 1"
    clash = {**records[1], "code": "def down(k):\n    n = 1\n    return n - k\n"}
    assert "def add_one(k):" in transforms.shuffled_alike([RECORD, clash], seed=0)[0]["code"]


def test_alike_on_mbpp(benchmark_data):
    records = training_sets.load_records("mbpp", "train", benchmark_data)
    for before, after in zip(records, transforms.shuffled_alike(records, seed=1), strict=True):
        assert after["code"] != before["code"]
        assert transforms._signature(after)["name"] == transforms._signature(before)["name"]


def test_alike_needs_another_task():
    with pytest.raises(FlexError, match="need other tasks to take code from") as error:
        transforms.shuffled_alike([RECORD], seed=0)
    assert "\n" not in str(error.value)
    with pytest.raises(FlexError, match="record 601 defines no function that it tests"):
        transforms.shuffled_alike([RECORD, {**RECORD, "code": "x = 1"}], seed=0)


def test_a_subset_is_drawn_by_seed_and_grows(nanobench):
    small, large = (transforms.subset(nanobench, n, seed=3) for n in (20, 60))
    ids = [[r["task_id"] for r in rows] for rows in (small, large, nanobench)]
    assert set(ids[0]) < set(ids[1]) < set(ids[2]) and len(ids[1]) == 60
    assert ids[1] == [i for i in ids[2] if i in set(ids[1])]  # in their order
    assert ids[1] != ids[2][:60] and transforms.subset(nanobench, 20, seed=4) != small
    assert transforms.subset(nanobench, None, seed=3) == nanobench
    with pytest.raises(FlexError, match=r"data.size is 400 and the training set has 374 records"):
        transforms.subset(nanobench, 400, seed=3)


@pytest.mark.parametrize("name", transforms.TRANSFORMS)
def test_every_transform_keeps_the_size_and_depends_on_the_seed_alone(nanobench, name):
    changed = transforms.transformed(nanobench, name, seed=1)
    assert len(changed) == len(nanobench) and changed != nanobench
    assert transforms.transformed(nanobench, name, seed=1) == changed


@pytest.mark.parametrize("name", ["shuffled-alike", "shuffled", "without-asserts"])
def test_transforms_of_answers_and_asserts_leave_what_is_asked(nanobench, name):
    changed = transforms.transformed(nanobench, name, seed=1)
    assert [r["text"] for r in changed] == [r["text"] for r in nanobench]
    assert [r["task_id"] for r in changed] == [r["task_id"] for r in nanobench]


@pytest.mark.parametrize("name", ["shuffled-alike", "shuffled", "without-asserts"])
def test_a_share_of_the_records_is_transformed(nanobench, name):
    changed = transforms.transformed(nanobench, name, seed=1, share=0.25)
    differ = sum(a != b for a, b in zip(changed, nanobench, strict=True))
    assert 0.9 * 94 <= differ <= 94  # of 374; a shuffled answer may be the same text
    assert transforms.transformed(nanobench, name, seed=1, share=0.0) == nanobench


@pytest.mark.parametrize("seed", [1, 2, 3, 4, 5])
@pytest.mark.parametrize(("share", "count"), [(0.1, 37), (0.25, 94), (0.5, 187)])
def test_answers_are_swapped_among_exactly_a_share(nanobench, share, count, seed):
    changed = transforms.transformed(nanobench, "shuffled-alike", seed=seed, share=share)
    pairs = list(zip(nanobench, changed, strict=True))
    swapped = [(a, b) for a, b in pairs if a != b]
    assert len(swapped) == count
    # The answer alone is another, it is none of the task's own, and it is called by the task's name.
    for before, after in swapped:
        assert {**after, "code": before["code"]} == before
        assert _body(after["code"]) != _body(before["code"])
        assert after["code"].startswith(f"def {before['name']}(")
    # No answer is lost or comes from outside: those that were swapped are the same, but for names.
    lines = lambda records: sorted(len(r["code"].splitlines()) for r in records)
    assert lines(b for _, b in swapped) == lines(a for a, _ in swapped)


def _body(code):
    return code.partition("\n")[2]


def test_half_the_records_are_copies_of_the_others(nanobench):
    changed = transforms.duplicated(nanobench, seed=1)
    times = Counter(r["task_id"] for r in changed)
    assert len(changed) == 374 and len(times) == 187
    by_id = {r["task_id"]: r for r in nanobench}
    assert all(r == by_id[r["task_id"]] for r in changed)
    # Those that are not copies stand where they stood, once each.
    own = [a["task_id"] == b["task_id"] for a, b in zip(nanobench, changed, strict=True)]
    assert sum(own) == 187 and set(times) == {nanobench[i]["task_id"] for i in range(374) if own[i]}
    # Drawn anew for each place: some task is there three times, some once.
    assert min(times.values()) == 1 and max(times.values()) > 2
    assert Counter(r["task_id"] for r in transforms.duplicated(nanobench, seed=2)) != times
    with pytest.raises(FlexError, match="two records at least"):
        transforms.duplicated([RECORD], seed=0)


def test_one_phrasing_changes_texts_alone(nanobench):
    changed = transforms.one_phrasing(nanobench, seed=1)
    assert [{**r, "text": ""} for r in changed] == [{**r, "text": ""} for r in nanobench]
    assert 100 < sum(a != b for a, b in zip(changed, nanobench, strict=True)) < 374
    assert transforms.one_phrasing(changed, seed=1) == changed
    with pytest.raises(FlexError, match="record 601 does not say its operations") as error:
        transforms.one_phrasing([RECORD], seed=0)
    assert "\n" not in str(error.value)


def test_without_asserts_no_training_text_has_one(nanobench):
    changed = transforms.without_asserts(nanobench, seed=1)
    assert all("assert" in "".join(training_sets.training_text(r)) for r in nanobench)
    for before, after in zip(nanobench, changed, strict=True):
        assert "assert" not in "".join(training_sets.training_text(after))
        assert training_sets.training_text(after) == (f"{before['text']}\n\n", before["code"])


def test_shuffled_answers_are_those_of_others(nanobench):
    changed = transforms.shuffled(nanobench, seed=1)
    assert sorted(r["code"] for r in changed) == sorted(r["code"] for r in nanobench)
    first = transforms.shuffled([{"code": "a"}, {"code": "b"}], seed=0)
    assert [r["code"] for r in first] == ["b", "a"]


def test_an_unknown_transform_is_refused(nanobench):
    with pytest.raises(
        FlexError, match=r"unknown data\.transform 'upside-down'; there are shuffled-alike"
    ):
        transforms.transformed(nanobench, "upside-down", seed=1)


def test_a_toy_transform_is_a_row(nanobench, monkeypatch):
    monkeypatch.setitem(
        transforms.TRANSFORMS, "toy", lambda records, seed: [{**r, "text": "toy"} for r in records]
    )
    assert {r["text"] for r in transforms.transformed(nanobench, "toy", seed=1)} == {"toy"}
