"""GGUF files as bases: the same numbers, the same identity everywhere, and nothing half-made."""

from __future__ import annotations

import shutil

import pytest
import tiny
import torch

from flexlib import cli, config
from flexlib.errors import FlexError
from flexlib.models import bases, files, gguf
from flexlib.runs import preflight
from flexlib.runs.machine import Machine


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return tiny.make_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf")


@pytest.fixture(scope="module")
def folder(file, tmp_path_factory):
    return gguf.dequantised(file, cache=tmp_path_factory.mktemp("cache"))


def test_the_folder_holds_the_files_weights_in_bf16(folder):
    model = bases.load_model(folder, "bf16", "cpu")
    expected = tiny.qwen().state_dict()
    found = model.state_dict()
    assert found.keys() == expected.keys()
    assert any("q_proj.bias" in name for name in found)
    for name, weight in expected.items():
        assert torch.equal(found[name], weight.to(torch.bfloat16)), name


def test_a_file_without_a_head_has_its_embedding_for_one(tmp_path):
    file = tiny.make_gguf(tmp_path / "tied.gguf", tied=True)
    model = bases.load_model(gguf.dequantised(file, cache=tmp_path / "cache"), "bf16", "cpu")
    embedding = tiny.qwen(tied=True).get_input_embeddings().weight.to(torch.bfloat16)
    assert torch.equal(model.get_input_embeddings().weight, embedding)
    assert torch.equal(model.get_output_embeddings().weight, embedding)


def test_an_answer_can_end_in_each_of_the_ends_and_the_tokenizer_is_the_files(folder):
    tokenizer = bases.load_tokenizer(folder)
    model = bases.load_model(folder, "bf16", "cpu")
    ends = [tokenizer.convert_tokens_to_ids(t) for t in ("<|im_end|>", "<|endoftext|>")]
    assert model.generation_config.eos_token_id == ends
    assert tokenizer.eos_token_id == ends[0] and tokenizer.pad_token_id == ends[1]
    text = "def add_one(n: int) -> int:\n    return n + 1\n"
    ids = tokenizer(text)["input_ids"]
    assert tokenizer.decode(ids) == text  # and nothing before it: Qwen has no BOS


def test_the_identity_is_the_files_on_every_machine(file, folder, tmp_path):
    again = gguf.dequantised(file, cache=tmp_path / "cache")
    assert bases.digest(again) == bases.digest(folder)
    copy = shutil.copytree(folder, tmp_path / "copy")
    assert bases.digest(copy) == bases.digest(folder)
    tokenizer = copy / "tokenizer.json"
    tokenizer.write_text(tokenizer.read_text() + " ")  # no longer what was made of the file
    assert bases.digest(copy) == files.files_digest(copy) != bases.digest(folder)


def test_it_is_dequantised_once_and_again_if_it_was_altered(file, tmp_path, monkeypatch):
    folder = gguf.dequantised(file, cache=tmp_path)
    before = files.files_digest(folder)
    with monkeypatch.context() as patch:
        patch.setattr(gguf, "_make", lambda *args: pytest.fail("made anew"))
        assert gguf.dequantised(file, cache=tmp_path) == folder
    (folder / "config.json").write_text("{}")
    assert gguf.dequantised(file, cache=tmp_path) == folder
    assert files.files_digest(folder) == before


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda p: p.write_bytes(p.read_bytes()[:5000]), "no whole GGUF file"),
        (lambda p: p.write_bytes(b"GGML" + p.read_bytes()[4:]), "no whole GGUF file"),
        (lambda p: p.unlink(), "there is no file"),
        (lambda p: tiny.make_gguf(p, architecture="clip"), "transformers cannot read"),
        (lambda p: tiny.make_gguf(p, tokens=False), "no tokenizer"),
    ],
    ids=["truncated", "another format", "missing", "another architecture", "no tokenizer"],
)
def test_a_file_that_is_no_base_is_one_line_and_leaves_nothing(
    file, tmp_path, monkeypatch, damage, message
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    broken = shutil.copy(file, tmp_path / "broken.gguf")
    damage(broken)
    with pytest.raises(FlexError, match=message) as error:
        bases.locate("some/model", folder=broken)
    assert "\n" not in str(error.value)
    left = list((tmp_path / "flexlib").rglob("*"))
    assert left in ([], [tmp_path / "flexlib" / "gguf"])  # no lock either


def test_another_file_than_the_pinned_one_is_refused(file, tmp_path):
    altered = tmp_path / "altered.gguf"
    altered.write_bytes(file.read_bytes()[:-1] + b"\x01")
    with pytest.raises(FlexError, match="damaged or another file"):
        bases.locate("some/model", sha256=files.file_digest(file), folder=altered)


def test_too_little_disk_is_told_before_the_work(file, tmp_path, monkeypatch):
    full = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(gguf.shutil, "disk_usage", lambda path: full)
    with pytest.raises(FlexError, match=r"takes .* GB and .* has 0.0 GB: free some"):
        gguf.dequantised(file, cache=tmp_path / "cache")


@pytest.mark.parametrize("place", ["/proc/nothere", "a file"])
def test_a_cache_that_cannot_be_written_is_one_line(file, tmp_path, monkeypatch, capsys, place):
    (tmp_path / "a file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / place))
    command = ["run", "--arm", "base", "--limit", "1", "--base-model", str(file)]
    assert cli.main([*command, "--store", str(tmp_path / "runs")]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"flexlib: cannot write the cache {tmp_path / place / 'flexlib/gguf'} (")
    assert "set XDG_CACHE_HOME to a folder that can be written" in line


def test_a_run_takes_a_gguf_file(file, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    wanted = config.load("nano", "lora", 1, limit=1)
    resolved, inputs = preflight.resolve(wanted, Machine(base_model=file))
    assert resolved.base_digest == bases.digest(inputs.base)
    assert inputs.base.is_relative_to(tmp_path)
