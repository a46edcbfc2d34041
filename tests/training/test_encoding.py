"""Training texts as token ids with labels."""

from __future__ import annotations

import pytest
import tiny

from flexlib import models
from flexlib.errors import FlexError
from flexlib.training import encoding

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
    return tokenizer.decode([t for t in example["labels"] if t != encoding.IGNORED])


def test_loss_on_all_labels_every_token_and_eos(tokenizer):
    example = encoding.encode(RECORD, tokenizer, loss_on="all", max_length=512)
    assert example["labels"] == example["input_ids"]
    assert tokenizer.decode(example["input_ids"]) == TEXT + tokenizer.eos_token


def test_loss_on_completion_labels_the_code_and_eos(tokenizer):
    whole = encoding.encode(RECORD, tokenizer, loss_on="all", max_length=512)
    example = encoding.encode(RECORD, tokenizer, loss_on="completion", max_length=512)
    assert example["input_ids"] == whole["input_ids"]
    assert labelled(tokenizer, example).lstrip("\n") == RECORD["code"] + tokenizer.eos_token


def test_a_long_text_is_cut_and_then_has_no_end(tokenizer):
    example = encoding.encode(RECORD, tokenizer, loss_on="all", max_length=10)
    assert len(example["input_ids"]) == len(example["labels"]) == 10
    assert tokenizer.eos_token_id not in example["input_ids"]


def test_a_record_without_a_token_to_learn_is_refused(tokenizer):
    with pytest.raises(FlexError, match="record 601 has no token to learn"):
        encoding.encode_all([RECORD], tokenizer, loss_on="completion", max_length=10)


def test_no_records_are_refused(tokenizer):
    with pytest.raises(FlexError, match="empty"):
        encoding.encode_all([], tokenizer, loss_on="all", max_length=10)


def test_collator_pads_to_the_longest():
    rows = [{"input_ids": [5, 6, 7], "labels": [-100, 6, 7]}, {"input_ids": [8], "labels": [8]}]
    batch = encoding.collator(pad_token_id=0)(rows)
    assert batch["input_ids"].tolist() == [[5, 6, 7], [8, 0, 0]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert batch["labels"].tolist() == [[-100, 6, 7], [8, -100, -100]]
