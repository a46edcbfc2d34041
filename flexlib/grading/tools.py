"""The tools of each language: found on this machine, and shown to the sandbox."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from flexlib.errors import FlexError
from flexlib.grading.sandbox import INSIDE, Tools, cache_folder, digest
from flexlib.tasks.languages import LANGUAGES, Joint, Language

JAVATUPLES = ("/usr/share/java/javatuples.jar", "/usr/share/java/javatuples-1.2.jar")

# Quick to start: the platform's classes from its archive, mapped where it wants to lie (moving it
# takes a fifth of a start), no statistics file, no attaching.
QUICK_JVM = [
    "-XX:+UnlockDiagnosticVMOptions",
    "-XX:+IgnoreUnrecognizedVMOptions",
    "-Xshare:auto",
    "-XX:ArchiveRelocationMode=0",
    "-XX:-UsePerfData",
    "-XX:+DisableAttachMechanism",
]
# Of the collectors, G1 alone maps the archive's objects as they are; the others build them anew.
SMALL_HEAP = ["-XX:+UseG1GC", "-XX:ParallelGCThreads=1", "-Xms8m"]
# Methods called by reflection stay native: the first to be called often would be compiled for it.
PLAIN_REFLECTION = [
    "-Dsun.reflect.inflationThreshold=2147483647",  # Java 17
    "-Djdk.reflect.useNativeAccessorOnly=true",  # Java 18 and later
]
COMPILER_API = "--add-exports=jdk.compiler/com.sun.tools.javac.api=ALL-UNNAMED"


def tools_for(language: str) -> Tools:
    """What the sandbox of ``language`` needs. Raises FlexError when it is not installed."""
    known = LANGUAGES[language]
    if known.judge != "apart":
        return joint_tools(known, known.judge)
    makers = {
        "python": Tools,
        "java": java_tools,
        "javascript": javascript_tools,
        "cpp": cpp_tools,
    }
    return makers[language]()


def joint_tools(language: Language, how: Joint) -> Tools:
    """The commands of a language whose program and tests run in one process."""

    def inside(command: tuple[str, ...]) -> list[str]:
        program = find(command[0], language.package)
        if not str(program).startswith("/usr/"):
            raise FlexError(f"{command[0]} must be the system's, below /usr, not {program}")
        return [str(program), *command[1:]]

    commands = {
        "suffix": language.suffix,
        "run": inside(how.run),
        "check": inside(how.check) if how.check else None,
        "wrong": how.wrong,
    }
    return Tools(config={"joint": {language.name: commands}})


def find(command: str, package: str) -> Path:
    """The real path of ``command``. Raises FlexError that names the Debian ``package``."""
    found = shutil.which(command)
    if found is None:
        raise FlexError(f"{command} is not installed: run `sudo apt-get install {package}`")
    return Path(os.path.realpath(found))


def _run(command: list[str], what: str) -> str:
    done = subprocess.run(command, check=False, capture_output=True, text=True, errors="replace")
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
        command = [
            str(javac),
            "-nowarn",
            "-XDstringConcat=inline",
            COMPILER_API,
            "-d",
            str(folder / "classes"),
            *map(str, sources),
        ]
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
    start = [f"{inside_home}/bin/java", *QUICK_JVM, "-cp", path]
    # The simple compiler alone: it warms javac up in a third less processor time.
    judge = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xmx384m", COMPILER_API]
    candidate = [*SMALL_HEAP, "-Xmx512m", "-XX:MaxMetaspaceSize=128m", *PLAIN_REFLECTION, "-ea"]
    config = {
        "judge": [*start, *judge, "flex.Judge", library],
        "candidate": [*start, *candidate, "flex.Candidate"],
    }
    return Tools(binds, {"java": config})


def javascript_tools() -> Tools:
    """Node, 18 or newer."""
    node = find("node", "nodejs")
    version = _run([str(node), "--version"], "node --version").strip()
    if int(version.lstrip("v").split(".")[0]) < 18:
        raise FlexError(f"Node 18 or newer is needed, {node} is {version}")
    binds, inside = {}, str(node)
    if not inside.startswith("/usr/"):
        inside = "/flex/node"
        binds[str(node)] = inside
    code = "/flex/code"
    config = {
        "judge": [inside, f"{code}/judge.js"],
        "candidate": [inside, "--max-old-space-size=512", f"{code}/candidate.js"],
    }
    return Tools(binds, {"javascript": config})


def cpp_tools() -> Tools:
    """g++, and our header compiled ahead: it includes the standard library."""
    compiler = find("g++", "g++")
    version = _run([str(compiler), "--version"], "g++ --version")
    if not str(compiler).startswith("/usr/"):
        raise FlexError(f"g++ must be the system's, below /usr, not {compiler}")
    header = INSIDE / "flex.h"
    name = "cpp-" + digest(version, header.read_bytes())

    def make(folder: Path) -> None:
        shutil.copyfile(header, folder / "flex.h")
        command = [str(compiler), "-std=c++17", "-w", "-x", "c++-header", str(folder / "flex.h")]
        _run(command, "compiling the grader's C++ header")

    config = {
        "compile": [str(compiler), "-std=c++17", "-w", "-pipe", "-include", "/flex/cpp/flex.h"]
    }
    return Tools({str(cache_folder(name, make)): "/flex/cpp"}, {"cpp": config})
