"""The tools of each language: found on this machine, and shown to the sandbox."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from flexlib.errors import FlexError
from flexlib.grading.sandbox import INSIDE, Tools, cache_folder, digest

JAVATUPLES = ("/usr/share/java/javatuples.jar", "/usr/share/java/javatuples-1.2.jar")


def tools_for(language: str, unsafe: bool = False) -> Tools:
    """What the sandbox of ``language`` needs. Raises FlexError when it is not installed."""
    return {"python": Tools, "java": java_tools}[language]()


def find(command: str, package: str) -> Path:
    """The real path of ``command``. Raises FlexError that names the Debian ``package``."""
    found = shutil.which(command)
    if found is None:
        raise FlexError(f"{command} is not installed: run `sudo apt-get install {package}`")
    return Path(os.path.realpath(found))


def _run(command: list[str], what: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split())[-300:]
        raise FlexError(f"{what} failed: {said}")
    return done.stdout + done.stderr


def java_tools() -> Tools:
    """A JDK, our classes compiled by it, and javatuples (which MultiPL-E's programs import)."""
    javac = find("javac", "openjdk-17-jdk-headless")
    home = javac.parent.parent
    version = _run([str(home / "bin/java"), "-version"], "java -version")
    number = re.search(r'version "(\d+)', version)
    if number is None or int(number[1]) < 17:
        raise FlexError(f"Java 17 or newer is needed, {home} has: {version.splitlines()[0]}")
    library = next((path for path in JAVATUPLES if os.path.exists(path)), "")
    sources = sorted((INSIDE / "java").rglob("*.java"))
    name = "java-" + digest(version, library, str(home), *(path.read_bytes() for path in sources))
    here = "/flex/java"

    def make(folder: Path) -> None:
        command = [str(javac), "-nowarn", "-d", str(folder / "classes"), *map(str, sources)]
        _run(command, "compiling the grader's Java")

    classes = str(cache_folder(name, make))
    binds = {classes: here}
    inside_home = str(home)
    if not inside_home.startswith("/usr/"):
        inside_home = "/flex/jdk"
        binds[str(home)] = inside_home
    if library:
        real = os.path.realpath(library)
        binds[real] = "/flex/libraries/javatuples.jar"
        library = "/flex/libraries/javatuples.jar"
    path = ":".join(part for part in (f"{here}/classes", library) if part)
    config = {
        "java": f"{inside_home}/bin/java",
        "libraries": library,
        "judge_options": ["-cp", path],
        "candidate_options": ["-cp", path],
    }
    return Tools(binds, {"java": config})
