"""A release holds what it says, the same bytes for the same content, and runs without a network."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from bs4 import BeautifulSoup

from flexlib import paths
from flexlib.book import pdf, release
from flexlib.book.chromium import PROGRAM

PAGE = """<html><head><title>of {title}</title></head><body><article class="bd-article"><section id="s"><h1>{title}</h1>
<p id="p">Text. <a class="headerlink" href="#s">#</a><a href="#p">here</a> <a href="b.html#p">there</a>
<a href="b.html">page</a> <a href="https://example.org/#p">out</a></p><details><p>folded</p></details><details class="hide above-input"><p>import os</p></details>
<p class="figure-links">Data</p><noscript><p>without scripts</p></noscript></section></article></body></html>"""


@pytest.fixture
def site(tmp_path) -> Path:
    for name in ("a", "b"):
        (tmp_path / f"{name}.html").write_text(PAGE.format(title=name.upper()))
    return tmp_path


def test_pages_are_one_document_whose_links_lead_within(site):
    soup = BeautifulSoup(pdf.combined(site, ["a", "b"], "<h1>Cover</h1>"), "html.parser")
    assert [c["id"] for c in soup.select("section.chapter")] == ["a", "b"]
    ids = [tag["id"] for tag in soup.find_all(id=True)]
    assert len(ids) == len(set(ids))
    links = [a["href"] for a in soup.select("#a a")]
    assert links == ["#a--p", "#b--p", "#b", "https://example.org/#p"]
    assert all(link[1:] in ids for link in links if link.startswith("#"))
    assert soup.select_one("#a details").has_attr("open")
    assert "Data" not in soup.get_text() and "import os" not in soup.get_text()
    assert "without scripts" in soup.get_text()


def test_the_head_is_that_of_a_page_with_formulas(site):
    """The first page has MathJax's settings and not MathJax."""
    settings = "<script>window.MathJax = {}</script>"
    for name, scripts in (
        ("a", settings),
        ("b", settings + '<script src="_static/tex-svg-full.js?v=1"></script>'),
    ):
        page = site / f"{name}.html"
        page.write_text(page.read_text().replace("</head>", f"{scripts}</head>"))
    soup = BeautifulSoup(pdf.combined(site, ["a", "b"], ""), "html.parser")
    assert soup.head.find("script", src="_static/tex-svg-full.js?v=1")
    assert soup.title.get_text() == "of A"


def test_the_order_is_that_of_the_contents():
    names = pdf.pages(paths.ROOT / "book" / "_toc.yml")
    assert names[0] == "index"
    assert sorted(names) == sorted(p.stem for p in (paths.ROOT / "book").glob("*.md"))


@pytest.mark.skipif(PROGRAM is None, reason="Chromium is not installed")
def test_a_pdf_has_pages_and_leaves_nothing_behind(site, tmp_path_factory):
    toc = site / "_toc.yml"
    toc.write_text("root: a\nchapters:\n  - file: b\n")
    target = tmp_path_factory.mktemp("pdf") / "book.pdf"
    pdf.write(site, toc, target, "<h1>Cover</h1>")
    content = target.read_bytes()
    assert content.startswith(b"%PDF-")
    assert content.count(b"/Type /Page\n") == 3 or b"/Count 3" in content
    assert not (site / "_print.html").exists()


def test_equal_content_gives_equal_bytes(tmp_path):
    files = {"b.txt": b"2", "a/run": b"1"}
    for name in ("one", "two"):
        release.pack(
            dict(reversed(files.items())) if name == "two" else files,
            "f",
            tmp_path / name,
            {"a/run"},
        )
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    with tarfile.open(tmp_path / "one") as archive:
        assert archive.getnames() == ["f/a/run", "f/b.txt"]
        assert [m.mode for m in archive] == [0o755, 0o644]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    if subprocess.run(
        ["git", "rev-parse"], cwd=paths.ROOT, capture_output=True, check=False
    ).returncode:
        pytest.skip("not a checkout")
    folder = tmp_path_factory.mktemp("release")
    (folder / "index.html").write_text("<p>site</p>")
    (folder / "book.pdf").write_bytes(b"%PDF-")
    return release.members(paths.ROOT, folder, folder / "book.pdf")


def test_the_checksums_cover_every_other_file(files):
    listed = dict(
        reversed(line.split("  ", 1)) for line in files["SHA256SUMS"].decode().splitlines()
    )
    assert set(listed) == set(files) - {"SHA256SUMS"}
    assert all(hashlib.sha256(files[name]).hexdigest() == digest for name, digest in listed.items())


def test_the_metadata_describe_what_is_there(files):
    graph = {e["@id"]: e for e in json.loads(files["ro-crate-metadata.json"])["@graph"]}
    parts = [part["@id"] for part in graph["./"]["hasPart"]]
    assert {"site/", "book.pdf", "data/runs/", "data/claims.yml", "constraints.txt"} <= set(parts)
    for part in parts:
        assert part in graph
        assert part == "SHA256SUMS" or any(
            name == part or name.startswith(part) for name in files
        ), part
    zenodo = json.loads(files[".zenodo.json"])
    assert zenodo["title"] == graph["./"]["name"]


@pytest.mark.slow
def test_regrade_runs_from_the_archive_without_a_network(files, tmp_path):
    run = next(
        name.split("/")[2]
        for name in files
        if name.startswith("data/runs/") and "completions-nanobench" in name
    )
    kept = {n: c for n, c in files.items() if not n.startswith("data/runs/") or run in n}
    release.pack(kept, "f", tmp_path / "f.tar.gz")
    with tarfile.open(tmp_path / "f.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    before = {p: p.read_bytes() for p in (tmp_path / "f/data/runs" / run).glob("verdicts-*.csv")}
    cut_off = ["unshare", "--net"]
    if subprocess.run([*cut_off, "true"], capture_output=True, check=False).returncode:
        pytest.skip("only root may take the network away here")
    # Started in the unpacked folder, so that its flexlib is the one that is imported.
    done = subprocess.run(
        [*cut_off, sys.executable, "-m", "flexlib", "regrade", run], cwd=tmp_path / "f",
        capture_output=True, text=True, check=False, env={"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert before == {p: p.read_bytes() for p in before}
    assert "nothing changed" in done.stdout and run in done.stdout
