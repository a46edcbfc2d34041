"""The project's own files agree with each other: dependencies, pins, environments, versions."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import flexlib

ROOT = Path(__file__).parents[1]

# Used without an import in our code, and why.
NOT_IMPORTED = {
    "accelerate": "transformers.Trainer needs it",
    "ipykernel": "runs the notebooks",
    "jupyter-book": "builds the site",
    "pytest-xdist": "make test runs in two processes",
    "ruff": "checks the style",
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
    tools = set(re.findall(r"^need (\S+)", (ROOT / "tools/system-tools").read_text(), re.MULTILINE))
    conda_package = {"javac": "openjdk", "bwrap": "bubblewrap", "node": "nodejs", "g++": "gxx"}
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    names = {re.split("[=<>]", e)[0] for e in environment["dependencies"] if isinstance(e, str)}
    assert tools == set(conda_package)
    assert set(conda_package.values()) <= names


def imported_modules() -> set[str]:
    """Top-level names of the modules that the package, its tests and the book import."""
    names: set[str] = set()
    sources = [
        p.read_text() for folder in ("flexlib", "tests") for p in (ROOT / folder).rglob("*.py")
    ]
    for page in (ROOT / "book").glob("*.md"):
        sources += re.findall(
            r"^```\{code-cell\}.*?\n(?::.*\n)*(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL
        )
    for source in sources:
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names.add(node.module.partition(".")[0])
    local = {p.stem for p in (ROOT / "tests").rglob("*.py")} | {"flexlib", "tests", "benchmarks"}
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


def test_version_is_the_same_everywhere(project):
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    changes = (ROOT / "CHANGELOG.md").read_text()
    newest, date = re.search(r"^## (\S+) \((.*)\)$", changes, re.MULTILINE).groups()
    assert project["version"] == flexlib.__version__ == str(citation["version"]) == newest
    assert str(citation["date-released"]) == date


def test_no_package_index_is_named():
    for path in ("pyproject.toml", "constraints.txt", "environment.yml", "Makefile", ".ci/run"):
        text = (ROOT / path).read_text()
        assert not re.search(r"index-url|find-links|https?://(?!127.0.0.1)", text), path
