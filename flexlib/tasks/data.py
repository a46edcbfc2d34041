"""Training texts: MBPP-shaped records as token ids with labels.

One record becomes, as in the released code::

    <text>

    # assert ...
    # assert ...

    <code><EOS>

The released loss is on every token (``loss_on="all"``); ``"completion"`` leaves out the tokens that
end before the code begins.
"""

from __future__ import annotations

import ast
import io
import random
import tokenize
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from flexlib.config import digest_of
from flexlib.errors import FlexError
from flexlib.tasks.benchmarks import MBPP_SPLITS, read_rows

IGNORED = -100  # the label that torch's cross-entropy skips

Record = dict[str, Any]  # at least task_id, text, code, test_list
Example = dict[str, list[int]]  # input_ids and labels, of one length

DATASETS = ("nanobench", "mbpp", "apps", "codesearchnet")


def load_records(dataset: str, split: str, data_dir: Path | None = None) -> list[Record]:
    """The records of a training set, in the order of their file.

    Args:
        dataset: one of ``DATASETS``.
        split: ``"train"`` or ``"validation"``.
        data_dir: a folder with the files of the training sets (see :mod:`flexlib.tasks.corpora` and
            :mod:`flexlib.tasks.benchmarks`); without it they come from the hub.

    Raises:
        FlexError: unknown dataset; files missing or incomplete; hub out of reach.
    """
    if dataset == "nanobench":
        from flexlib.nanobench.benchmark import load_split

        return load_split(split)
    if dataset == "mbpp":
        return _mbpp_split(read_rows("mbpp", data_dir), split)
    if dataset in ("apps", "codesearchnet"):
        from flexlib.tasks import corpora

        return getattr(corpora, dataset)(split, data_dir)
    raise FlexError(f"unknown dataset {dataset!r}; the datasets are {', '.join(DATASETS)}")


def training_text(record: Record) -> tuple[str, str]:
    """Prompt and code of a record; their concatenation is the training text, without EOS."""
    asserts = [f"# {line}" for test in record["test_list"] for line in test.splitlines()]
    parts = [record["text"], *(["\n".join(asserts)] if record["test_list"] else [])]
    return "".join(f"{part}\n\n" for part in parts), record["code"]


def format_only(records: Sequence[Record], seed: int) -> list[Record]:
    """The same records with answers that have the format but not the meaning.

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
    if left:
        raise FlexError(
            f"format-only answers need other tasks to take code from, and {len(left)} records have "
            "none; raise training.train_limit"
        )
    return [
        {
            **record,
            "code": _renamed(records[donors[i]]["code"], signatures[donors[i]], signatures[i]),
        }
        for i, record in enumerate(records)
    ]


def digest(records: Mapping[str, Sequence[Record]]) -> str:
    """sha256 of the training texts by split: what else a record holds is of no consequence."""
    return digest_of({split: [training_text(r) for r in rows] for split, rows in records.items()})


def encode(record: Record, tokenizer: Any, *, loss_on: str, max_length: int) -> Example:
    """One record as ids and labels.

    The text is tokenised whole, so that the ids are those of the released loop, and cut at
    ``max_length``; a text that was cut gets no EOS, since it does not end there. A token that
    straddles prompt and code counts as code.
    """
    prompt, code = training_text(record)
    encoded = tokenizer(prompt + code, return_offsets_mapping=True)
    ids, offsets = encoded["input_ids"], encoded["offset_mapping"]
    ids, ends = list(ids), [end for _, end in offsets]
    if ids[-1] != tokenizer.eos_token_id:
        ids.append(tokenizer.eos_token_id)
        ends.append(len(prompt) + len(code) + 1)
    labels = [
        token if loss_on == "all" or end > len(prompt) else IGNORED
        for token, end in zip(ids, ends, strict=True)
    ]
    return {"input_ids": ids[:max_length], "labels": labels[:max_length]}


def encode_all(
    records: Sequence[Record], tokenizer: Any, *, loss_on: str, max_length: int
) -> list[Example]:
    """All records as examples.

    Raises:
        FlexError: no record, or one without a token to learn from.
    """
    if not records:
        raise FlexError(
            "the training set is empty; check training.dataset and training.train_limit"
        )
    examples = [encode(r, tokenizer, loss_on=loss_on, max_length=max_length) for r in records]
    for record, example in zip(records, examples, strict=True):
        if all(label == IGNORED for label in example["labels"][1:]):
            raise FlexError(
                f"training record {record['task_id']} has no token to learn from within "
                f"{max_length} tokens; raise training.max_length"
            )
    return examples


def collator(
    pad_token_id: int, packing: str | None = None
) -> Callable[[Sequence[Example]], dict[str, Any]]:
    """A function from examples to a batch of tensors.

    It right-pads them to the longest: ids, mask, labels as (batch, length). With ``packing`` it lays
    them end to end in one row: ids, positions, labels as (1, tokens); attention keeps them apart by
    the positions, which begin anew at each.
    """
    import torch

    if packing:
        from transformers import DataCollatorWithFlattening

        return DataCollatorWithFlattening(return_tensors="pt")

    def collate(examples: Sequence[Example]) -> dict[str, torch.Tensor]:
        length = max(len(e["input_ids"]) for e in examples)
        rows = [(e, length - len(e["input_ids"])) for e in examples]
        return {
            "input_ids": torch.tensor([e["input_ids"] + [pad_token_id] * n for e, n in rows]),
            "attention_mask": torch.tensor([[1] * (length - n) + [0] * n for _, n in rows]),
            "labels": torch.tensor([e["labels"] + [IGNORED] * n for e, n in rows]),
        }

    return collate


def _signature(record: Record) -> dict[str, Any]:
    """Name and parameters of the function that the asserts call, and keys to group records by.

    Raises:
        FlexError: there is no such function.
    """
    try:
        defined = [n for n in ast.parse(record["code"]).body if isinstance(n, ast.FunctionDef)]
    except SyntaxError:
        defined = []
    tests = ast.parse("\n".join(record["test_list"]))
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


def _mbpp_split(records: list[Record], split: str) -> list[Record]:
    first, last = MBPP_SPLITS[split]
    chosen = sorted(
        (r for r in records if first <= r["task_id"] <= last), key=lambda r: r["task_id"]
    )
    if len(chosen) != last - first + 1:
        raise FlexError(
            f"MBPP's {split} split has {last - first + 1} problems, found {len(chosen)}; "
            "download it again"
        )
    return chosen
