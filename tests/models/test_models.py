"""Finding, naming and lending base models."""

from __future__ import annotations

import errno
import json
import os

import pytest
import tiny
import torch
from huggingface_hub import errors

from flexlib import config
from flexlib.errors import FlexError
from flexlib.models import adapters
from flexlib.models import bases as models
from flexlib.models import files as model_files


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny.make_base(tmp_path_factory.mktemp("base"))


def test_the_digest_of_large_files_is_remembered_until_they_change(tmp_path, monkeypatch):
    base = tiny.make_base(tmp_path / "base")
    plain = models.digest(base)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(model_files, "_LARGE", 0)
    assert models.digest(base) == plain
    with monkeypatch.context() as patch:
        patch.setattr(model_files, "_hash", lambda path: pytest.fail(f"read {path} again"))
        assert models.digest(base) == plain
    for entry in (tmp_path / "cache" / "flexlib").iterdir():  # a damaged cache is no cache
        entry.write_text("{")
    assert models.digest(base) == plain
    weights = base / "model.safetensors"
    os.utime(weights, ns=(1, 1))  # the same content
    assert models.digest(base) == plain
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    assert models.digest(base) != plain


def test_a_skeleton_has_the_modules_and_no_weights(base):
    model = models.skeleton(base)
    assert all(p.device.type == "meta" for p in model.parameters())
    whole = models.load_model(base, "fp32", "cpu")
    assert {n: p.shape for n, p in model.named_parameters()} == {
        n: p.shape for n, p in whole.named_parameters()
    }


def test_a_base_given_back_is_lent_again_as_it_was(base):
    bases = models.BaseModels()
    model = bases.take(base, "fp32", "cpu")
    ids = torch.tensor([[5, 9, 30]])
    with torch.no_grad():
        before = model(ids).logits
        adapted = adapters.add(model, config.load("nano", "lora", 1).adapter)
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.fill_(0.1)
        assert not torch.equal(adapted(ids).logits, before)
        bases.give_back(adapted)
        again = bases.take(base, "fp32", "cpu")
        assert again is model
        assert torch.equal(again(ids).logits, before)


@pytest.mark.parametrize("arm", ["prompt", "prefix"])
def test_virtual_tokens_leave_with_the_adapter(base, arm):
    """PEFT wraps the model for them, and has no way to take it apart as for other kinds."""
    bases = models.BaseModels()
    ids = torch.tensor([[5, 9, 30]])
    model = bases.take(base, "fp32", "cpu")
    with torch.no_grad():
        before = model(ids).logits
        adapted = adapters.add(model, config.load("nano", arm, 1).adapter)
        assert adapted is not model
        bases.give_back(adapted)
        again = bases.take(base, "fp32", "cpu")
        assert again is model and torch.equal(again(ids).logits, before)
        other = adapters.add(again, config.load("nano", "lora", 1).adapter)
        assert torch.equal(other(ids).logits, before)
        bases.give_back(other)
        assert bases.take(base, "fp32", "cpu") is model


def test_a_base_that_is_out_is_loaded_anew(base):
    bases = models.BaseModels()
    model = bases.take(base, "fp32", "cpu")
    assert bases.take(base, "fp32", "cpu") is not model
    bases.give_back(model)
    assert bases.take(base, "bf16", "cpu") is not model


def test_a_base_that_a_block_may_have_changed_is_not_lent_again(base):
    bases = models.BaseModels()
    with bases.lend(base, "fp32", "cpu") as first:
        pass
    with bases.lend(base, "fp32", "cpu", spoils=True) as again:
        assert again is first
    with bases.lend(base, "fp32", "cpu") as fresh:
        assert fresh is not first
    with pytest.raises(RuntimeError), bases.lend(base, "fp32", "cpu"):
        raise RuntimeError
    with bases.lend(base, "fp32", "cpu") as after:
        assert after is not fresh


def test_what_the_configuration_rules_out_is_told_before_weights_are_fetched(tmp_path, monkeypatch):
    base = tiny.make_base(tmp_path)
    asked = []

    def snapshot_download(repository, *, revision, allow_patterns, ignore_patterns=None):
        asked.append(ignore_patterns)
        return str(base)

    def refuse(folder):
        assert json.loads((folder / "config.json").read_text())["model_type"] == "llama"
        raise FlexError("no module 'query'")

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    with pytest.raises(FlexError, match="no module 'query'"):
        models.locate("some/model", before_weights=refuse)
    assert asked == [["*.safetensors", "*.bin"]]
    assert models.locate("some/model") == base
    assert asked[-1] is None


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (lambda: errors.RevisionNotFoundError.__new__(errors.RevisionNotFoundError),
         "has no such revision of some/model; check base_revision"),
        (lambda: errors.RemoteEntryNotFoundError.__new__(errors.RemoteEntryNotFoundError),
         "has no such file; check base_file"),
        (lambda: errors.LocalEntryNotFoundError("not in the cache"), "from the hub .*: connect, or"),
        (lambda: OSError(errno.ENOSPC, "No space left on device"), "no space left in "),
        (lambda: OSError("Connection reset"), r"cannot fetch some/model from the hub \(OSError\)"),
    ],
)  # fmt: skip
def test_why_a_download_failed_is_told_with_its_own_way_out(monkeypatch, error, message):
    def refuse(*args, **kwargs):
        raise error()

    monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)
    with pytest.raises(FlexError, match=message):
        models.locate("some/model")


def test_what_is_wrong_with_a_fetched_model_is_not_the_hubs_fault(tmp_path, monkeypatch):
    base = tiny.make_base(tmp_path)
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: str(base))

    def broken(folder):
        raise AttributeError("a bug")

    with pytest.raises(AttributeError, match="a bug"):
        models.locate("some/model", before_weights=broken)
