"""Pretraining the nano base: interrupted and resumed it gives the same weights."""

import itertools
import json

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from flexlib import models
from flexlib.errors import FlexError
from flexlib.nanobench import corpus
from flexlib.nanobench.benchmark import load_split
from flexlib.paths import NANO_BASE as BASE
from flexlib.training import pretraining as pretrain
from flexlib.training.pretraining import Documents, PretrainConfig

TINY = PretrainConfig(
    documents=240, batch=8, warmup_steps=2, hidden=16, layers=1, heads=2, intermediate=16
)


@pytest.fixture(autouse=True)
def one_thread_and_a_small_tokenizer(monkeypatch):
    monkeypatch.setattr(pretrain, "_TOKENIZER_DOCUMENTS", 2000)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_resumed_equals_uninterrupted(tmp_path, monkeypatch):
    pretrain.pretrain(tmp_path / "a", tmp_path / "whole", TINY)

    read = Documents.__getitem__
    calls = itertools.count()

    def interrupted(self, index):
        if next(calls) > 120:  # in the middle of step 16 of 30
            raise KeyboardInterrupt
        return read(self, index)

    with monkeypatch.context() as patch:
        patch.setattr(Documents, "__getitem__", interrupted)
        with pytest.raises(KeyboardInterrupt):
            pretrain.pretrain(tmp_path / "b", tmp_path / "resumed", TINY, save_steps=5)
    # A checkpoint that was cut short is not resumed from.
    (tmp_path / "b" / "checkpoints" / "checkpoint-16").mkdir()
    pretrain.pretrain(tmp_path / "b", tmp_path / "resumed", TINY, save_steps=5)

    # An unfinished base can be looked at: `flexlib run --arm base --base-model CHECKPOINT`.
    checkpoint = tmp_path / "b" / "checkpoints" / "checkpoint-30"
    assert len(models.load_tokenizer(checkpoint)) == len(models.load_tokenizer(tmp_path / "whole"))
    name = "model.safetensors"
    assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "resumed" / name).read_bytes()
    log = json.loads((tmp_path / "resumed" / "pretraining.json").read_text())
    assert log["documents"] == 240
    assert "--documents 240" in (tmp_path / "resumed" / "README.md").read_text()


def test_a_work_folder_belongs_to_one_configuration(tmp_path):
    pretrain._claim(tmp_path, TINY)
    with pytest.raises(FlexError, match="another configuration"):
        pretrain._claim(tmp_path, PretrainConfig(seed=2))


def test_the_corpus_is_the_stream_in_batches_of_like_length(tmp_path):
    tokenizer = pretrain.train_tokenizer(itertools.islice(corpus.documents(1), 2000))
    facts = pretrain._write_corpus(tmp_path / "corpus.bin", tokenizer, TINY)
    documents = Documents(tmp_path / "corpus.bin", tokenizer.eos_token_id)
    assert len(documents) == TINY.documents
    lengths = [len(documents[i]["input_ids"]) for i in range(len(documents))]
    assert sum(lengths) == facts["tokens"]
    texts = [
        tokenizer.decode(documents[i]["input_ids"], skip_special_tokens=True)
        for i in range(len(documents))
    ]
    assert sorted(texts) == sorted(itertools.islice(corpus.documents(TINY.seed), TINY.documents))
    batches = [lengths[i : i + TINY.batch] for i in range(0, len(lengths), TINY.batch)]
    padded = sum(len(batch) * max(batch) for batch in batches)
    assert padded < 1.1 * sum(lengths)


def test_leaving_out_the_mask_changes_no_loss():
    """Right padding is hidden by causality: the loss is that of each document alone."""
    tokenizer = AutoTokenizer.from_pretrained(BASE)
    model = AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.float32).eval()
    texts = list(itertools.islice(corpus.documents(3), 4))
    examples = [{"input_ids": ids, "labels": ids} for ids in tokenizer(texts)["input_ids"]]
    total = tokens = 0
    with torch.no_grad():
        together = model(**pretrain.pad_right(tokenizer.pad_token_id)(examples)).loss.item()
        for example in examples:
            ids = torch.tensor([example["input_ids"]])
            total += model(input_ids=ids, labels=ids).loss.item() * (ids.shape[1] - 1)
            tokens += ids.shape[1] - 1
    assert together == pytest.approx(total / tokens, abs=1e-5)


# The shipped base --------------------------------------------------------------------------------


def test_the_shipped_base_is_small_and_loads():
    model = AutoModelForCausalLM.from_pretrained(BASE)
    assert type(model).__name__ == "LlamaForCausalLM"
    assert model.num_parameters() <= 8_000_000
    assert sum(path.stat().st_size for path in BASE.iterdir()) <= 16_000_000
    assert (
        json.loads((BASE / "pretraining.json").read_text())["parameters"] == model.num_parameters()
    )


def test_prompts_end_where_a_token_ends():
    tokenizer = AutoTokenizer.from_pretrained(BASE)
    for split in ("train", "validation", "test"):
        for record in load_split(split):
            for language in ("python", "java", "javascript", "cpp"):
                prompt = record[f"prompt_{language}"]
                ids = tokenizer(prompt)["input_ids"]
                whole = tokenizer(prompt + record[f"reference_{language}"])["input_ids"]
                assert whole[: len(ids)] == ids
                assert tokenizer.decode(whole, skip_special_tokens=True).startswith(prompt)


def test_the_shipped_tokenizer_is_what_the_corpus_makes(monkeypatch):
    monkeypatch.undo()
    documents = itertools.islice(corpus.documents(PretrainConfig.seed), 20_000)
    made = pretrain.train_tokenizer(documents)
    assert made.get_vocab() == AutoTokenizer.from_pretrained(BASE).get_vocab()
