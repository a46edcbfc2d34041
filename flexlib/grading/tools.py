"""The tools of each language: found on this machine, and shown to the sandbox."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from flexlib.errors import FlexError
from flexlib.grading.sandbox import INSIDE, Tools, cache_folder, digest
from flexlib.tasks.languages import LANGUAGES, Guarded, Joint, Language

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
        "typescript": typescript_tools,
    }
    return makers[language]()


def joint_tools(language: Language, how: Guarded | Joint) -> Tools:
    """The commands of a language whose program and tests run in one process."""
    source = f"program{language.suffix}"

    def inside(command: tuple[str, ...]) -> list[str]:
        if command[0].startswith("./"):  # what the check has made
            return list(command)
        program = find(command[0], language.package, system=True)
        if not str(program).startswith("/usr/"):
            raise FlexError(
                f"{command[0]} must be the system's, below /usr, not {program}: "
                f"run `sudo apt-get install {language.package}`"
            )
        return [str(program), *(word.replace("{source}", source) for word in command[1:])]

    commands: dict[str, Any] = {
        "guarded": isinstance(how, Guarded),
        "suffix": language.suffix,
        "run": inside(how.run),
        "check": inside(how.check) if how.check else None,
    }
    if isinstance(how, Joint):
        commands |= {
            "wrong": re.escape(how.wrong),
            "wrong_code": None,
            "builds": False,
            "limits": {},
        }
        return Tools({}, {"joint": {language.name: commands}})
    find(language.version[0], language.package, system=True)
    if how.needs and not os.path.exists(how.needs[0]):
        raise FlexError(f"there is no {how.needs[0]}: run `sudo apt-get install {how.needs[1]}`")
    commands["wrong_code"], commands["wrong"] = how.wrong
    commands |= {"builds": how.builds, "proc": how.proc, "environment": dict(how.environment)}
    # Their run-times reserve more than they use: what is used is looked at.
    commands["limits"] = {"address_space": 0}
    binds = {folder: folder for folder in how.binds if os.path.exists(folder)}
    if language.name in PREPARED:
        binds |= PREPARED[language.name]()
    return Tools(binds, {"joint": {language.name: commands}})


SYSTEM_PATH = "/usr/bin:/bin"


def locate(command: str, system: bool = False) -> str | None:
    """The path of ``command``; the system's first if ``system`` is set, as the sandbox sees no other."""
    return (system and shutil.which(command, path=SYSTEM_PATH)) or shutil.which(command)


def find(command: str, package: str, system: bool = False) -> Path:
    """The real path of what ``locate`` finds. Raises FlexError that names the Debian ``package``."""
    found = locate(command, system)
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


def typescript_tools() -> Tools:
    """What JavaScript needs, and the compiler's library."""
    tools = javascript_tools()
    library = find("tsc", "node-typescript").parent.parent / "lib"
    if not (library / "typescript.js").is_file():
        raise FlexError(f"there is no typescript.js in {library}: TypeScript 3 to 6 has it")
    inside = str(library)
    if not inside.startswith("/usr/"):
        inside = "/flex/typescript"
        tools.binds[str(library)] = inside
    node = tools.config["javascript"]["judge"][0]
    tools.config["typescript"] = {"judge": [node, "/flex/code/typescript.js", inside]}
    return tools


#: What the program, its tests and the code that guards the word import, with all that these import.
GO_PACKAGES = ("bufio", "bytes", "fmt", "math", "os", "strconv", "testing", "unicode")

#: As ``go test`` does: compile, look for a few mistakes, link.
GO_BUILD = """set -e
tools={tools}
sed "s|@|$1/library|" "$1/imports" > imports
sed "s|@|$1/library|g" "$1/vet.cfg" > vet.cfg
"$tools/compile" -p tested -importcfg imports -pack -o tested.a guard.go program.go
"$tools/vet" -atomic -bool -buildtags -errorsas -ifaceassert -nilfunc -printf -stringintconv vet.cfg
echo "packagefile tested=tested.a" >> imports
"$tools/compile" -p main -importcfg imports -pack -o main.a main.go
"$tools/link" -importcfg imports -s -w -o program main.a
"""


def go_tools() -> dict[str, str]:
    """Binds of a folder with the compiled standard library and a script that builds a program."""
    go = find("go", "golang-go", system=True)
    root = Path(_run([str(go), "env", "GOROOT"], "go env").strip())
    version = _run([str(go), "version"], "go version")
    real = Path(os.path.realpath(root))
    shown = str(real) if str(real).startswith("/usr/") else "/flex/goroot"
    folder = next((real / "pkg/tool").glob("*"), None)
    if folder is None or not (folder / "vet").exists():
        raise FlexError(
            f"there are no compiler and vet in {real}/pkg/tool: Go 1.19 to 1.24 has them"
        )
    tools = f"{shown}/pkg/tool/{folder.name}"

    def make(target: Path) -> None:
        wanted = [*GO_PACKAGES, "testing/internal/testdeps"]
        form = "{{if .Export}}{{.ImportPath}}={{.Export}}{{end}}"
        listed = _run([str(go), "list", "-deps", "-export", "-f", form, *wanted], "go list")
        (target / "library").mkdir()
        imports = {}
        for number, line in enumerate(filter(None, listed.splitlines())):
            name, _, path = line.partition("=")
            shutil.copyfile(path, target / f"library/{number}.a")
            imports[name] = f"@/{number}.a"
        text = "".join(f"packagefile {name}={path}\n" for name, path in imports.items())
        (target / "imports").write_text(text)
        checked = {
            "ID": "tested",
            "Compiler": "gc",
            "ImportPath": "tested",
            "GoFiles": ["guard.go", "program.go"],
            "ImportMap": {name: name for name in imports},
            "PackageFile": imports,
            "Standard": dict.fromkeys(imports, True),
            "VetxOutput": "facts",
        }
        (target / "vet.cfg").write_text(json.dumps(checked))
        (target / "build").write_text(GO_BUILD.format(tools=tools))

    name = "go-" + digest(version, GO_BUILD, " ".join(GO_PACKAGES), tools)
    binds = {str(cache_folder(name, make)): "/flex/go"}
    if shown != str(real):
        binds[str(real)] = shown
    return binds


#: Languages that need more than commands and folders: what makes it, and gives its binds.
PREPARED = {"go": go_tools}
