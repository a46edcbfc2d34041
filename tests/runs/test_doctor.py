"""The doctor tries things out and tells what is missing."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import socket
import subprocess
import sys
import tomllib
from collections import namedtuple
from pathlib import Path

import pytest

from flexlib import cli, grading
from flexlib.errors import FlexError
from flexlib.runs import doctor


def check(name: str, ok: bool, *needed_for: str) -> doctor.Check:
    return doctor.Check(name, ok, "detail", "remedy", needed_for)


def test_what_a_profile_does_not_need_does_not_stop_it():
    checks = [check("java", True, "nano", "paper"), check("gpu", False, "paper")]
    assert doctor.can_run("nano", checks)
    assert not doctor.can_run("paper", checks)


def test_python_is_really_graded_in_the_sandbox():
    if shutil.which("bwrap") is None:
        pytest.skip("bubblewrap is not installed")
    found = doctor.check_language("python")
    assert found.ok, found.detail
    assert "Python 3" in found.detail


def test_a_grader_that_refuses_is_a_finding(monkeypatch):
    def refuse(programs, **kwargs):
        raise FlexError("bubblewrap is missing; apt install bubblewrap")

    monkeypatch.setattr(grading, "grade", refuse)
    found = doctor.check_language("java")
    assert (found.ok, found.needed_for) == (False, ("nano", "small", "paper"))
    assert "bubblewrap is missing" in found.detail


def test_a_toolchain_that_misjudges_is_a_finding(monkeypatch):
    monkeypatch.setattr(
        grading,
        "grade",
        lambda p, **k: [grading.Verdict("probe", "compile_error", "no javac", 0.1)],
    )
    found = doctor.check_language("java")
    assert not found.ok and "judged compile_error: no javac" in found.detail
    assert "apt install" in found.remedy


def test_packages_are_held_against_pyproject(monkeypatch):
    assert all(found.ok for found in doctor.check_packages())
    pyproject = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    declared = len(pyproject["project"]["dependencies"])  # without the extras
    assert [p.detail for p in doctor.check_packages()][1] == f"{declared} of {declared} as declared"
    real = doctor.importlib.metadata.version
    monkeypatch.setattr(
        doctor.importlib.metadata, "version", lambda name: "1.0" if name == "torch" else real(name)
    )
    [_, packages] = doctor.check_packages()
    assert not packages.ok and packages.detail.startswith("torch 1.0 is not ")


def test_doctor_away_from_the_repository(tmp_path):
    """As installed without -e: code and metadata, no pyproject.toml and no data beside them."""
    package = Path(doctor.__file__).parents[1]
    shutil.copytree(package, tmp_path / "flexlib", ignore=shutil.ignore_patterns("__pycache__"))
    metadata = importlib.metadata.metadata("flexlib").as_string()
    (tmp_path / "flexlib-0.dist-info").mkdir()
    (tmp_path / "flexlib-0.dist-info" / "METADATA").write_text(metadata)
    done = subprocess.run(
        [sys.executable, "-m", "flexlib", "doctor", "--store", tmp_path / "runs"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    assert "ok  packages" in done.stdout
    assert "--  nano base model" in done.stdout and "profile nano: cannot run here" in done.stdout


def test_doctor_without_flexlibs_metadata(monkeypatch):
    def unknown(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(doctor.importlib.metadata, "metadata", unknown)
    [found] = doctor.check_packages()
    assert not found.ok and "flexlib is not installed" in found.detail


def test_hub_that_answers_and_hub_that_does_not():
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        assert doctor.check_hub(address).ok
    found = doctor.check_hub(address)
    assert not found.ok and "out of reach" in found.detail and "--base-model" in found.remedy
    assert found.needed_for == ()  # local copies do as well


def test_disk(tmp_path, monkeypatch):
    usage = namedtuple("usage", "free")
    for free, nano, small, paper in [
        (2**20, False, False, False),
        (2**31, True, False, False),
        (2**33, True, True, False),
        (2**40, True, True, True),
    ]:
        monkeypatch.setattr(doctor.disk.shutil, "disk_usage", lambda path, free=free: usage(free))
        found = doctor.check_disk(tmp_path / "not yet there")
        can = [doctor.can_run(profile, [found]) for profile in doctor.PROFILES]
        assert can == [nano, small, paper]


@pytest.mark.parametrize(
    ("store", "hub", "own", "can"),
    [
        (2**31, 2**40, 2**40, ["nano", "small"]),
        (2**40, 2**29, 2**40, ["nano"]),
        (2**40, 2**40, 2**29, ["nano", "paper"]),
        (2**34, 2**35, 2**32, list(doctor.PROFILES)),
    ],
)
def test_models_are_fetched_to_other_disks_than_runs_are_stored_on(
    tmp_path, monkeypatch, store, hub, own, can
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "own"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    free = {"runs": store, "hub": hub, "own": own}
    monkeypatch.setattr(doctor.disk, "device", lambda path: path.relative_to(tmp_path).parts[0])
    monkeypatch.setattr(doctor.disk, "free_bytes", lambda path: free[doctor.disk.device(path)])
    found = doctor.check_disk(tmp_path / "runs")
    assert [p for p in doctor.PROFILES if doctor.can_run(p, [found])] == can
    assert str(tmp_path / "hub") in found.detail


def test_the_small_base_is_here_or_to_be_had(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert doctor.check_small_model(hub_answers=True).ok
    found = doctor.check_small_model(hub_answers=False)
    assert not found.ok and found.needed_for == ("small",) and "--base-model" in found.remedy
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: None)
    assert "no package gguf" in doctor.check_small_model(hub_answers=True).detail


@pytest.mark.parametrize(
    ("has_bf16", "said"), [(True, "bf16 at 800 GFLOP/s"), (False, "fp32 at 200 GFLOP/s")]
)
def test_how_long_an_arm_of_small_takes(monkeypatch, has_bf16, said):
    monkeypatch.setattr("flexlib.models.speed.multiplies_bf16", lambda: has_bf16)
    monkeypatch.setattr("flexlib.models.speed.matmul_rate", {"bf16": 800e9, "fp32": 200e9}.get)
    detail = doctor.check_speed().detail
    assert said in detail and "minutes" in detail
    assert ("does not multiply bf16" in detail) is not has_bf16


@pytest.mark.parametrize(("works", "status"), [(True, 0), (False, 1)])
def test_command_says_what_can_run(capsys, monkeypatch, works, status):
    found = [
        check("python", True, "nano"),
        check("sandbox", works, "nano"),
        check("gpu", False, "paper"),
    ]
    monkeypatch.setattr(doctor, "examine", lambda folder: iter(found))
    assert cli.main(["doctor"]) == status
    said = capsys.readouterr().out
    assert f"profile nano: {'can run' if works else 'cannot run here'}" in said
    assert "profile paper: cannot run here" in said
    assert "gpu" in said and "-> remedy" in said
