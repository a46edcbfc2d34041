"""The sandbox: a bubblewrap container with a supervisor inside, and the way to talk to it.

The container has no network, a read-only view of the system's folders and of the few tools that
grading needs, an empty environment, and an unprivileged user. It dies with this process, also when that is
killed. Inside, every program gets a container of its own (``inside/containers.py``).
"""

from __future__ import annotations

import compileall
import hashlib
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from flexlib import disk, paths
from flexlib.errors import FlexError
from flexlib.grading.inside import wire

INSIDE = Path(__file__).parent / "inside"
NOBODY = 65534
START_SECONDS = 60.0

INSTALL_BWRAP = (
    "bubblewrap is not installed: run `sudo apt-get install bubblewrap` (Debian, Ubuntu), or grade "
    "without isolation with --unsafe-no-sandbox (only programs that you trust)"
)


@dataclass
class Tools:
    """What a language needs inside the sandbox.

    ``binds`` maps folders and files to where the sandbox shows them; ``config`` goes to the supervisor.
    """

    binds: dict[str, str] = field(default_factory=dict)
    config: dict = field(default_factory=dict)


def cache_folder(name: str, make: Callable[[Path], object]) -> Path:
    """The folder ``name`` of the user's cache, filled by ``make(folder)`` when it is not there.

    It is readable to everyone, because a grader started by root reads it as nobody.
    """
    target = paths.cache_folder() / name
    with disk.unwritable_cache_is_an_error(target.parent):
        if target.is_dir():
            return target
        with disk.folder_atomically(target) as fresh:
            make(fresh)
            for path in [fresh, *fresh.rglob("*")]:
                path.chmod(0o755 if path.is_dir() else 0o644)
    return target


def digest(*parts: str | bytes) -> str:
    """A short name of contents, for folders of the cache."""
    whole = hashlib.sha256()
    for part in parts:
        part = part.encode() if isinstance(part, str) else part
        whole.update(b"%d:" % len(part) + part)
    return whole.hexdigest()[:16]


def _code_folder() -> Path:
    """A copy of the files of ``inside/`` that everyone can read."""
    files = sorted(path for path in INSIDE.iterdir() if path.is_file())
    version = sys.version.encode()  # of which the compiled files are
    name = digest(version, *(path.name.encode() + path.read_bytes() for path in files))

    def make(folder: Path) -> None:
        for path in files:
            shutil.copyfile(path, folder / path.name)
        compileall.compile_dir(folder, quiet=1)

    return cache_folder(f"inside-{name}", make)


def _python(sandboxed: bool) -> tuple[str, dict[str, str]]:
    """The base interpreter as the sandbox sees it, and the binds that it takes."""
    executable = os.path.realpath(getattr(sys, "_base_executable", sys.executable))
    prefix = os.path.realpath(sys.base_prefix)
    if not sandboxed or prefix.startswith("/usr"):
        return executable, {}
    inside = f"/flex/python/bin/python{sys.version_info.major}.{sys.version_info.minor}"
    binds = {executable: inside, f"{prefix}/lib": "/flex/python/lib"}
    # An interpreter that is linked to its own library by an absolute path finds it here. Alone:
    # other libraries beside it would be taken by the tools of other languages.
    for library in Path(prefix, "lib").glob("libpython*.so*"):
        binds[str(library)] = f"{PYTHON_LIBRARY}/{library.name}"
    return inside, binds


PYTHON_LIBRARY = "/flex/python-library"
SYSTEM = ["/etc/alternatives", "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d"]


def _bwrap(binds: dict[str, str], hidden: list[str], *options: str) -> list[str]:
    command = ["bwrap", "--die-with-parent", "--unshare-pid", "--unshare-ipc", "--unshare-uts"]
    command += ["--perms", "0755", "--dir", "/flex", "--perms", "0755", "--dir", "/etc"]
    for folder in ("bin", "lib", "lib32", "lib64", "libx32", "sbin"):
        if os.path.islink(f"/{folder}"):
            command += ["--symlink", f"usr/{folder}", f"/{folder}"]
        elif os.path.isdir(f"/{folder}"):
            command += ["--ro-bind", f"/{folder}", f"/{folder}"]
    command += ["--ro-bind", "/usr", "/usr"]
    made = set()
    for source, target in sorted(binds.items(), key=lambda item: item[1]):
        for parent in reversed(Path(target).parents[:-1]):
            if str(parent) not in made and parent != Path("/flex") and parent != Path("/etc"):
                command += ["--perms", "0755", "--dir", str(parent)]
                made.add(str(parent))
        command += ["--ro-bind", source, target]
    for folder in hidden:
        command += ["--tmpfs", folder]
    return [*command, *options]


def sandbox_command(binds: dict[str, str], hidden: list[str]) -> list[str]:
    """The command before the command: bubblewrap with everything set.

    Started by root, it first becomes nobody, in a view of the same folders (which may lie where
    nobody could not go): limits on processes do not bind root, and root's files are not for it.
    """
    system = {path: path for path in SYSTEM if os.path.exists(path)}
    system |= {str(path): str(path) for path in Path("/etc").glob("java-*-openjdk")}
    binds = binds | system
    command: list[str] = []
    if os.getuid() == 0:
        outer = ["--bind", "/proc", "/proc", "--dev-bind", "/dev", "/dev", "--tmpfs", "/tmp"]
        command = _bwrap(binds, [], *outer)
        command += ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
        command += ["--inh-caps=-all", "--bounding-set=-all"]
        binds = {target: target for target in binds.values()}
    inner = ["--unshare-user", "--unshare-net", "--unshare-cgroup-try", "--new-session"]
    inner += ["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--remount-ro", "/dev"]
    inner += ["--remount-ro", "/", "--chdir", "/tmp", "--clearenv"]
    variables = environment()
    if any(Path(target).is_relative_to(PYTHON_LIBRARY) for target in binds.values()):
        variables["LD_LIBRARY_PATH"] = PYTHON_LIBRARY
    for name, value in variables.items():
        inner += ["--setenv", name, value]
    return command + _bwrap(binds, hidden, *inner)


def environment() -> dict[str, str]:
    """The whole environment of the supervisor. The hash seed is fixed: a verdict must not hang on it."""
    path = "/usr/bin:/bin"
    return {"PATH": path, "HOME": "/tmp", "LANG": "C.UTF-8", "PYTHONHASHSEED": "0"}


class Sandbox:
    """A running supervisor. ``grade`` asks it for verdicts; ``close`` ends it and all that runs in it.

    Must be closed by the thread that made it: the kernel ends the sandbox with that thread.
    """

    def __init__(self, tools: Tools, unsafe: bool = False):
        """Raises FlexError when bubblewrap is missing or this machine does not let it work."""
        if not unsafe and shutil.which("bwrap") is None:
            raise FlexError(INSTALL_BWRAP)
        python, binds = _python(sandboxed=not unsafe)
        code = str(_code_folder())
        binds = binds | tools.binds | {code: "/flex/code"}
        hidden = []
        for folder in ("site-packages", "dist-packages"):
            packages = f"lib/python{sys.version_info.major}.{sys.version_info.minor}/{folder}"
            if os.path.isdir(f"{os.path.realpath(sys.base_prefix)}/{packages}"):
                hidden.append(f"/flex/python/{packages}")
        hidden = [folder for folder in hidden if python.startswith("/flex/")]
        config = tools.config | {"unsafe": unsafe}
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        if unsafe:  # what the sandbox would show elsewhere is where it is
            shown = json.dumps(config)
            for source, target in binds.items():
                shown = shown.replace(target, source)
            config, start = json.loads(shown), f"{code}/supervisor.py"
            self._folder = tempfile.TemporaryDirectory(prefix="flexlib-grading-")
            config["folder"] = self._folder.name
            prefix = []
        else:
            start = "/flex/code/supervisor.py"
            prefix = sandbox_command(binds, hidden)
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close()
        self._process = process = subprocess.Popen(
            [*prefix, python, "-s", "-S", "-B", start, json.dumps(config)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=environment() if unsafe else {"PATH": os.environ.get("PATH", "/usr/bin:/bin")},
            start_new_session=True,  # Ctrl-C is for the grader, which then ends the sandbox
        )
        assert process.stdin and process.stdout  # both are pipes
        self._commands, self._answers = process.stdin, process.stdout
        self._lock = threading.Lock()
        try:
            trouble = self._answer(START_SECONDS).get("error")
        except wire.Gone:
            trouble = self._said()
        if trouble:
            self.close()
            raise FlexError(
                f"the sandbox does not work here ({trouble}): user namespaces must be allowed "
                "(sysctl kernel.unprivileged_userns_clone=1, user.max_user_namespaces > 0; on "
                "Ubuntu kernel.apparmor_restrict_unprivileged_userns=0), or use --unsafe-no-sandbox"
            )

    def _said(self) -> str:
        self._errors.seek(0)
        text = self._errors.read().decode("utf-8", "replace").strip()
        return " ".join(text.split())[-300:] or "it ended without a word"

    def _answer(self, seconds: float) -> dict:
        descriptor = self._answers.fileno()
        if not select.select([descriptor], [], [], seconds)[0]:
            raise wire.Gone
        return wire.receive(descriptor)

    def grade(self, job: dict, patience: float) -> dict:
        """The supervisor's answer to ``job``: verdict, detail, seconds. Waits ``patience`` seconds at most.

        Raises wire.Gone when the supervisor has ended or does not answer; the sandbox is then of no use.
        """
        with self._lock:
            wire.send(self._commands.fileno(), job)
            return self._answer(patience)

    def kill(self) -> None:
        """End the sandbox with everything in it, from any thread; ``close`` must still follow."""
        if self._process.poll() is None:
            self._process.kill()

    def close(self) -> None:
        """End the sandbox, wait for its end, and free what it held here."""
        self.kill()
        self._process.wait()
        for stream in (self._commands, self._answers, self._errors):
            stream.close()
        if self._folder is not None:
            self._folder.cleanup()
