"""Files and folders appear whole or not at all; locks; equal data as equal bytes."""

from __future__ import annotations

import ast
import errno
from pathlib import Path

import pytest
import tiny

from flexlib import disk, formats, paths
from flexlib.errors import Busy, FlexError


def test_write_atomically_keeps_the_old_file_when_it_fails(tmp_path, monkeypatch):
    path = tmp_path / "file"
    disk.write_atomically(path, b"old")

    def fail(descriptor):
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(disk.os, "fsync", fail)
    with pytest.raises(OSError, match="broken"):
        disk.write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_another_process_made_first_stays(tmp_path):
    target = tmp_path / "folder"
    with disk.folder_atomically(target) as mine:
        (mine / "mine").touch()
        target.mkdir()
        (target / "theirs").touch()
    assert [p.name for p in target.iterdir()] == ["theirs"]
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_that_fails_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match="half"), disk.folder_atomically(tmp_path / "a") as folder:
        (folder / "half").touch()
        raise ValueError("half")
    assert list(tmp_path.iterdir()) == []


def _hold(path: Path, ready: Path) -> None:
    with disk.lock(path, "busy"):
        ready.touch()
        while True:
            pass


def test_a_killed_process_gives_its_lock_back(tmp_path):
    path, ready = tmp_path / "lock", tmp_path / "ready"
    holder = tiny.child(_hold, path, ready)
    try:
        while not ready.exists():
            assert holder.is_alive()
        with pytest.raises(Busy, match="at it"), disk.lock(path, "somebody is at it"):
            pytest.fail("two hold one lock")
    finally:
        holder.kill()
        holder.join()
    with disk.lock(path, "busy"):
        pass
    assert not path.exists()


def test_a_lock_goes_with_a_block_that_fails(tmp_path):
    with pytest.raises(ValueError, match="half"), disk.lock(tmp_path / "lock"):
        raise ValueError("half")
    assert list(tmp_path.iterdir()) == []
    with disk.lock(tmp_path / "lock", "still held"):
        pass


def test_torch_errors_of_a_full_disk_are_recognised(tmp_path):
    message = "I/O error: No space left on device (os error 28)"  # safetensors' words
    with pytest.raises(FlexError, match="no space left"), disk.full_disk_is_an_error(tmp_path):
        raise RuntimeError(message)
    with pytest.raises(RuntimeError, match="shapes"), disk.full_disk_is_an_error(tmp_path):
        raise RuntimeError("shapes do not match")


def test_compressed_rows_are_the_same_bytes_each_time():
    rows = [{"b": 1, "a": "x"}, {"a": "y", "b": 2}]
    assert formats.to_jsonl_gz(rows) == formats.to_jsonl_gz(
        [dict(reversed(r.items())) for r in rows]
    )


def test_one_module_knows_where_the_repository_lies():
    """`__file__` is climbed from in flexlib.paths alone; others may look beside themselves."""
    for path in (paths.ROOT / "flexlib").rglob("*.py"):
        if path.name == "paths.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            climbs = isinstance(node, ast.Attribute) and node.attr == "parents"
            assert not (climbs and "__file__" in ast.unparse(node)), path
