"""Order, parallel work, the second try alone, and harness errors."""

import importlib
import os
import subprocess
import sys
import threading
from typing import ClassVar

import pytest
from grading_helpers import judge, judge_all

from flexlib.errors import FlexError
from flexlib.grading import Program, grade, pool, sandbox
from flexlib.grading.inside import wire


def program(name: str, completion: str = "def f(): return 1\n") -> Program:
    return Program(name, "python", "", completion, "assert f() == 1")


def test_verdicts_come_in_the_order_of_the_programs():
    slow = "import time\ntime.sleep(0.3)\ndef f(): return 1\n"
    programs = [program(str(i), slow) if i % 3 == 0 else program(str(i)) for i in range(12)]
    verdicts = judge_all(programs, workers=3)
    assert [v.id for v in verdicts] == [p.id for p in programs]
    assert all(v.passed for v in verdicts)


def test_programs_are_read_only_as_far_as_they_are_needed():
    read = []

    def endless():
        while True:
            read.append(len(read))
            yield program(str(len(read)))

    verdicts = grade(endless(), workers=1, progress=False)
    assert [next(verdicts).id for _ in range(3)] == ["1", "2", "3"]
    assert len(read) < 20
    verdicts.close()


def test_no_programs_no_verdicts():
    assert judge_all([]) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"language": "perl"}, "unknown language"),
        ({"completion": None}, "its completion is no text"),
    ],
)
def test_a_bad_program_is_refused(change, message):
    fields = {"id": "p", "language": "python", "prompt": "", "completion": "", "tests": ""}
    with pytest.raises(FlexError, match=message):
        judge_all([Program(**fields | change)])


@pytest.mark.parametrize("options", [{"timeout": 0}, {"timeout": float("nan")}, {"workers": -1}])
def test_bad_options_are_refused(options):
    with pytest.raises(FlexError):
        judge_all([program("p")], **options)


class FakeSandbox:
    """Stands in for a sandbox: answers with what ``script`` says for each call."""

    calls: ClassVar[list] = []
    script: ClassVar[list] = []

    def __init__(self, tools, unsafe=False):
        pass

    def grade(self, job, patience):
        self.calls.append(job["alone"])
        answer = self.script.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return {"verdict": answer, "detail": "", "seconds": 0.0}

    def close(self):
        pass

    kill = close


@pytest.fixture
def fake(monkeypatch):
    monkeypatch.setattr(pool, "Sandbox", FakeSandbox)
    FakeSandbox.calls, FakeSandbox.script = [], []
    return FakeSandbox


def test_a_timeout_is_tried_again_alone(fake):
    fake.script = ["timeout", "pass"]
    assert judge_all([program("p")])[0].verdict == "pass"
    assert fake.calls == [False, True]


def test_a_timeout_alone_is_final(fake):
    fake.script = ["timeout", "timeout"]
    assert judge_all([program("p")])[0].verdict == "timeout"


def test_a_broken_sandbox_is_replaced_once(fake):
    fake.script = [wire.Gone(), "pass", wire.Gone(), wire.Gone()]
    verdicts = judge_all([program("p"), program("q")])
    assert [v.verdict for v in verdicts] == ["pass", "harness_error"]


def test_who_waits_to_be_alone_is_alone_and_goes_first():
    lock = pool.SharedLock()
    events = []
    inside = threading.Event()
    leave = threading.Event()

    def hold():
        with lock.shared():
            inside.set()
            leave.wait()
            events.append("left")

    def be_alone():
        with lock.exclusive():
            events.append("alone")

    def hold_later():
        with lock.shared():
            events.append("later")

    first = threading.Thread(target=hold)
    first.start()
    inside.wait()
    second = threading.Thread(target=be_alone)
    second.start()
    while not lock._alone:
        pass
    third = threading.Thread(target=hold_later)
    third.start()
    leave.set()
    for thread in (first, second, third):
        thread.join()
    assert events == ["left", "alone", "later"]


@pytest.fixture
def supervisor(monkeypatch):
    """A supervisor, which runs inside the sandbox, that has started nothing."""
    monkeypatch.syspath_prepend(sandbox.INSIDE)
    Supervisor = importlib.import_module("supervisor").Supervisor
    bare = Supervisor.__new__(Supervisor)
    bare.unsafe = False
    return bare


@pytest.mark.parametrize(
    ("used", "starved", "alone", "end"),
    [
        (0.5, 3.0, True, 105.0),  # its limit, and as long as it had to wait
        (0.5, 0.0, True, 102.0),  # it never had to
        (0.5, 500.0, True, 120.0),  # ten times its limit and no more
        (2.1 * os.cpu_count(), 3.0, True, 102.0),  # it had all the processors: it starves itself
        (0.5, 3.0, False, 102.0),  # others run beside it: it is tried again alone
    ],
)
def test_a_program_alone_is_not_charged_for_what_it_waited(supervisor, used, starved, alone, end):
    supervisor._processor_time = lambda: (used, starved)
    job = {"timeout": 2.0, "alone": alone}
    assert supervisor._extended(None, 100.0, job, 102.0) == end


def test_the_kernel_says_how_long_a_program_ran_and_waited(supervisor):
    """Two that never rest, on one processor: each runs while the other waits."""
    cpu = min(os.sched_getaffinity(0))
    endless = f"import os\nos.sched_setaffinity(0, {{{cpu}}})\nwhile True: pass"
    children = [subprocess.Popen([sys.executable, "-c", endless]) for _ in range(2)]
    try:
        supervisor._untrusted = lambda: [str(child.pid) for child in children]
        while min(supervisor._processor_time()) < 0.2:
            assert all(child.poll() is None for child in children)
    finally:
        for child in children:
            child.kill()
            child.wait()
    assert supervisor._processor_time() == (0, 0)  # both have ended


def test_a_timeout_names_its_limit():
    verdict = judge("python", "while True: pass\n", "assert f()", "", timeout=0.5)
    assert verdict.verdict == "timeout"
    assert "0.5 s" in verdict.detail
