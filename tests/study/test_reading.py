"""What is read by eye is chosen by the registered rule, and each choice has been read."""

import hashlib
import shutil

import pandas as pd
import pytest

from flexlib import paths
from flexlib.runs import store
from flexlib.study import reading


def verdicts(passed: dict[str, dict[str, bool]]) -> pd.DataFrame:
    rows = [
        (arm, 1 if arm != "base" else 0, "b", task, 0, ok)
        for arm, of in passed.items()
        for task, ok in of.items()
    ]
    return pd.DataFrame(rows, columns=["arm", "seed", "benchmark", "task_id", "sample", "passed"])


def test_the_first_ten_of_each_kind_in_the_order_of_their_digests():
    tasks = [f"t{i}" for i in range(40)]
    base = {t: i % 2 == 0 for i, t in enumerate(tasks)}
    table = verdicts({"base": base, "lora": {t: not ok for t, ok in base.items()}})
    found = reading.chosen(table, "lora", 1)
    for change, ok in (("fixed", False), ("broken", True)):
        of = [t for t in tasks if base[t] is ok]
        expected = sorted(of, key=lambda t: hashlib.sha256(t.encode()).hexdigest())[:10]
        assert found[found["change"] == change]["task_id"].tolist() == expected


def test_programs_that_did_not_change_are_not_read():
    table = verdicts(
        {"base": {"a": True, "b": False, "c": True}, "lora": {"a": True, "b": True, "c": False}}
    )
    assert reading.chosen(table, "lora", 1)[["change", "task_id"]].values.tolist() == [
        ["fixed", "b"],
        ["broken", "c"],
    ]


def test_what_was_read_is_what_the_rule_chooses():
    read = reading.table()
    assert len(read)
    for (profile, arm, seed), of in read.groupby(["profile", "arm", "seed"]):
        chosen = reading.chosen(store.verdicts(profile=profile), arm, seed)
        keys = ["change", "benchmark", "task_id"]
        assert of[keys].values.tolist() == chosen[keys].values.tolist(), (arm, seed)


def test_lines_and_comments_are_counted(tmp_path):
    [run] = [
        r
        for r in store.run_folders()
        if store.read_config(r)["profile"] == "small"
        and store.read_config(r)["arm"] == "lora"
        and store.read_config(r)["seed"] == 1
    ]
    shutil.copytree(run, tmp_path / run.name)
    shape = reading.shape(tmp_path, profile="small").set_index("benchmark")
    texts = [r["completion"] for r in store.read_completions(paths.RUNS / run.name, "humaneval")]
    assert shape.loc["humaneval", "programs"] == len(texts) == 164
    assert (
        shape.loc["humaneval", "commented"] == sum("#" in t for t in texts) / 164
    )  # none in a string
    assert reading.shape(tmp_path, profile="nano").empty


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        ("python", "    return 1  # one\n", True),
        ("python", "        x = 1\n    return x\n  # odd indent", True),
        ("python", "    return '#' + \"it's # no\"\n", False),
        ("python", '    """A\n# string\n    """\n    return 1\n', False),
        ("python", '    """A\n    """\n    # here\n', True),
        ("python", "    # before\n    x = '''never closed\n", True),
        ("python", "    x = '''never closed\n# within\n", False),
        ("python", "    return a // b\n", False),
        ("java", "    return 1; // one\n", True),
        ("java", "    /* one */ return 1;\n", True),
        ("java", '    return "http://x" + "\\"//" + a / b;\n', False),
        ("java", "    return c == '\"' ? 1 : 2; // \"\n", True),
        ("java", '    String s = """\n  // "text"\n  """;\n', False),
        ("java", '    String s = "open // still\n    int i; // one\n', True),
        ("java", "    # no comment\n", False),
        ("lua", "-- one\n", None),
    ],
)
def test_a_comment_is_told_from_what_a_string_holds(language, text, expected):
    assert reading.has_comment(text, language) is expected
