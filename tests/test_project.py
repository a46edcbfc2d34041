"""The project's own files agree with each other: dependencies, pins, environments, versions."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, metadata, packages_distributions
from pathlib import Path

import jupytext
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

import flexlib
from flexlib.tasks.languages import LANGUAGES

ROOT = Path(__file__).parents[1]

OLDEST_PYTHON = "3.11.2"  # Debian 12's

# Used without an import in our code, and why.
NOT_IMPORTED = {
    "accelerate": "transformers.Trainer needs it",
    "ipykernel": "runs the notebooks",
    "jupyter-book": "builds the site",
    "pytest-xdist": "make test runs in two processes",
    "mypy": "checks the types",
    "ruff": "checks the style",
    "types-pyyaml": "mypy needs it",
    "types-tqdm": "mypy needs it",
    "papermill": "runs one notebook; finds our reader by its entry point",
    "sphinx-book-theme": "the theme",
    "tabulate": "pandas.DataFrame.to_markdown needs it",
}


@pytest.fixture(scope="module")
def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def requirements(project) -> dict[str, Requirement]:
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    return {
        canonicalize_name(r.name): r
        for group in groups
        for r in (Requirement(text) for text in group)
    }


@pytest.fixture(scope="module")
def pins() -> dict[str, Version]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pairs = (line.split("==") for line in lines if not line.startswith("#"))
    return {canonicalize_name(name): Version(version) for name, version in pairs}


def test_every_requirement_is_pinned_within_its_range(requirements, pins):
    for name, requirement in requirements.items():
        assert name in pins, f"{name} is not in constraints.txt: make constraints"
        assert requirement.specifier.contains(pins[name], prereleases=True)


def test_pins_admit_the_oldest_python(pins):
    for name, pin in pins.items():
        try:
            installed = metadata(name)
        except PackageNotFoundError:
            continue
        python = installed.get("Requires-Python")
        if Version(installed["Version"]) == pin and python:
            assert SpecifierSet(python).contains(OLDEST_PYTHON), name


def test_pins_leave_the_build_of_torch_to_the_machine(pins):
    assert pins["torch"].local is None


def test_environment_yml_agrees_with_the_pins(project, pins):
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    conda = [entry for entry in environment["dependencies"] if isinstance(entry, str)]
    pip = next(entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict))
    python = next(entry.split("=")[1] for entry in conda if entry.startswith("python="))
    assert Requirement(f"python{project['requires-python']}").specifier.contains(python)
    assert "--constraint constraints.txt" in pip
    extras = next(re.search(r"\.\[(.*)\]", line) for line in pip if line.startswith("--editable"))
    assert set(extras[1].split(",")) == set(project["optional-dependencies"])
    exact = [Requirement(line) for line in pip if not line.startswith("--")]
    assert [r.name for r in exact] == ["torch"]
    for requirement in exact:
        assert requirement.specifier == Requirement(f"x=={pins[requirement.name]}").specifier


def test_environment_yml_has_every_tool_that_the_makefile_installs():
    tools = {"bwrap"} | {known.version[0] for known in LANGUAGES.values() if not known.optional}
    conda_package = {"javac": "openjdk", "bwrap": "bubblewrap", "node": "nodejs", "g++": "gxx"}
    conda_package["python3"] = "python"
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    names = {re.split("[=<>]", e)[0] for e in environment["dependencies"] if isinstance(e, str)}
    assert tools == set(conda_package)
    assert set(conda_package.values()) <= names


def test_the_optional_tools_are_offered_and_not_asked_for():
    text = (ROOT / "environment.yml").read_text()
    environment = yaml.safe_load(text)
    names = {re.split("[=<>]", e)[0] for e in environment["dependencies"] if isinstance(e, str)}
    for known in LANGUAGES.values():
        for package in known.packages.values() if known.optional else ():
            conda = {"node-typescript": "typescript"}.get(package, package)
            assert conda not in names and re.search(
                rf"^  # .*\b{re.escape(conda)}\b", text, re.MULTILINE
            )


def test_every_file_of_the_package_is_in_the_wheel():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = ("*.py", *project["tool"]["setuptools"]["package-data"]["*"])
    files = [p for p in (ROOT / "flexlib").rglob("*") if p.is_file() and p.suffix != ".pyc"]
    assert [p for p in files if not any(p.match(pattern) for pattern in wanted)] == []


def imported_modules() -> set[str]:
    """Top-level names of the modules that the package, its tests and the book import."""
    names: set[str] = set()
    sources = [
        p.read_text() for folder in ("flexlib", "tests") for p in (ROOT / folder).rglob("*.py")
    ]
    for page in (ROOT / "book").glob("*.md"):
        notebook = jupytext.read(page)
        sources += [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    for source in sources:
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names.add(node.module.partition(".")[0])
    # What runs in the sandbox imports its neighbours by their bare names.
    local = {
        p.stem for folder in ("flexlib/grading", "tests") for p in (ROOT / folder).rglob("*.py")
    }
    local |= {"flexlib", "benchmarks"}
    return names - set(sys.stdlib_module_names) - local


def test_requirements_are_what_is_imported(requirements, pins):
    owners = packages_distributions()
    imported = {
        canonicalize_name(owner)
        for name in imported_modules()
        for owner in owners.get(name, [name])
    }
    assert imported <= set(pins), "imported but in no pinned environment"
    unused = set(requirements) - imported - set(NOT_IMPORTED)
    assert not unused, f"required but not imported: {sorted(unused)}"


@pytest.fixture
def bare_path(tmp_path) -> Path:
    """A PATH on which only what any shell script needs can be found."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for program in ("bash", "env", "id", "true"):
        (folder / program).symlink_to(shutil.which(program))
    return folder


def system_tools(path: Path, *options: str) -> subprocess.CompletedProcess:
    environment = {"PATH": str(path), "PYTHON": sys.executable}
    command = [ROOT / "tools/system-tools", *options, "chromium"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_missing_tools_without_apt_are_named_in_one_line(bare_path):
    result = system_tools(bare_path)
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    for package in ("chromium", "default-jdk-headless", "bubblewrap", "nodejs", "g++"):
        assert package in result.stderr
    optional = {k.package for k in LANGUAGES.values() if k.optional}
    assert not optional & set(result.stderr.split())
    # Of some the sandbox needs the system's own, which is found whatever the path.
    missing = {
        package
        for language in LANGUAGES.values()
        if language.optional
        for need, package in language.packages.items()
        if not Path(need).exists()
    }
    assert missing | {"chromium"} <= set(system_tools(bare_path, "--optional").stderr.split())


def test_missing_tools_are_installed_with_apt_where_allowed(bare_path, tmp_path):
    log = tmp_path / "calls"
    for program, then in (("apt-get", f'echo "$@" >> {log}'), ("sudo", 'shift; exec "$@"')):
        (bare_path / program).write_text(f"#!/usr/bin/env bash\n{then}\n")
        (bare_path / program).chmod(0o755)
    (bare_path / "javac").symlink_to(bare_path / "true")
    assert system_tools(bare_path).returncode == 0
    update, install = log.read_text().splitlines()
    assert update.startswith("update")
    assert install.startswith("install -y")
    assert "bubblewrap" in install
    assert "jdk" not in install


def test_version_is_the_same_everywhere(project):
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    changes = (ROOT / "CHANGELOG.md").read_text()
    newest, date = re.search(r"^## (\S+) \((.*)\)$", changes, re.MULTILINE).groups()
    assert project["version"] == flexlib.__version__ == str(citation["version"]) == newest
    assert str(citation["date-released"]) == date


def test_lint_is_the_same_everywhere():
    """What `make lint` runs is what runs before a commit, on every push and in the CI script."""
    lint = re.search(r"^lint:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)[1]
    wanted = {line.split("/bin/")[1] for line in lint.splitlines()}
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert [repo["repo"] for repo in hooks] == ["local"]
    entries = {h["entry"].removeprefix(".venv/bin/") for repo in hooks for h in repo["hooks"]}
    assert {entry.replace(" --force-exclude", "") for entry in entries} == wanted
    assert "make lint" in (ROOT / ".ci/run").read_text()


def test_the_workflow_runs_the_commands_and_takes_known_actions():
    workflow = yaml.safe_load((ROOT / ".github/workflows/book.yml").read_text())
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    assert {"make lint", "make book", "make test"} <= {step.get("run") for step in steps}
    actions = {step["uses"].partition("@")[0] for step in steps if "uses" in step}
    assert actions == {
        *("actions/checkout", "actions/setup-python"),
        *("actions/upload-pages-artifact", "actions/deploy-pages"),
    }


def test_no_package_index_is_named():
    for path in ("pyproject.toml", "constraints.txt", "environment.yml", "Makefile", ".ci/run"):
        text = (ROOT / path).read_text()
        assert not re.search(r"index[-_]url|find[-_]links|https?://(?!127.0.0.1)", text), path


def test_a_command_line_waits_for_no_heavy_package():
    """Grading a few programs takes less than the import of any of these."""
    code = "import sys; from flexlib import cli; from flexlib.study import metrics; cli.parser(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    heavy = {"torch", "transformers", "datasets", "pandas", "scipy", "statsmodels", "matplotlib"}
    assert not heavy & set(done.stdout.split())
