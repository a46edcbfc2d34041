"""NanoBench: 374 training, 90 validation and 500 test tasks in four languages, and 200 harder ones.

The shapes are those of the study's real benchmarks: the training text of MBPP, the prompts and
tests of HumanEval (Python) and MultiPL-E (Java, JavaScript, C++). Splits are disjoint by
composition, and so is the pretraining corpus. Tests are inputs on which all four languages agree,
chosen so that every small mistake (`mutants`) which random inputs can reveal is revealed.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from flexlib import paths
from flexlib.errors import FlexError
from flexlib.formats import to_jsonl_gz
from flexlib.nanobench.mutants import mutants
from flexlib.nanobench.operations import AMBIGUOUS
from flexlib.nanobench.syntax import (
    BOOL,
    INT,
    LANGUAGES,
    LIST,
    Divergence,
    Lit,
    Renderer,
    camel_case,
    compile_checked,
    python_function,
)
from flexlib.nanobench.tasks import Task, sample_task

SEED = 20260406
SIZES = {"train": 374, "validation": 90, "test": 500}
REPEATS = 3  # training tasks of one composition, at most; the other splits repeat none
PLAIN_REPEATS = 10  # the same among training tasks without an ambiguous word
LARGE = 3000  # training tasks in all, with the further ones
# NanoBench-hard: tasks, by how many operations they have more than any in training.
HARD = {2: 100, 3: 100}
FOLDER = paths.NANOBENCH


def split_of(composition: str) -> str:
    """The only split that may hold this composition: train, validation, test or pretraining."""
    bucket = int.from_bytes(hashlib.sha256(composition.encode()).digest()[:4], "big") % 100
    if bucket < 18:
        return "test"
    if bucket < 24:
        return "validation"
    return "train" if bucket < 40 else "pretraining"


# Prompts, references and tests as text -------------------------------------------------------


def prompt(task: Task, language: str) -> str:
    """The text that a model completes. It ends with a line break, as the tokenizer's tokens do."""
    signature = Renderer(language).signature(task.function)
    if language == "python":
        return f'{signature}\n    """{task.sentence}\n    """\n'
    if language == "java":
        return f"import java.util.*;\nclass Problem {{\n    // {task.sentence}\n    {signature}\n"
    if language == "cpp":
        return f"#include<assert.h>\n#include<bits/stdc++.h>\n// {task.sentence}\n{signature}\n"
    return f"// {task.sentence}\n{signature}\n"


def reference(task: Task, language: str) -> str:
    """The completion of the reference solution, as far as the stop strings let it come."""
    body = Renderer(language).body(task.function)
    return body + "}\n" if language == "javascript" else body


def tests_text(task: Task, language: str, cases: list[tuple[list, Any]]) -> str:
    """The text after the completion: HumanEval's `check` or MultiPL-E's `main`."""
    renderer = Renderer(language)
    calls = [
        (", ".join(renderer.value(arg) for arg in args), renderer.value(expected))
        for args, expected in cases
    ]
    name = task.function.name
    if language == "python":
        lines = "".join(f"    assert candidate({args}) == {value}\n" for args, value in calls)
        return f"\ndef check(candidate):\n{lines}\ncheck({name})\n"
    if language == "java":
        by_value = task.function.returns in (INT, BOOL)
        form = "assert({0}({1}) == ({2}));" if by_value else "assert({0}({1}).equals({2}));"
        lines = "".join(
            f"        {form.format(camel_case(name), args, value)}\n" for args, value in calls
        )
        return f"    }}\n    public static void main(String[] args) {{\n{lines}    }}\n\n}}\n"
    if language == "cpp":
        lines = "".join(f"    assert(candidate({args}) == {value});\n" for args, value in calls)
        return f"}}\nint main() {{\n    auto candidate = {name};\n{lines}}}\n"
    lines = "".join(f"  assert.deepEqual(candidate({args}),{value});\n" for args, value in calls)
    return (
        "const assert = require('node:assert');\n\n\nfunction test() {\n"
        f"  let candidate = {camel_case(name)};\n{lines}}}\n\ntest();\n"
    )


def assert_line(task: Task, case: tuple[list, object]) -> str:
    """One visible test as MBPP writes it."""
    args = ", ".join(repr(arg) for arg in case[0]).replace("'", '"')
    return f"assert {task.function.name}({args}) == {case[1]!r}".replace("'", '"')


def description(task: Task) -> str:
    """The sentence as MBPP puts it: "Write a function to ..."."""
    return f"Write a function to {task.sentence[0].lower()}{task.sentence[1:]}"


# Tests -----------------------------------------------------------------------------------------


def _constants(node: Any) -> Iterator[int]:
    """Every integer literal in a tree."""
    if isinstance(node, Lit) and isinstance(node.value, int):
        yield int(node.value)
    elif isinstance(node, tuple):
        for item in node:
            yield from _constants(item)
    elif hasattr(node, "__dataclass_fields__"):
        for name in node.__dataclass_fields__:
            yield from _constants(getattr(node, name))


def random_input(rng: Random, type_: str, near: list[int], sign: bool) -> Any:
    """A random argument; integers are often at or beside a constant of the program."""
    low = -20 if sign else 0
    if type_ == INT:
        pick = rng.random()
        if pick < 0.4:
            return max(low, rng.choice(near) + rng.randint(-1, 1))
        return rng.randint(low, 40) if pick < 0.8 else rng.randint(0, 9999)
    if type_ == LIST:
        size = rng.choice((0, 1, 2, 3, 3, 4, 5, 6, 7))
        items = [
            max(low, rng.choice(near) + rng.randint(-1, 1))
            if rng.random() < 0.35
            else rng.randint(low, rng.choice((12, 40, 120)))
            for _ in range(size)
        ]
        if size > 2 and rng.random() < 0.3:
            items[-1] = items[0]
        return items
    letters = "aeiouaeioubcdlmnpqrstAEIOUBCDMNXYZ0123456789   "
    return "".join(rng.choice(letters) for _ in range(rng.choice((0, 1, 3, 4, 5, 6, 8))))


def _outcome(function: Callable[..., Any], args: list) -> Any:
    """The returned value, or the name of what was raised."""
    try:
        return function(*[list(arg) if isinstance(arg, list) else arg for arg in args])
    except Exception as error:  # noqa: BLE001 - a mutant may fail in any way
        return type(error).__name__


def make_tests(task: Task, rng: Random) -> tuple[list, list] | None:
    """(hidden cases, visible cases), or None where no telling tests exist.

    A case is (arguments, expected value). Hidden cases (10 to 16) kill every mutant that any of 80
    random inputs kills; the three visible ones are short and not among them.
    """
    reference_function = compile_checked(task.function)
    near = [*_constants(task.function.body), 10]
    cases = []
    for index in range(80):
        args = [
            random_input(rng, kind, near, sign=index % 2 == 0) for _, kind in task.function.params
        ]
        try:
            value = reference_function(*[list(a) if isinstance(a, list) else a for a in args])
        except Divergence:
            continue
        if (args, value) not in cases:
            cases.append((args, value))
    wanted = 2 if task.function.returns == BOOL else 4
    if len(cases) < 24 or len({repr(value) for _, value in cases}) < wanted:
        return None
    if any(len(repr(value)) > 60 for _, value in cases):
        cases = [case for case in cases if len(repr(case[1])) <= 60]
    killed: list[set] = [set() for _ in cases]
    wrong = list(mutants(task.function))
    for index, mutant in enumerate(wrong):
        function = compile_checked(mutant)
        for case_index, (args, value) in enumerate(cases):
            outcome = _outcome(function, args)
            if type(outcome) is not type(value) or outcome != value:
                killed[case_index].add(index)
    if len(set().union(*killed)) < 0.8 * len(wrong):
        return None  # a part of the program hardly matters, as in "digits less than 19"
    return _choose(task, cases, killed, rng)


def _choose(task: Task, cases: list, killed: list[set], rng: Random) -> tuple[list, list] | None:
    """Greedy cover of the killable mutants, then random cases up to ten, then visible ones."""
    left = set().union(*killed)
    rest = list(range(len(cases)))
    hidden: list[int] = []
    while left or len(hidden) < 10:
        best = max(rest, key=lambda i: len(killed[i] & left)) if left else rng.choice(rest)
        hidden.append(best)
        rest.remove(best)
        left -= killed[best]
        if len(hidden) > 16 or not rest:
            return None
    values = {repr(cases[i][1]) for i in hidden}
    rest.sort(key=lambda i: len(repr(cases[i][0])))
    short = [i for i in rest[: max(8, len(rest) // 2)] if "[]" not in repr(cases[i][0])]
    rng.shuffle(short)
    visible: list[int] = []
    for index in sorted(short, key=lambda i: sum(cases[i][1] == cases[j][1] for j in short)):
        if len(visible) < 3 and cases[index][1] not in [cases[i][1] for i in visible]:
            visible.append(index)
    visible += [i for i in short if i not in visible][: 3 - len(visible)]
    if len(visible) < 3 or len(values) < (2 if task.function.returns == BOOL else 4):
        return None
    return [cases[i] for i in hidden], [cases[i] for i in visible]


# The three splits --------------------------------------------------------------------------------


def build(seed: int = SEED) -> dict[str, list[dict]]:
    """The three splits as lists of flat records, the same for the same seed, byte for byte."""
    rng = Random(seed)
    splits: dict[str, list[dict]] = {name: [] for name in SIZES}
    seen: Counter[str] = Counter()
    while any(len(splits[name]) < size for name, size in SIZES.items()):
        task = sample_task(rng)
        split = split_of(task.composition)
        if len(splits.get(split, ())) >= SIZES.get(split, 0) or len(task.operations) < 2:
            continue
        if seen[task.composition] == (REPEATS if split == "train" else 1):
            continue
        tests = make_tests(task, rng)
        if tests is None:
            continue
        seen[task.composition] += 1
        splits[split].append(_record(task, f"NanoBench/{split}/{len(splits[split])}", *tests))
    return splits


def build_hard(train: list[dict], seed: int = SEED) -> list[dict]:
    """Tasks of more operations than any training task has, as many of each number as ``HARD`` says.

    Their programs are those that end in maps of one integer, which are more here; one frame makes half of
    a level at most. Their compositions are ones that only the test split may hold. Longer programs on lists
    are left out: most of their solutions do not fit into the context of the nano base.
    """
    rng = Random(seed)
    longest = max(len(record["operations"]) for record in train)
    seen: Counter[str] = Counter()
    levels: Counter[int] = Counter()
    frames: Counter[tuple[str, int]] = Counter()
    made: list[dict] = []
    while len(made) < sum(HARD.values()):
        # From what the longest frame needs to what one of two operations does.
        task = sample_task(rng, further=rng.randint(min(HARD), longest + max(HARD) - 2))
        level = len(task.operations) - longest
        frame = (task.composition.partition("|")[0], level)
        size = HARD.get(level, 0)
        if levels[level] >= size or frames[frame] >= size // 2 or seen[task.composition]:
            continue
        tests = make_tests(task, rng) if split_of(task.composition) == "test" else None
        if tests is None:
            continue
        seen[task.composition] += 1
        levels[level] += 1
        frames[frame] += 1
        made.append(_record(task, f"NanoBench/hard/{len(made)}", *tests))
    return made


def build_plain(train: list[dict], seed: int = SEED) -> list[dict]:
    """For each training task that has an ambiguous word, one that has none: of the same frame and with as
    many operations, its composition one that only the training split may hold.

    Some frames have few such compositions, so one may occur ``PLAIN_REPEATS`` times, with other
    constants, names and words. The records have no hidden tests: they are for training alone.
    """
    rng = Random(seed)
    kind = lambda composition, operations: (composition.partition("|")[0], len(operations))
    wanted = defaultdict(list)
    for record in train:
        if record["ambiguous"]:
            wanted[kind(record["composition"], record["operations"])].append(record["task_id"])
    seen = Counter(r["composition"] for r in train if not r["ambiguous"])
    texts = {r["text"] for r in train}
    made = {}
    while any(wanted.values()):
        task = sample_task(rng)
        waiting = wanted[kind(task.composition, task.operations)]
        plain = not AMBIGUOUS & set(task.operations)
        if not (waiting and plain and split_of(task.composition) == "train"):
            continue
        if seen[task.composition] == PLAIN_REPEATS or description(task) in texts:
            continue
        tests = make_tests(task, rng)
        if tests is None:
            continue
        seen[task.composition] += 1
        texts.add(description(task))
        replaced = waiting.pop(0)
        made[replaced] = {
            **_summary(task, replaced.replace("train", "plain"), tests[1]),
            "replaces": replaced,
        }
    return [made[record["task_id"]] for record in train if record["ambiguous"]]


def build_further(
    train: list[dict], size: int = LARGE - SIZES["train"], seed: int = SEED
) -> list[dict]:
    """As many further training tasks, by the rules of the training split: compositions that only it may
    hold, none more than ``REPEATS`` times, counted together with ``train``; no text twice.

    A smaller build is the beginning of a larger one. The records have no hidden tests: they are for
    training alone.
    """
    rng = Random(f"further {seed}")  # another stream than the splits'
    seen = Counter(r["composition"] for r in train)
    texts = {r["text"] for r in train}
    made: list[dict] = []
    while len(made) < size:
        task = sample_task(rng)
        if split_of(task.composition) != "train" or len(task.operations) < 2:
            continue
        if seen[task.composition] >= REPEATS or description(task) in texts:
            continue
        tests = make_tests(task, rng)
        if tests is None:
            continue
        seen[task.composition] += 1
        texts.add(description(task))
        made.append(_summary(task, f"NanoBench/further/{len(made)}", tests[1]))
    return made


def _record(task: Task, task_id: str, hidden: list, visible: list) -> dict:
    record = {**_summary(task, task_id, visible), "hidden_tests": len(hidden)}
    for language in LANGUAGES:
        record[f"prompt_{language}"] = prompt(task, language)
        record[f"reference_{language}"] = reference(task, language)
        record[f"tests_{language}"] = tests_text(task, language, hidden)
    return record


def _summary(task: Task, task_id: str, visible: list) -> dict:
    """What training needs of a task, and what it is made of."""
    return {
        "task_id": task_id,
        "composition": task.composition,
        "operations": list(task.operations),
        "ambiguous": sorted(set(task.operations) & AMBIGUOUS),
        "name": task.function.name,
        "text": description(task),
        "code": python_function(task.function),
        "test_list": [assert_line(task, case) for case in visible],
    }


def write(folder: Path = FOLDER, seed: int = SEED) -> None:
    """Write the splits as `<folder>/<split>.jsonl`, and the tasks of `build_plain` and `build_hard` as
    `plain.jsonl` and `hard.jsonl`."""
    folder.mkdir(parents=True, exist_ok=True)
    splits = build(seed)
    train = splits["train"]
    beside = {"plain": build_plain(train, seed), "hard": build_hard(train, seed)}
    for split, records in {**splits, **beside}.items():
        text = "".join(json.dumps(record) + "\n" for record in records)
        (folder / f"{split}.jsonl").write_text(text)


def write_further(folder: Path = FOLDER, seed: int = SEED) -> None:
    """Write the tasks of `build_further` as `<folder>/further.jsonl.gz`. It takes minutes.

    Raises:
        FlexError: the training split is not in the folder.
    """
    further = build_further(load_split("train", folder), seed=seed)
    (folder / "further.jsonl.gz").write_bytes(to_jsonl_gz(further))


@cache
def _read(path: Path) -> tuple[dict, ...]:
    command = "flexlib nanobench" + (" --further" if path.suffix == ".gz" else "")
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        return tuple(json.loads(line) for line in content.splitlines())
    except (EOFError, zlib.error, gzip.BadGzipFile, ValueError):
        raise FlexError(f"{path} is no JSON lines file; make it anew with `{command}`") from None
    except OSError as error:
        raise FlexError(
            f"cannot read {path} ({error.strerror}); make it with `{command}`"
        ) from None


def load_split(split: str, folder: Path = FOLDER) -> list[dict]:
    """The records of a split (train, validation, test) or of NanoBench-hard (hard), as shipped in
    data/nano/nanobench.

    Raises:
        FlexError: unknown split, or the file is missing or broken.
    """
    if split not in (*SIZES, "hard"):
        raise FlexError(f"unknown NanoBench split {split!r}; choose from {', '.join(SIZES)}, hard")
    return list(_read(folder / f"{split}.jsonl"))


def load_plain(folder: Path = FOLDER) -> list[dict]:
    """The training split without an ambiguous word: the tasks that have none, and in the place of each
    other the one that `build_plain` made for it.

    Raises:
        FlexError: a file is missing or broken.
    """
    made = {record["replaces"]: record for record in _read(folder / "plain.jsonl")}
    return [made.get(record["task_id"], record) for record in load_split("train", folder)]


def load_large(folder: Path = FOLDER) -> list[dict]:
    """The training split and the further training tasks, ``LARGE`` in all.

    Raises:
        FlexError: a file is missing or broken.
    """
    return [*load_split("train", folder), *_read(folder / "further.jsonl.gz")]
