"""A line a minute where standard error is a file, a bar where it is a terminal."""

from __future__ import annotations

import os
import pty
import sys
import termios

import pytest

from flexlib import progress


@pytest.fixture
def clock(monkeypatch) -> list[float]:
    """The time, to be set."""
    now = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_a_file_gets_a_line_a_minute_and_the_last_state(clock, capfd):
    with progress.bar("train lora seed 1", "step", 282, initial=10) as bar:
        for _ in range(40):
            clock[0] += 4
            bar.set_postfix(loss="1.234", refresh=False)
            bar.update()
    out, err = capfd.readouterr()
    assert not out
    lines = err.splitlines()
    assert [line.split(" [")[0] for line in lines] == [
        f"train lora seed 1: {n}/282" for n in (25, 40, 50)
    ]
    # 15 steps in a minute: those of an earlier process took none of it.
    assert lines[0].endswith("[01:00<17:08,  4.00s/step, loss=1.234]")


def test_what_is_done_within_a_minute_leaves_no_line(clock, capfd):
    bar = progress.bar("grading", "program")
    bar.update(100)
    clock[0] += 59
    bar.update(100)
    bar.close()
    assert capfd.readouterr() == ("", "")


def test_without_a_total_the_count_and_the_speed_are_said(clock, capfd):
    bar = progress.bar("grading", "program")
    clock[0] += 120
    bar.update(480)
    bar.close()
    assert capfd.readouterr().err == "grading: 480program [02:00,  4.00program/s]\n"


def test_silence_is_silent_after_any_time(clock, capfd):
    with progress.bar("train", "step", 10, show=False) as bar:
        clock[0] += 1000
        bar.update()
    assert capfd.readouterr() == ("", "")


def test_a_terminal_gets_a_bar(monkeypatch):
    leader, follower = pty.openpty()
    termios.tcsetwinsize(follower, (24, 80))
    with os.fdopen(follower, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        with progress.bar("train", "step", 2) as bar:
            bar.update(2)
        terminal.flush()
        shown = ""
        while "\n" not in shown:
            shown += os.read(leader, 4096).decode()
    os.close(leader)
    assert "\r" in shown and "100%|" in shown and "2/2" in shown
