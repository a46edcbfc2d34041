"""tools/glued.py: what a build shows, and in what two builds differ."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from flexlib import paths

SCRIPT = paths.ROOT / "tools" / "glued.py"


def build(folder, number: str, svg: str = "<svg>1</svg>", csv: str | None = None):
    """An executed page with a number, a table and a figure."""

    def output(name, data, **metadata):
        return {"data": data, "metadata": {"scrapbook": {"name": name}, **metadata}}

    figure = {"flexlib": {"csv": csv}} if csv else {}
    outputs = [
        output("gain", {"text/plain": [number]}),
        output("rates", {"text/markdown": ["| a |\n", "| 1 |"], "text/plain": ["<Markdown>"]}),
        output("bars", {"image/svg+xml": [svg], "text/plain": ["<Figure>"]}, **figure),
        {"data": {"text/plain": ["not glued"]}, "metadata": {}},
    ]
    (folder / "jupyter_execute").mkdir(parents=True)
    page = folder / "jupyter_execute" / "page.ipynb"
    page.write_text(json.dumps({"cells": [{"source": ""}, {"outputs": outputs}]}))
    return folder


def run(*arguments) -> subprocess.CompletedProcess:
    command = [sys.executable, SCRIPT, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({}, "3 values, all the same"),
        ({"number": "4.1"}, "! page/gain: '3.9' -> '4.1'"),
        ({"svg": "<svg>2</svg>"}, "! page/bars: "),
    ],
)
def test_two_builds_are_compared(tmp_path, other, said):
    dumps = []
    for i, changes in enumerate(({}, other)):
        done = run("dump", build(tmp_path / str(i), **{"number": "3.9"} | changes))
        assert done.returncode == 0, done.stderr
        dumps.append(tmp_path / f"{i}.json")
        dumps[-1].write_text(done.stdout)
    done = run("diff", *dumps)
    assert done.stdout.startswith(said) and done.returncode == bool(other)


def test_a_figure_is_the_table_that_it_shows(tmp_path):
    """Its look may change."""
    first = build(tmp_path / "a", "1", svg="<svg>old</svg>", csv="x,y\n1,2\n")
    second = build(tmp_path / "b", "1", svg="<svg>new</svg>", csv="x,y\n1,2\n")
    assert run("dump", first).stdout == run("dump", second).stdout


def test_nothing_built_is_said(tmp_path):
    done = run("dump", tmp_path)
    assert done.returncode == 1 and "make book" in done.stderr
