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

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from flexlib.benchmarks import MBPP_SPLITS, read_rows
from flexlib.config import digest_of
from flexlib.errors import FlexError

IGNORED = -100  # the label that torch's cross-entropy skips

Record = dict[str, Any]  # at least task_id, text, code, test_list
Example = dict[str, list[int]]  # input_ids and labels, of one length

DATASETS = ("nanobench", "mbpp", "apps", "codesearchnet")


def load_records(dataset: str, split: str, data_dir: Path | None = None) -> list[Record]:
    """The records of a training set, in the order of their file.

    Args:
        dataset: one of ``DATASETS``.
        split: ``"train"`` or ``"validation"``.
        data_dir: a folder with the files of the training sets (see :mod:`flexlib.corpora` and
            :mod:`flexlib.benchmarks`); without it they come from the hub.

    Raises:
        FlexError: unknown dataset; files missing or incomplete; hub out of reach.
    """
    if dataset == "nanobench":
        from flexlib.nanobench import load_split

        return load_split(split)
    if dataset == "mbpp":
        return _mbpp_split(read_rows("mbpp", data_dir), split)
    if dataset in ("apps", "codesearchnet"):
        from flexlib import corpora

        return getattr(corpora, dataset)(split, data_dir)
    raise FlexError(f"unknown dataset {dataset!r}; the datasets are {', '.join(DATASETS)}")


def training_text(record: Record) -> tuple[str, str]:
    """Prompt and code of a record; their concatenation is the training text, without EOS."""
    asserts = [f"# {line}" for test in record["test_list"] for line in test.splitlines()]
    parts = [record["text"], *(["\n".join(asserts)] if record["test_list"] else [])]
    return "".join(f"{part}\n\n" for part in parts), record["code"]


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
