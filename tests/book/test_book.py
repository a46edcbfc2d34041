"""The book's machinery: chapters as CONTRIBUTING.md shows them, caching, papermill."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

from flexlib import book, config, formats
from flexlib.book import site
from flexlib.runs import provenance

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent

CHAPTER = re.search(
    r"^````md\n(.*?)^````$", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL | re.MULTILINE
)[1]


def build(project: Path) -> subprocess.CompletedProcess:
    """Build a project's book as the Makefile does."""
    command = re.search(r"(jupyter-book build .*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    return subprocess.run(
        [BIN / "jupyter-book", *command[1].split()[1:]],
        check=False,
        cwd=project,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.fixture
def project(tmp_path) -> Path:
    """A small project with this book's configuration and the chapter of CONTRIBUTING.md."""
    shutil.copy(ROOT / "_config.yml", tmp_path)
    shutil.copytree(ROOT / "book", tmp_path / "book", ignore=shutil.ignore_patterns("*.md"))
    (tmp_path / "book/_toc.yml").write_text("format: jb-book\nroot: chapter\n")
    (tmp_path / "book/chapter.md").write_text(CHAPTER)
    for name in ("flexlib/module.py", "data/numbers.csv"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("0\n")
    return tmp_path


def test_chapter_of_contributing_builds_and_shows_computed_numbers(project):
    result = build(project)
    assert result.returncode == 0, result.stdout
    markup = html.unescape((project / "_build/html/chapter.html").read_text())
    text = re.sub(r"<[^>]*>", "", markup)
    gain = 100 * (63 - 54) / 158
    assert f"LoRA gains {gain:+.1f} points (Figure 1, Table 1)" in text
    assert f"Table 1 LoRA gains {gain:.1f} points." in text
    assert f"Figure 1 LoRA solves {gain:.1f} points more." in text
    assert "Hu et al. [2022]" in text
    assert "[Austin et al., 2021, Chen et al., 2021]" in text
    assert 'alt="Two bars, pass@1 of the base and of LoRA. The second is higher."' in markup
    assert markup.count("<img") == 1
    assert markup.count("<table") == 1
    assert re.search(r"Built \d{4}-\d\d-\d\d from commit", text)
    # Data and code of both stand beside them; the code has left the text.
    for name in ("arms", "bars"):
        assert f'href="_data/chapter/{name}.csv"' in markup
        table = pd.read_csv(project / f"_build/html/_data/chapter/{name}.csv")
        assert table["Passed"].tolist() == [54, 63]
    anchors = set(re.findall(r'href="#(code-\d+)"', markup))
    (anchor,) = anchors  # one cell made both
    assert markup.index("Code of this page") < markup.index(f'id="{anchor}"')
    code = re.sub(r"<[^>]*>", "", html.unescape(markup[markup.index(f'id="{anchor}"') :]))
    assert "glue_figure" in code and "glue_table" in code
    for source in ("chapter.md", "chapter.ipynb"):
        assert f'href="_sources/{source}"' in markup
        assert (project / "_build/html/_sources" / source).is_file()
    assert (project / "_build/html/index.html").is_file()


def test_notebooks_run_again_only_when_something_they_read_has_changed(project):
    executed = "Executing notebook"
    assert executed in build(project).stdout
    (project / "_build/html/_data/chapter/bars.csv").unlink()
    shutil.rmtree(project / "_build/.doctrees", ignore_errors=True)
    assert executed not in build(project).stdout
    # What a cached execution glued is there all the same, and so are the links to its code.
    assert (project / "_build/html/_data/chapter/bars.csv").is_file()
    assert 'href="#code-' in (project / "_build/html/chapter.html").read_text()
    (project / "flexlib/module.py").write_text("1\n")
    assert executed in build(project).stdout


def test_changed_data_reach_the_page_after_a_build_that_failed_between(project):
    page = project / "book/chapter.md"
    reads = CHAPTER.replace(
        "gain = ", "assert open('../data/numbers.csv').read() != '1\\n'\ngain = "
    ).replace(
        'glue_value("gain", 100 * gain)',
        "glue_value('gain', float(open('../data/numbers.csv').read()))",
    )
    page.write_text(reads)
    assert build(project).returncode == 0
    (project / "data/numbers.csv").write_text("1\n")
    failed = build(project)
    assert failed.returncode != 0
    assert "AssertionError" in failed.stdout
    (project / "data/numbers.csv").write_text("2\n")
    assert build(project).returncode == 0
    assert "Table 1 LoRA gains 2.0 points." in re.sub(
        r"<[^>]*>", "", (project / "_build/html/chapter.html").read_text()
    )


def test_warnings_fail_the_build_and_the_next_one(project):
    mistakes = ["{numref}`fig-nowhere`", "{cite:p}`nobody1900`", "{glue:text}`nothing`"]
    with (project / "book/chapter.md").open("a") as page:
        page.write("\n" + "\n".join(mistakes) + "\n")
    for _ in range(2):
        result = build(project)
        assert result.returncode != 0
        for name in ("fig-nowhere", "nobody1900", "nothing"):
            assert re.search(rf"WARNING: .*{name}", result.stdout)


def test_digest_covers_names_and_content_but_no_byte_code(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/a").write_text("1")
    before = site.digest(tmp_path)
    (tmp_path / "data/__pycache__").mkdir()
    (tmp_path / "data/__pycache__/a.pyc").write_text("x")
    assert site.digest(tmp_path) == before
    (tmp_path / "data/a").rename(tmp_path / "data/b")
    assert site.digest(tmp_path) != before


def test_toc_lists_every_page():
    toc = yaml.safe_load((ROOT / "book/_toc.yml").read_text())
    chapters = [*toc.get("chapters", []), *(c for p in toc.get("parts", []) for c in p["chapters"])]
    listed = [toc["root"], *(chapter["file"] for chapter in chapters)]
    assert sorted(listed) == sorted(path.stem for path in (ROOT / "book").glob("*.md"))


@pytest.fixture
def glued(monkeypatch) -> dict:
    values = {}
    monkeypatch.setattr(book, "glue", lambda name, value, display: values.update({name: value}))
    return values


def test_table_is_formatted_by_column_with_dashes_for_missing_values(glued):
    table = pd.DataFrame({"Arm": ["a|b", "LoRA"], "pass@1": [0.3417, None], "n": [158, 164]})
    book.glue_table("t", table, {"pass@1": ".1%"})
    rows = [
        [c.strip() for c in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line in glued["t"].shown.data.splitlines()
    ]
    assert rows[0] == ["Arm", "pass@1", "n"]
    assert [cell.endswith(":") for cell in rows[1]] == [False, True, True]
    assert rows[2:] == [[r"a\|b", "34.2%", "158"], ["LoRA", "–", "164"]]


def test_table_refuses_a_format_for_a_column_it_lacks(glued):
    with pytest.raises(KeyError, match="pass@2"):
        book.glue_table("t", pd.DataFrame({"pass@1": [0.5]}), {"pass@2": ".1%"})
    assert not glued


def test_value_keeps_its_precision_as_a_python_number(glued):
    book.glue_value("x", pd.Series([1 / 3]).iloc[0])
    assert type(glued["x"]) is float
    assert glued["x"] == 1 / 3


def papermill(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [BIN / "papermill", *arguments], check=False, cwd=folder, capture_output=True, text=True
    )


def test_papermill_runs_a_myst_notebook_with_parameters(project):
    with (project / "book/chapter.md").open("a") as page:
        page.write("\n```{code-cell} python3\nprint(f'profile is {profile}')\n```\n")
    result = papermill(project, "book/chapter.md", "out.ipynb", "-p", "profile", "paper")
    assert result.returncode == 0, result.stderr
    cells = json.loads((project / "out.ipynb").read_text())["cells"]
    assert cells[-1]["outputs"][0]["text"] == ["profile is paper\n"]
    shown = {
        kind for cell in cells for out in cell.get("outputs", []) for kind in out.get("data", {})
    }
    assert {"text/markdown", "image/svg+xml"} <= shown


@pytest.mark.parametrize(("folder", "path"), [("book", "chapter.md"), ("data", None)])
def test_papermill_takes_any_path_to_a_chapter(project, folder, path):
    path = path or str(project / "book/chapter.md")
    result = papermill(project / folder, path, str(project / "out.ipynb"), "-p", "profile", "paper")
    assert result.returncode == 0, result.stderr
    cells = json.loads((project / "out.ipynb").read_text())["cells"]
    assert any("paper" in "".join(cell["source"]) for cell in cells)
    assert any(cell.get("outputs") for cell in cells)


def test_papermill_refuses_a_page_that_is_no_notebook(project):
    (project / "book/plain.md").write_text("# Text\n")
    for path, message in (
        ("book/plain.md", "names no kernel"),
        (str(project / "book/missing.md"), "there is no notebook"),
    ):
        result = papermill(project, path, "out.ipynb")
        assert result.returncode != 0
        assert message in result.stderr and "Traceback" not in result.stderr
        assert not (project / "out.ipynb").exists()


def provenance_tables(store_dir: Path, tmp_path: Path) -> str:
    """The Markdown that the Provenance page shows for a store."""
    out = tmp_path / "out.ipynb"
    result = papermill(ROOT, "book/provenance.md", str(out), "-p", "store_dir", str(store_dir))
    assert result.returncode == 0, result.stderr
    outputs = [o for cell in json.loads(out.read_text())["cells"] for o in cell.get("outputs", [])]
    return "\n".join("".join(o.get("data", {}).get("text/markdown", [])) for o in outputs)


def test_provenance_lists_runs_and_groups_them_by_what_they_were_made_with(tmp_path):
    names = []
    for seed, torch in ((1, "2.13.0"), (2, "2.13.0"), (3, "2.11.0")):
        settings = {"profile": "nano", "arm": "lora", "seed": seed, "benchmarks": {}}
        facts = provenance.describe("cpu") | {"files": {"config.json": ""}}
        facts["packages"]["torch"] = torch
        run = tmp_path / "runs" / config.run_id(settings)
        run.mkdir(parents=True)
        (run / "config.json").write_bytes(formats.to_json(settings))
        (run / "provenance.json").write_bytes(formats.to_json(facts))
        names.append(run.name)
    shown = provenance_tables(tmp_path / "runs", tmp_path)
    groups = dict(re.findall(r"^\| `(\w{12})` .*\| Runs (\d) +\|$", shown, re.MULTILINE))
    assert set(groups) == set(names)
    assert groups[names[0]] == groups[names[1]] != groups[names[2]]
    assert re.search(r"^\| torch .*2\.11\.0", shown, re.MULTILINE)


def test_provenance_builds_with_an_empty_store(tmp_path):
    shown = provenance_tables(tmp_path / "nothing", tmp_path)
    assert "This build" in shown
    assert "Runs 1" not in shown


def test_counts_are_one_number_or_a_span():
    assert [book.span(n) for n in ([3], [3, 3], (10, 3, 5))] == ["3", "3", "3 to 10"]


def test_a_table_keeps_its_data_without_markup(glued):
    table = pd.DataFrame(
        {"claim": ["**C1**", "`C2`"], "verdict": [book.verdict_badge("cannot tell")] * 2}
    )
    book.glue_table("t", table)
    assert "verdict-cannot-tell" in glued["t"].shown.data
    _, metadata = glued["t"]._repr_mimebundle_()
    assert metadata[book.SOURCE]["csv"] == "claim,verdict\nC1,cannot tell\nC2,cannot tell\n"
