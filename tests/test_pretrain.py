"""Pretraining the nano base: interrupted and resumed it gives the same weights."""

import itertools
import json

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from flexlib.errors import FlexError
from flexlib.nanobench import corpus, load_split, pretrain
from flexlib.nanobench.pretrain import BASE, PackedTokens, PretrainConfig

TINY = PretrainConfig(
    tokens=8_000, block=32, batch=8, warmup_steps=2, hidden=16, layers=1, heads=2, intermediate=16
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

    read = PackedTokens.__getitem__
    calls = itertools.count()

    def interrupted(self, index):
        if next(calls) > 120:  # in the middle of step 16 of 31
            raise KeyboardInterrupt
        return read(self, index)

    with monkeypatch.context() as patch:
        patch.setattr(PackedTokens, "__getitem__", interrupted)
        with pytest.raises(KeyboardInterrupt):
            pretrain.pretrain(tmp_path / "b", tmp_path / "resumed", TINY, save_steps=5)
    # A checkpoint that was cut short is not resumed from.
    (tmp_path / "b" / "checkpoints" / "checkpoint-16").mkdir()
    pretrain.pretrain(tmp_path / "b", tmp_path / "resumed", TINY, save_steps=5)

    name = "model.safetensors"
    assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "resumed" / name).read_bytes()
    log = json.loads((tmp_path / "resumed" / "pretraining.json").read_text())
    assert log["tokens"] == 8_000
    assert "--tokens 8000" in (tmp_path / "resumed" / "README.md").read_text()


def test_a_work_folder_belongs_to_one_configuration(tmp_path):
    pretrain._claim(tmp_path, TINY)
    with pytest.raises(FlexError, match="another configuration"):
        pretrain._claim(tmp_path, PretrainConfig(seed=2))


def test_the_packed_corpus_is_the_stream(tmp_path):
    tokenizer = pretrain.train_tokenizer(itertools.islice(corpus.documents(1), 2000))
    facts = pretrain._write_corpus(tmp_path / "corpus.bin", tokenizer, TINY)
    blocks = PackedTokens(tmp_path / "corpus.bin", TINY.block)
    ids = torch.cat([blocks[i]["input_ids"] for i in range(len(blocks))]).tolist()
    assert len(ids) == TINY.tokens
    assert facts["documents"] == ids.count(tokenizer.eos_token_id)
    first = next(corpus.documents(TINY.seed))
    assert tokenizer.decode(ids[1 : ids.index(tokenizer.eos_token_id)]) == first


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
