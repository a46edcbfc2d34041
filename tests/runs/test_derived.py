"""Tables that are kept on disk: the same as made, and never those of other files."""

from __future__ import annotations

import os

import pandas as pd
import pytest

from flexlib.runs import derived


class Maker:
    """Makes a table of a folder's files, and counts how often it was asked to."""

    def __init__(self, folder):
        self.folder, self.made = folder, 0

    def __call__(self) -> pd.DataFrame:
        self.made += 1
        texts = [path.read_text() for path in sorted(self.folder.rglob("*.csv"))]
        return pd.DataFrame({"text": pd.Categorical(texts), "value": range(len(texts))})


@pytest.fixture
def make(tmp_path, monkeypatch):
    """What makes a table of a store of two files, which is the project's own."""
    runs = tmp_path / "data" / "runs"
    for name in ("one", "two"):
        (runs / name).mkdir(parents=True)
        (runs / name / "verdicts.csv").write_text(name)
    monkeypatch.setattr(derived, "_STORE", runs)
    monkeypatch.setattr(derived, "_MADE_OF", (tmp_path / "data",))
    monkeypatch.setattr(derived, "_FOLDER", tmp_path / "kept")
    return Maker(runs)


def asked(make, name="verdicts", question=None) -> pd.DataFrame:
    table = derived.kept(name, make.folder, question, make)
    pd.testing.assert_frame_equal(table, Maker(make.folder)())
    return table


def test_a_table_is_made_once(make):
    for _ in range(3):
        asked(make)
    assert make.made == 1
    asked(make, question="nano")
    asked(make, name="training")
    assert make.made == 3
    asked(make)
    assert make.made == 3


def _same_size_and_time(runs):
    path = runs / "one" / "verdicts.csv"
    before = path.stat()
    path.write_text("eno")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize(
    "change",
    [
        lambda runs: (runs / "one" / "verdicts.csv").write_text("other"),
        _same_size_and_time,
        lambda runs: (runs / "two" / "verdicts.csv").unlink(),
        lambda runs: (runs / "two").rename(runs / "a"),
        lambda runs: (runs.parent / "claims.yml").write_text("claims: []"),
    ],
    ids=["written", "of equal size and time", "removed", "renamed", "registered"],
)
def test_what_changes_is_made_anew(make, change):
    asked(make)
    change(make.folder)
    asked(make)
    assert make.made == 2


@pytest.mark.parametrize("content", [b"", b"\x80\x05", b"cos\nsystem\n."])
def test_a_damaged_file_is_made_anew(make, content):
    asked(make)
    [path] = derived._FOLDER.iterdir()
    path.write_bytes(content)
    asked(make)
    asked(make)
    assert make.made == 2


def test_one_table_is_kept_of_each(make):
    asked(make)
    (make.folder / "one" / "verdicts.csv").write_text("other")
    asked(make)
    assert len(list(derived._FOLDER.iterdir())) == 1


def test_a_store_of_ones_own_is_read_every_time(make, tmp_path, monkeypatch):
    monkeypatch.setattr(derived, "_STORE", tmp_path / "another")
    asked(make)
    asked(make)
    assert make.made == 2 and not derived._FOLDER.exists()


def test_where_nothing_can_be_kept_the_table_is_made(make, monkeypatch):
    monkeypatch.setattr(derived, "_FOLDER", make.folder / "one" / "verdicts.csv" / "kept")
    asked(make)
    asked(make)
    assert make.made == 2


def test_what_fails_is_not_kept(make):
    def fail():
        raise ValueError("a corrupt run")

    with pytest.raises(ValueError, match="a corrupt run"):
        derived.kept("verdicts", make.folder, None, fail)
    asked(make)
    assert make.made == 1
