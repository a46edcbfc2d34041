"""CONTRIBUTING.md's lines for something new do what they say, as they stand there, and nothing else changes."""

from __future__ import annotations

import re
import shutil

import pytest
import tiny

from flexlib import analysis, config, paths
from flexlib.analysis import stored
from flexlib.config import adapters as kinds
from flexlib.config import layers
from flexlib.models import adapters, load_model
from flexlib.runs import doctor, store
from flexlib.runs.machine import Machine
from flexlib.tasks import languages, transforms

TEXT = (paths.ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def recipe(title: str) -> str:
    """The code under a bold heading; at most five lines."""
    code = re.search(rf"\*\*{title}\*\* .*?```\w+\n(.*?)```", TEXT, re.DOTALL)[1]
    assert len([line for line in code.splitlines() if line.strip()]) <= 5
    return code


@pytest.fixture
def follow(monkeypatch):
    """Add the recipe's row to a module's table, for one test."""

    def follow(title: str, module, table: str) -> str:
        rows = dict(getattr(module, table))
        before = set(rows)
        exec(recipe(title), {**vars(module), table: rows})
        [name] = set(rows) - before
        monkeypatch.setitem(getattr(module, table), name, rows[name])
        return name

    return follow


def test_an_arm(tmp_path, monkeypatch):
    for kind in ("profiles", "arms", "decodings"):
        shutil.copytree(layers.LAYERS / kind, tmp_path / kind)
    (tmp_path / "arms" / "half.toml").write_text(recipe("An arm"))
    monkeypatch.setattr(layers, "LAYERS", tmp_path)
    wanted = config.load("nano", "half", 1)
    assert "half" in config.arms()
    assert (wanted.adapter.kind, wanted.adapter.rank, wanted.data.size) == ("rslora", 16, 187)


def test_a_language(follow):
    name = follow("A language", languages, "LANGUAGES")
    found = doctor.check_language(name)
    assert found.ok and "GNU bash" in found.detail and languages.JOINT in found.detail


def test_a_kind_of_adapter(follow, tmp_path):
    name = follow("A kind of adapter", kinds, "ADAPTERS")
    wanted = config.load("nano", "adamw", 1, overrides=[f"adapter.kind={name}", "adapter.rank=2"])
    model = adapters.add(load_model(tiny.make_base(tmp_path), "fp32", "cpu"), wanted.adapter)
    assert any("lora_B" in n and n.endswith("bias") for n, _ in model.named_parameters())


def test_what_becomes_of_the_training_set(follow):
    name = follow("What becomes of the training set", transforms, "TRANSFORMS")
    [record] = transforms.transformed([{"text": "add", "code": ""}], name, seed=0)
    assert record["text"] == "ADD"


def test_an_analysis(follow, tmp_path):
    name = follow("An analysis of stored runs", stored, "ANALYSES")
    run = next(r for r in store.run_folders() if not store.is_compact(r))
    shutil.copytree(run, tmp_path / run.name)
    assert list(analysis.analyse(name, Machine(store=tmp_path))) == [(run.name, "made")]
    table = analysis.read(name, tmp_path)
    programs = sum(len(store.read_completions(run, b)) for b in set(table["benchmark"]))
    assert len(table) == programs and table["tokens"].min() > 0


def test_every_package_has_its_line():
    packages = {p.parent.name for p in (paths.ROOT / "flexlib").glob("*/__init__.py")}
    modules = {p.stem for p in (paths.ROOT / "flexlib").glob("*.py")} - {"__init__", "__main__"}
    table = TEXT[TEXT.index("## The house") : TEXT.index("## One run")]
    assert set(re.findall(r"`(\w+)/`", table)) - {"flexlib"} == packages
    assert modules <= set(re.findall(r"`(\w+)`", table))
