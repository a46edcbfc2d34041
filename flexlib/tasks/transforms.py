"""What may become of a training set before it is trained on: one row of :data:`TRANSFORMS` each."""

from __future__ import annotations

import ast
import io
import random
import tokenize
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from flexlib.errors import FlexError
from flexlib.nanobench import phrasing
from flexlib.tasks.training_sets import Record


def subset(records: Sequence[Record], size: int | None, seed: int) -> list[Record]:
    """``size`` records, drawn by ``seed``, in their order. A smaller draw is a part of a larger one.

    Raises:
        FlexError: there are fewer.
    """
    if size is None:
        return list(records)
    if size > len(records):
        raise FlexError(f"data.size is {size} and the training set has {len(records)} records")
    order = random.Random(seed).sample(range(len(records)), len(records))
    return [records[i] for i in sorted(order[:size])]


def transformed(
    records: Sequence[Record], name: str | None, seed: int, share: float | None = None
) -> list[Record]:
    """The records after a transform; with ``share``, that share of them, drawn by ``seed``, among
    themselves, and the others as they were.

    Raises:
        FlexError: no such transform, or one that the records do not admit.
    """
    if name is None:
        return list(records)
    if name not in TRANSFORMS:
        raise FlexError(f"unknown data.transform {name!r}; there are {', '.join(TRANSFORMS)}")
    if share is None:
        return TRANSFORMS[name](records, seed)
    size = round(share * len(records))
    chosen = sorted(random.Random(seed).sample(range(len(records)), size))
    changed = TRANSFORMS[name]([records[i] for i in chosen], seed) if chosen else []
    by_place = dict(zip(chosen, changed, strict=True))
    return [by_place.get(i, record) for i, record in enumerate(records)]


def shuffled(records: Sequence[Record], seed: int) -> list[Record]:
    """Each prompt with the code of another record, as it is: the name and the signature are those of
    the other, too.

    Raises:
        FlexError: there is one record only.
    """
    if len(records) < 2:
        raise FlexError("answers are shuffled among two records at least")
    order = random.Random(seed).sample(range(len(records)), len(records))
    donors = dict(zip(order, order[1:] + order[:1], strict=True))
    return [{**r, "code": records[donors[i]]["code"]} for i, r in enumerate(records)]


def without_asserts(records: Sequence[Record], seed: int) -> list[Record]:
    """The records without the asserts that their prompts show."""
    return [{**record, "test_list": []} for record in records]


def duplicated(records: Sequence[Record], seed: int) -> list[Record]:
    """As many records, half of them copies: in the place of each comes one of the other half, drawn anew
    for each, so that some stay single and some are there several times.

    Raises:
        FlexError: there is one record only.
    """
    if len(records) < 2:
        raise FlexError("duplicates are made of two records at least; raise data.size")
    rng = random.Random(seed)
    copies = set(rng.sample(range(len(records)), len(records) // 2))
    kept = [record for i, record in enumerate(records) if i not in copies]
    return [rng.choice(kept) if i in copies else record for i, record in enumerate(records)]


def one_phrasing(records: Sequence[Record], seed: int) -> list[Record]:
    """The records with one wording for each operation and each kind of sentence, where NanoBench has
    several: the last of its catalogue.

    Raises:
        FlexError: a record that does not say its operations, as those of other training sets.
    """
    if other := next((r for r in records if "operations" not in r), None):
        raise FlexError(
            f"record {other['task_id']} does not say its operations; the transform one-phrasing is "
            "for NanoBench's training sets"
        )
    return [{**r, "text": phrasing.one_phrasing(r["text"], r["operations"])} for r in records]


def shuffled_alike(records: Sequence[Record], seed: int) -> list[Record]:
    """The same records with answers that have the format of a right one and nothing to do with the task.

    Each keeps its prompt and gets the code of another one: of the same types of parameters and result
    where there are two such records with different tasks, else of as many parameters, else of any.
    Every code is used once, and none for a task of its own kind (the same ``composition`` where records
    have one). The function takes the name that the asserts call, and its parameters those of the
    right answer unless one is in use as something else.

    Raises:
        FlexError: a code that is no Python function, or records of one task only.
    """
    rng = random.Random(seed)
    signatures = [_signature(r) for r in records]
    donors: dict[int, int] = {}
    left = list(range(len(records)))
    for key in ("types", "arity", "any"):
        groups = defaultdict(list)
        for i in left:
            groups[signatures[i][key]].append(i)
        left = []
        for members in groups.values():
            tasks = [records[i].get("composition", i) for i in members]
            if shift := _shift_to_others(tasks):
                order = _by_task(members, tasks, rng)
                donors |= zip(order, order[shift:] + order[:shift], strict=True)
            else:
                left += members
    task_of = [r.get("composition", i) for i, r in enumerate(records)]
    for i in left:  # too few to exchange among themselves: each joins a pair that suits it
        arity = signatures[i]["arity"]
        pairs = sorted(donors.items(), key=lambda p: signatures[p[1]]["arity"] != arity)
        fits = (p for p in pairs if task_of[i] not in (task_of[p[0]], task_of[p[1]]))
        if (pair := next(fits, None)) is None:
            raise FlexError(
                f"shuffled answers need other tasks to take code from, and {len(left)} records have "
                "none; raise training.train_limit"
            )
        donors |= {i: pair[1], pair[0]: i}
    return [
        {
            **record,
            "code": _renamed(records[donors[i]]["code"], signatures[donors[i]], signatures[i]),
        }
        for i, record in enumerate(records)
    ]


def _signature(record: Record) -> dict[str, Any]:
    """Name and parameters of the function that the asserts call, and keys to group records by.

    Raises:
        FlexError: there is no such function.
    """
    try:
        defined = [n for n in ast.parse(record["code"]).body if isinstance(n, ast.FunctionDef)]
        tests = ast.parse("\n".join(record["test_list"]))
    except SyntaxError:  # also of another language than Python
        defined, tests = [], ast.Module([], [])
    called = {node.id for node in ast.walk(tests) if isinstance(node, ast.Name)}
    function = next((f for f in defined if f.name in called), None)
    if function is None:
        raise FlexError(f"the code of record {record['task_id']} defines no function that it tests")
    arguments = function.args.posonlyargs + function.args.args
    types = [ast.unparse(a.annotation) if a.annotation else "" for a in arguments]
    types.append(ast.unparse(function.returns) if function.returns else "")
    return {
        "name": function.name,
        "parameters": [a.arg for a in arguments],
        "types": tuple(types),
        "arity": len(arguments),
        "any": None,
    }


def _shift_to_others(tasks: Sequence[Any]) -> int:
    """How far to turn a list that is sorted by task so that each meets another task; 0 if it cannot."""
    most = max(Counter(tasks).values())
    return most if 2 * most <= len(tasks) else 0


def _by_task(members: Sequence[int], tasks: Sequence[Any], rng: random.Random) -> list[int]:
    """In random order, but those of one task together."""
    groups = defaultdict(list)
    for i, task in rng.sample(list(zip(members, tasks, strict=True)), len(members)):
        groups[task].append(i)
    return [i for group in groups.values() for i in group]


def _renamed(code: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Code with the name and, where nothing else has theirs, the parameters of another function."""
    tokens = list(tokenize.generate_tokens(io.StringIO(code).readline))
    used = {t.string for t in tokens if t.type == tokenize.NAME}
    names = {old["name"]: new["name"]}
    parameters = dict(zip(old["parameters"], new["parameters"], strict=False))
    if not (set(parameters.values()) - set(parameters)) & used:
        names |= parameters
    lines = io.StringIO(code).readlines()  # ended by \n alone, as the tokenizer counts
    for token in reversed(tokens):  # from the end, so that places before stay where they are
        if token.type == tokenize.NAME and token.string in names:
            row, (start, end) = token.start[0] - 1, (token.start[1], token.end[1])
            lines[row] = lines[row][:start] + names[token.string] + lines[row][end:]
    return "".join(lines)


# From the records and the run's seed to as many records, each in the place of the one that it was.
Transform = Callable[[Sequence[Record], int], list[Record]]

TRANSFORMS: dict[str, Transform] = {
    "shuffled-alike": shuffled_alike,
    "shuffled": shuffled,
    "without-asserts": without_asserts,
    "duplicated": duplicated,
    "one-phrasing": one_phrasing,
}
