"""Training texts as token ids with labels.

The released loss is on every token (``loss_on="all"``), the end-of-text token included; ``"completion"``
leaves out the tokens that end before the code begins.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from flexlib.errors import FlexError
from flexlib.tasks.training_sets import Record, training_text

IGNORED = -100  # the label that torch's cross-entropy skips

Example = dict[str, list[int]]  # input_ids and labels, of one length


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
    pad_token_id: int, packing: str | None = None, *, ends: bool = False
) -> Callable[[Sequence[Example]], dict[str, Any]]:
    """A function from examples to a batch of tensors.

    It right-pads them to the longest: ids, mask, labels as (batch, length). With ``packing`` it lays
    them end to end in one row: ids, positions, labels as (1, tokens); attention keeps them apart by
    the positions, which begin anew at each, or, with ``ends``, by ``cu_seq_lens_q``, where each begins and
    ends.
    """
    import torch

    if packing:
        from transformers import DataCollatorWithFlattening

        return DataCollatorWithFlattening(return_tensors="pt", return_flash_attn_kwargs=ends)

    def collate(examples: Sequence[Example]) -> dict[str, torch.Tensor]:
        length = max(len(e["input_ids"]) for e in examples)
        rows = [(e, length - len(e["input_ids"])) for e in examples]
        return {
            "input_ids": torch.tensor([e["input_ids"] + [pad_token_id] * n for e, n in rows]),
            "attention_mask": torch.tensor([[1] * (length - n) + [0] * n for _, n in rows]),
            "labels": torch.tensor([e["labels"] + [IGNORED] * n for e, n in rows]),
        }

    return collate
