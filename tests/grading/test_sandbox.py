"""The sandbox keeps programs in, dies with its grader, and says so when it cannot work."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from grading_helpers import judge, judge_all

from flexlib.errors import FlexError
from flexlib.grading import Program, grade, sandbox

GRADER = """
import sys
from flexlib.grading import Program, grade
program = "import os, time\\n" \\
    "if os.fork() == 0:\\n    os.setsid()\\n    time.sleep(1000)\\n" \\
    "time.sleep(1000)\\n"
print("ready", flush=True)
list(grade([Program("it", "python", "", program, "assert f()")] * 2, timeout=500, progress=False))
"""


def descendants(root: int) -> set[int]:
    parents = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                stat = Path(f"/proc/{name}/stat").read_text()
            except OSError:
                continue
            parents[int(name)] = int(stat.rpartition(")")[2].split()[1])
    found = {root}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {root}


def wait_until(condition, seconds: float = 60.0) -> bool:
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_nothing_is_left_when_the_grader_is_killed(sent):
    grader = subprocess.Popen([sys.executable, "-c", GRADER], stdout=subprocess.PIPE, stderr=-3)
    try:
        # two sandboxes, each with a supervisor, a fork server, a waiting parent, a program and its child
        assert wait_until(lambda: len(descendants(grader.pid)) >= 14)
        started = descendants(grader.pid)
        grader.send_signal(sent)
        grader.wait(timeout=60)
        assert wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in started))
    finally:
        grader.kill()
        grader.stdout.close()


def test_nothing_is_left_when_the_verdicts_are_not_taken():
    programs = [Program("it", "python", "", "def f(): return 1\n", "assert f() == 1")] * 9
    before = descendants(os.getpid())
    verdicts = grade(programs, workers=2, progress=False)
    assert next(verdicts).passed
    verdicts.close()
    assert wait_until(lambda: descendants(os.getpid()) <= before)


def test_a_program_sees_no_file_process_or_variable_of_the_operator(tmp_path, monkeypatch):
    (tmp_path / "secret").write_text("of the operator")
    monkeypatch.setenv("SECRET_OF_THE_OPERATOR", "1")
    source = (
        "import os, socket\n"
        "def files(path): return os.path.exists(path)\n"
        "def names(): return [n for n in os.environ]\n"
        "def processes(): return [p for p in os.listdir('/proc') if p.isdigit()]\n"
        "def user(): return os.getuid()\n"
        "def interfaces(): return [n for _, n in socket.if_nameindex()]\n"
        "def writable(): return [p for p in ['/', '/usr', '/etc', '/dev', '/flex', '/proc/sys/kernel']"
        " if os.access(p, os.W_OK)]\n"
        "def capabilities(): return [l for l in open('/proc/self/status') if l.startswith('Cap')]\n"
    )
    tests = f"""
assert not files({str(tmp_path / "secret")!r})
assert not files({os.path.expanduser("~")!r})
assert not files("/etc/passwd") and not files("/home")
assert set(names()) - {{"PWD", "LD_LIBRARY_PATH"}} == {{"PATH", "HOME", "LANG", "PYTHONHASHSEED"}}
assert processes() == ["1"]
assert user() != 0
assert interfaces() == ["lo"]
assert writable() == []
assert all(line.split()[1] == "0" * 16 for line in capabilities() if "CapBnd" not in line)
"""
    verdict = judge("python", source, tests, prompt="")
    assert verdict.passed, verdict


def test_programs_run_in_the_interpreter_that_grades_them():
    source = "import sys\ndef f(): return sys.version\n"
    verdict = judge("python", source, f"assert f() == {sys.version!r}", prompt="")
    assert verdict.passed, verdict


def test_programs_share_no_file():
    source = "import os\ndef f():\n    open('/tmp/x', 'x').close()\n    return os.listdir('/tmp')\n"
    programs = [Program(str(i), "python", "", source, "assert f() == ['x']") for i in range(3)]
    assert [verdict.verdict for verdict in judge_all(programs)] == ["pass"] * 3


def test_without_bubblewrap_it_refuses_and_says_what_to_install(monkeypatch):
    which = shutil.which
    monkeypatch.setattr(shutil, "which", lambda name: None if name == "bwrap" else which(name))
    with pytest.raises(FlexError, match="apt-get install bubblewrap"):
        judge("python", "")
    good = "    return [v + k for v in x]\n"
    assert judge("python", good, unsafe_no_sandbox=True).passed


def test_where_bubblewrap_cannot_work_it_says_what_must_be_allowed(monkeypatch, tmp_path):
    broken = tmp_path / "bwrap"
    broken.write_text(
        "#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n"
    )
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(FlexError, match=r"No permissions.*unprivileged_userns_clone"):
        judge("python", "")


def test_a_cache_that_cannot_be_written_is_said(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(FlexError, match="XDG_CACHE_HOME"):
        judge("python", "")


def test_a_cache_folder_is_whole_or_absent(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def fail(folder):
        (folder / "half").write_text("x")
        raise FlexError("no compiler")

    with pytest.raises(FlexError, match="no compiler"):
        sandbox.cache_folder("thing", fail)
    assert list((tmp_path / "flexlib").iterdir()) == []
    made = sandbox.cache_folder("thing", lambda folder: (folder / "whole").write_text("x"))
    assert [path.name for path in made.iterdir()] == ["whole"]


@pytest.fixture
def open_folder():
    """A folder that every user can reach; pytest's own are closed to others."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        os.chmod(name, 0o755)
        yield Path(name)


def test_an_ordinary_user_can_grade(open_folder):
    """Root becomes nobody by itself; an ordinary user must be able to do the same work."""
    python = "/usr/bin/python3"
    if os.getuid() != 0 or not os.path.exists(python):
        pytest.skip("needs root, to become an ordinary user, and a Python that all may run")
    import tqdm

    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(sandbox.__file__).parents[1], open_folder / "flexlib", ignore=ignore)
    shutil.copytree(Path(tqdm.__file__).parent, open_folder / "tqdm", ignore=ignore)
    (open_folder / "home").mkdir()
    subprocess.run(["chmod", "-R", "a+rX", str(open_folder)], check=True)
    os.chown(open_folder / "home", 54321, 54321)
    code = (
        "from flexlib.grading import Program, grade\n"
        "p = Program('it', 'python', '', 'def f(): return 1', 'assert f() == 1')\n"
        "print([v.verdict for v in grade([p], progress=False)])\n"
    )
    command = ["setpriv", "--reuid=54321", "--regid=54321", "--clear-groups", python, "-c", code]
    env = {"HOME": f"{open_folder}/home", "PATH": "/usr/bin:/bin", "PYTHONPATH": str(open_folder)}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "['pass']", done.stderr
