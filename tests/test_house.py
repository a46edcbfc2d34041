"""The packages: each knows those before it, in the order of the data, and no one's private names."""

from __future__ import annotations

import ast
import contextlib
import importlib
import re
import types
from collections.abc import Iterator
from pathlib import Path

import jupytext
import papermill  # noqa: F401 - its entry point imports ours, and not the other way round
import pytest

from flexlib import paths

PACKAGE = paths.ROOT / "flexlib"
BELOW = ("errors", "paths", "formats", "disk", "progress")  # modules that every package may use
ORDER = (
    "config", "nanobench", "tasks", "models", "training", "generation", "grading", "runs", "analysis",
    "study", "auditing", "figures", "book", "cli",
)  # fmt: skip


def modules() -> Iterator[tuple[Path, ast.Module]]:
    """The modules of flexlib, without what runs alone inside the sandbox."""
    for path in sorted(PACKAGE.rglob("*.py")):
        if "inside" not in path.relative_to(PACKAGE).parts:
            yield path, ast.parse(path.read_text(encoding="utf-8"))


def imported(tree: ast.Module) -> Iterator[tuple[str, str | None]]:
    """Module and name of each import of flexlib, wherever it stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "flexlib":
            for alias in node.names:
                yield node.module, alias.name
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "flexlib":
                    yield alias.name, None


def home(module: str, name: str | None) -> str:
    """The package, or the module below them, that an import takes from."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else name or "flexlib"


def test_every_package_has_a_place_in_the_order():
    packages = {p.parent.name for p in PACKAGE.glob("*/__init__.py")}
    assert packages == set(ORDER)
    for package in packages:
        tree = ast.parse((PACKAGE / package / "__init__.py").read_text(encoding="utf-8"))
        assert ast.get_docstring(tree), f"{package} does not say what may live there"


def test_packages_import_only_those_before_them():
    wrong = []
    for path, tree in modules():
        place = path.relative_to(PACKAGE).with_suffix("").parts
        for module, name in imported(tree):
            source = home(module, name)
            if source in ("__version__", "flexlib", place[0]):
                continue
            if len(place) == 1:  # a module below the packages, or __main__ above them
                allowed = BELOW[: BELOW.index(place[0])] if place[0] in BELOW else ORDER
            else:
                allowed = (*BELOW, *ORDER[: ORDER.index(place[0])])
            if source not in allowed:
                wrong.append(f"{path.relative_to(PACKAGE)} imports {source}")
    assert not wrong


def test_nobody_reaches_for_private_names():
    """Neither by import nor as an attribute of a module."""
    wrong = []
    for path, tree in modules():
        names = set()
        for module, name in imported(tree):
            if name and name.startswith("_") and name != "__version__":
                wrong.append(f"{path.relative_to(PACKAGE)} imports {module}.{name}")
            names.add(name or module)
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                private = node.attr.startswith("_") and not node.attr.startswith("__")
                if private and node.value.id in names:
                    wrong.append(f"{path.relative_to(PACKAGE)} uses {node.value.id}.{node.attr}")
    assert not wrong


def test_scripts_and_chapters_import_what_is_there():
    """What no other test runs: the measurements, and the pages of the book. The attributes of modules,
    too."""
    sources = {p: p.read_text() for p in (paths.ROOT / "benchmarks").rglob("*.py")}
    for page in (paths.ROOT / "book").glob("*.md"):
        cells = jupytext.read(page).cells
        sources[page] = "\n".join(c.source for c in cells if c.cell_type == "code")
    wrong = []
    for path, source in sources.items():
        tree, found = ast.parse(source), {}
        for module, name in imported(tree):
            target = importlib.import_module(module)
            if name and not hasattr(target, name):
                with contextlib.suppress(ImportError):
                    importlib.import_module(f"{module}.{name}")
            if name and not hasattr(target, name):
                wrong.append(f"{path.name} imports {module}.{name}")
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("flexlib"):
                for alias in node.names:
                    bound = getattr(importlib.import_module(node.module), alias.name, None)
                    if isinstance(bound, types.ModuleType):
                        found[alias.asname or alias.name] = bound
        stored = (n for n in ast.walk(tree) if isinstance(n, ast.Name))
        rebound = {node.id for node in stored if isinstance(node.ctx, ast.Store)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                module = None if node.value.id in rebound else found.get(node.value.id)
                if module and not hasattr(module, node.attr):
                    wrong.append(f"{path.name} uses {node.value.id}.{node.attr}")
    assert not wrong


def test_names_in_texts_are_names_of_something():
    """``flexlib.x.y`` in docstrings, comments, pages and TOML, and files such as ``flexlib/x/y.py``."""
    texts = [*PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.toml"), *(paths.ROOT / "book").glob("*.md")]
    texts += [paths.ROOT / name for name in ("README.md", "CONTRIBUTING.md", "_config.yml")]
    texts += [paths.ROOT / "pyproject.toml", paths.ROOT / "data" / "claims.yml"]
    wrong = []
    for path in texts:
        text = path.read_text(encoding="utf-8")
        for dotted in set(re.findall(r"(?<![\w/.-])flexlib(?:\.[A-Za-z_]\w*)+", text)):
            if not _exists(dotted.split(".")):
                wrong.append(f"{path.name}: {dotted}")
        for place in set(re.findall(r"(?<![\w/.-])flexlib/[\w/]+\.(?:py|toml|java)", text)):
            if not (paths.ROOT / place).exists() and "NAME" not in place:
                wrong.append(f"{path.name}: {place}")
    assert not wrong


def _exists(parts: list[str]) -> bool:
    found = importlib.import_module(parts[0])
    for i, part in enumerate(parts[1:], start=2):
        if not hasattr(found, part):
            try:
                importlib.import_module(".".join(parts[:i]))
            except ImportError:
                # A field of a dataclass is no attribute of it.
                return part in getattr(found, "__annotations__", {})
        found = getattr(found, part)
    return True


@pytest.mark.parametrize("package", ORDER)
def test_tests_mirror_the_packages(package):
    assert list((paths.ROOT / "tests" / package).rglob("test_*.py"))
