"""Calibration: the search finds the strength of any norm that falls with it, and a trial's row is what its
adapter holds."""

from __future__ import annotations

import dataclasses
import math
import tomllib

import pytest
import tiny

from flexlib import cli, config
from flexlib.analysis import spectra
from flexlib.config import layers
from flexlib.errors import FlexError
from flexlib.runs.machine import Machine
from flexlib.study import calibration, tuning
from flexlib.study.calibration import Trial
from flexlib.training import fourier

PROFILE = layers.LAYERS / "profiles" / "nano.toml"


def arm_of_equal_norm():
    return [
        arm
        for arm in config.arms()
        if (r := config.load("nano", arm, 1).regularizer) and r.equal_norm
    ]


# --- the search -----------------------------------------------------------------------------------

CURVES = {
    "a power": lambda s: 3 * s**-0.7,
    "a flat start": lambda s: 15 / (1 + (s / 1e-4) ** 1.5),
    "a steep end": lambda s: 15 * math.exp(-s / 1e-3) + 0.01,
    "far weaker": lambda s: 1e-4 / s,
    "far stronger": lambda s: 1e3 / s**0.8,
}


@pytest.mark.parametrize("curve", CURVES)
def test_the_search_comes_within_the_tolerance(curve, monkeypatch, tmp_path):
    norm, target, made = CURVES[curve], 5.4, []

    def trial(wanted, machine, path):
        if wanted.arm == "fourier-released":
            return Trial(wanted.arm, 0.01, target, 0.6)
        made.append(wanted.regularizer.strength)
        return Trial(wanted.arm, made[-1], norm(made[-1]), 0.6)

    monkeypatch.setattr(calibration, "_trial", trial)
    found = list(calibration.calibrate("nano", "l2-norm", None, tmp_path))
    assert found[0].arm == "fourier-released" and len(found) == len(made) + 1
    assert found[-1].norm == pytest.approx(target, rel=calibration.TOLERANCE)
    assert all(abs(norm(s) / target - 1) > calibration.TOLERANCE for s in made[:-1])
    assert made[0] == 0.01 and len(set(made)) == len(made)


def test_the_next_strength_is_the_secant_between_the_two_sides():
    """On a power law the first two trials give the exact answer."""
    tried = [(0.001, 20.0), (0.1, 2.0)]
    assert calibration.next_strength(tried, 20 / 10**0.5, 0.01) == pytest.approx(0.01)
    # A trial farther off on the same side changes nothing.
    assert calibration.next_strength([(1e-5, 21.0), *tried], 20 / 10**0.5, 0.01) == 0.01


def test_a_search_that_cannot_succeed_says_so(monkeypatch, tmp_path):
    def search(norm):
        monkeypatch.setattr(
            calibration,
            "_trial",
            lambda wanted, machine, path: Trial(
                wanted.arm,
                wanted.regularizer.strength,
                5.0 if wanted.arm == "fourier-released" else norm(wanted.regularizer.strength),
                0.6,
            ),
        )
        return list(calibration.calibrate("nano", "l2-norm", None, tmp_path))

    with pytest.raises(FlexError, match="does not move with the strength"):
        search(lambda s: 7.0)
    with pytest.raises(FlexError, match="diverged"):
        search(lambda s: math.nan)
    with pytest.raises(
        FlexError, match="within 5% of the norm of fourier-released, 5, in 8 trials"
    ):
        search(lambda s: 7.0 + 1e-3 / (1 + s) if s < 0.02 else 2.0 - 1e-3 * s)


def test_an_arm_without_a_target_is_refused(capsys):
    assert cli.main(["calibrate", "--arm", "l2-matched", "--quiet"]) == 2
    assert "no regularizer.equal_norm" in capsys.readouterr().err


# --- one trial ------------------------------------------------------------------------------------


def test_the_command_prints_the_strength_of_the_base_that_it_was_given(monkeypatch, capsys):
    """Not that of another base, whose trials the tables hold too."""
    norms = {"fourier-released": 5.0, "l2-norm": 5.1}

    def trial(wanted, machine, path):
        strength = wanted.regularizer.strength
        return Trial(wanted.arm, strength, norms[wanted.arm] * (0.01 / strength) ** 0.5, 0.6)

    monkeypatch.setattr(calibration, "_trial", trial)
    start = config.load("nano", "fourier-released", 0).regularizer.strength
    assert cli.main(["calibrate", "--arm", "l2-norm"]) == 0
    assert capsys.readouterr().out.endswith(f"[arms.l2-norm.regularizer]\nstrength = {start:g}\n\n")
    assert calibration.chosen("nano", "l2-norm") != start


def test_strengths_of_several_bases_are_not_mixed(tmp_path):
    for arm, digest in (("fourier-released", "a"), ("l2-norm", "b")):
        row = dict.fromkeys(calibration.FIELDS, "1") | {"arm": arm, "base_digest": digest}
        text = ",".join(row) + "\n" + ",".join(row.values()) + "\n"
        (tmp_path / f"nano-{arm}-norm.csv").write_text(text)
    with pytest.raises(
        FlexError, match=r"norms of l2-norm and fourier-released in .* of several bases"
    ):
        calibration.chosen("nano", "l2-norm", tmp_path)


def test_a_trial_is_a_row_that_is_read_the_second_time(monkeypatch, tmp_path):
    machine = Machine(
        base_model=tiny.make_base(tmp_path / "base"), work_dir=tmp_path / "work", progress=False
    )
    wanted = calibration._load("nano", "l2-norm", 0.001)
    wanted = dataclasses.replace(
        wanted, training=dataclasses.replace(wanted.training, train_limit=8)
    )
    seen, read = [], spectra.read_adapter
    monkeypatch.setattr(spectra, "read_adapter", lambda folder: seen.extend(read(folder)) or seen)
    path = tmp_path / "tuning" / "nano-l2-norm-norm.csv"
    made = calibration._trial(wanted, machine, path)
    monkeypatch.undo()
    squares = [float((f.scaling * f.B.double() @ f.A.double()).square().sum()) for f in seen]
    assert made.norm == pytest.approx(math.sqrt(sum(squares))) and made.norm > 0 and made.new
    assert list(machine.work_dir.iterdir()) == []
    again = calibration._trial(wanted, machine, path)
    assert again == dataclasses.replace(made, new=False)
    other = dataclasses.replace(
        wanted, regularizer=dataclasses.replace(wanted.regularizer, strength=1.0)
    )
    assert calibration._trial(other, machine, path).norm < made.norm
    rows = tuning.read_rows(path)
    assert [float(r["strength"]) for r in rows] == [0.001, 1.0]
    assert set(rows[0]) == set(calibration.FIELDS)


def test_the_profile_holds_the_strengths_that_were_found():
    held = tomllib.loads(PROFILE.read_text(encoding="utf-8"))["arms"]
    arms = arm_of_equal_norm()
    assert set(arms) >= {"l2-norm", "nuclear-norm"}
    for arm in arms:
        found = calibration.chosen("nano", arm)
        expected = {} if found is None else {"regularizer": {"strength": found}}
        assert held.get(arm, {}) == expected, "write what `flexlib calibrate` prints into nano.toml"


def test_without_a_strength_the_arm_does_not_run():
    """Strength 0 would pass for the arm under its name."""
    settings = config.load("paper", "l2-norm", 1).regularizer
    assert settings.strength == 0
    with pytest.raises(FlexError, match="flexlib calibrate") as error:
        fourier.Regularizer(settings, [])
    assert "\n" not in str(error.value)
