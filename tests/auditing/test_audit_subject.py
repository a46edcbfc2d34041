"""Which base and profile an adapter is audited with, from what it says of itself."""

from __future__ import annotations

import json
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

from flexlib import cli, config
from flexlib.auditing import cache, subject
from flexlib.errors import FlexError

SMALL = config.load("small", "base", 0)


def adapter(folder: Path, base: str | None) -> Path:
    folder.mkdir()
    about = {"peft_type": "LORA", "base_model_name_or_path": base}
    (folder / "adapter_config.json").write_text(json.dumps(about))
    (folder / "adapter_model.safetensors").write_bytes(b"")
    return folder


def asked(what: subject.Subject, **options) -> config.RunConfig:
    return subject.configuration(what, ["java"], 5, **options)


@pytest.mark.parametrize(
    ("said", "named", "profile", "expected"),
    [
        ("data/nano/base", None, None, ("nano", "data/nano/base")),
        (SMALL.base_model, None, None, ("small", SMALL.base_model)),
        ("codellama/CodeLlama-7b-hf", None, None, ("paper-corrected", "codellama/CodeLlama-7b-hf")),
        ("codellama/CodeLlama-7b-hf", None, "paper", ("paper", "codellama/CodeLlama-7b-hf")),
        ("some/model", None, None, ("small", "some/model")),
        ("some/model", None, "nano", ("nano", "some/model")),
        ("some/model", "another/model", None, ("small", "another/model")),
        (None, "data/nano/base", None, ("nano", "data/nano/base")),
    ],
)
def test_base_and_profile(tmp_path, said, named, profile, expected):
    what = subject.choose(adapter(tmp_path / "a", said), named, profile)
    assert (what.profile, what.base) == expected and what.base_folder is None
    assert asked(what).base_model == expected[1]


def test_the_profiles_own_base_keeps_its_pins_and_another_has_none(tmp_path):
    own = asked(subject.choose(adapter(tmp_path / "a", SMALL.base_model), None, None))
    assert own.base_sha256 == SMALL.base_sha256 and own.training is None
    other = asked(subject.choose(adapter(tmp_path / "b", "some/model"), None, "small"))
    assert (other.base_sha256, other.base_revision, other.base_file) == (None, None, None)


@pytest.mark.parametrize(
    "name", ["copy", "weights.gguf", "7", "true", "1e3", "2026-01-01", 'a "b" é']
)
def test_a_local_base_goes_by_its_name_and_the_adapters_profile(tmp_path, name):
    (tmp_path / name).mkdir()
    folder = adapter(tmp_path / "a", "data/nano/base")
    what = subject.choose(folder, str(tmp_path / name), None)
    assert (what.profile, what.base, what.base_folder) == ("nano", name, tmp_path / name)
    assert asked(what).base_model == name


def test_samples_and_merging_are_those_of_every_benchmark(tmp_path):
    what = subject.choose(adapter(tmp_path / "a", "codellama/CodeLlama-7b-hf"), None, "paper")
    wanted = asked(what, samples=3, merged=True)
    assert {(b.language, b.samples, b.merge_adapter) for b in wanted.benchmarks} == {
        ("java", 3, True)
    }
    assert wanted.limit == 5


@pytest.mark.parametrize(
    ("name", "said"),
    [("./gone", "no adapter folder"), ("a/b/c", "no adapter folder"), ("org/gone", "from the hub")],
)
def test_an_adapter_that_is_nowhere(name, said):
    with pytest.raises(FlexError, match=said) as told:
        subject.choose(name, None, None)
    assert "\n" not in str(told.value)


def test_an_adapter_of_the_hub_is_fetched(tmp_path, monkeypatch):
    """Its two files, and no others."""
    snapshot, asked = adapter(tmp_path / "snapshot", "data/nano/base"), []

    def download(name, *, allow_patterns):
        asked.append((name, sorted(allow_patterns)))
        return str(snapshot)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    what = subject.choose("user/name", None, None)
    assert (what.folder, what.base, what.profile) == (snapshot, "data/nano/base", "nano")
    assert asked == [("user/name", ["adapter_config.json", "adapter_model.safetensors"])]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ConnectionError("refused"), r"cannot fetch user/name from the hub \(ConnectionError\)"),
        (
            RepositoryNotFoundError.__new__(RepositoryNotFoundError),
            "the hub has no public adapter user/name; check the id, or name a local copy",
        ),
        (GatedRepoError.__new__(GatedRepoError), "user/name is gated: accept its licence"),
    ],
)
def test_an_adapter_that_the_hub_does_not_give(monkeypatch, error, said):
    def download(name, **options):
        raise error

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    with pytest.raises(FlexError, match=said) as told:
        subject.choose("user/name", None, None)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("place", ["/proc/nothere", "a file"])
def test_a_cache_that_cannot_be_written_is_said_before_an_audit(
    tmp_path, monkeypatch, capsys, place
):
    (tmp_path / "a file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / place))
    folder = adapter(tmp_path / "a", "data/nano/base")
    assert cli.main(["audit", str(folder), "--out", str(tmp_path / "report")]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert f"cannot write the cache {tmp_path / place / 'flexlib/audits'} (" in line
    assert "set XDG_CACHE_HOME" in line
    with pytest.raises(
        FlexError, match=r"cannot write the cache .*: name another store by --store"
    ):
        cache.keep(tmp_path / place / "answer.json", {})


def test_names_of_reports(tmp_path):
    assert subject.short_name("org/python-lora") == "python-lora"
    assert subject.short_name(tmp_path / "ab12" / "adapter") == "ab12"
