"""Sphinx extension: beside every figure and table its data and the code that made it.

The data of a glued figure or table (:data:`flexlib.book.SOURCE`) becomes ``_data/PAGE/NAME.csv``
and, where it can be pointed at, ``NAME.js``. Code cells whose output stands elsewhere on the page
leave no bar behind: they move to a folded part at the end of the page, to which the figures link. A
table that only says that something was not run is marked, so that the style sheet leaves its
caption alone.
"""

from __future__ import annotations

import base64
import json
from html import escape
from pathlib import Path
from typing import Any

from docutils import nodes
from myst_nb.ext.glue.directives import PasteFigureDirective, PasteMarkdownDirective
from sphinx.application import Sphinx

from flexlib.book import SOURCE

CARD = "card"  # the glued picture that becomes the page's preview where it is linked to
MOVED = {"hide-input", "parameters"}


class _Figure(PasteFigureDirective):
    """``{glue:figure}``, which knows what was glued."""

    def run(self) -> list[nodes.Node]:
        return _named(super().run(), self.arguments[0])


class _Markdown(PasteMarkdownDirective):
    """``{glue:md}``, which knows what was glued."""

    def run(self) -> list[nodes.Node]:
        return _named(super().run(), self.arguments[0])


def _named(found: list[nodes.Node], name: str) -> list[nodes.Node]:
    for node in found:
        if isinstance(node, (nodes.figure, nodes.table)):
            node["glued"] = name
    return found


def executed(app: Sphinx) -> Path:
    """Where myst-nb writes the executed notebooks and what they glued."""
    return Path(app.outdir).parent / "jupyter_execute"


def _sources(folder: Path, page: str) -> dict[str, dict[str, Any]]:
    """CSV and chart of what a page glued, by name."""
    path = folder / f"{page}.glue.json"
    if not path.exists():
        return {}
    glued = json.loads(path.read_text(encoding="utf-8"))
    return {k: v["metadata"][SOURCE] for k, v in glued.items() if SOURCE in v.get("metadata", {})}


def add_sources(app: Sphinx, doctree: nodes.document) -> None:
    """Fold the code away and put the links under every figure and table."""
    page = app.env.docname
    anchors = _fold_code(doctree)
    sources = _sources(executed(app), page)
    for node in list(doctree.findall(lambda n: isinstance(n, (nodes.figure, nodes.table)))):
        if isinstance(node, nodes.table) and _says_not_run(node):
            node["classes"].append("not-run")
        elif name := node.get("glued"):
            source = sources.get(name)
            anchor = anchors.get(source["cell"]) if source else None
            node.parent.insert(node.parent.index(node) + 1, _links(page, name, source, anchor))


def _fold_code(doctree: nodes.document) -> dict[int, str]:
    """Move cells without a visible output to the end of the page, give all cells an anchor, and return
    these by execution count."""
    cells = [c for c in doctree.findall(nodes.container) if c.get("nb_element") == "cell_code"]
    moved = []
    for cell in cells:
        cell["ids"].append(f"code-{cell['cell_index']}")
        shows = any(part.get("nb_element") == "cell_code_output" for part in cell.children)
        if not shows and MOVED & set(cell["cell_metadata"].get("tags", [])):
            cell.parent.remove(cell)
            cell.attributes.pop("hide_mode", None)
            moved.append(cell)
    top = next(iter(doctree.findall(nodes.section)), None)
    if moved and top is not None:
        fold = nodes.container(classes=["page-code"])
        fold += nodes.raw("", "<details><summary>Code of this page</summary>", format="html")
        fold += moved
        fold += nodes.raw("", "</details>", format="html")
        top += fold
    return {cell["exec_count"]: cell["ids"][-1] for cell in cells}


def _links(page: str, name: str, source: dict[str, Any] | None, anchor: str | None) -> nodes.raw:
    parts = []
    if source and source["csv"]:
        parts.append(f'<a href="_data/{page}/{escape(name)}.csv" download>Data (CSV)</a>')
    if anchor:
        parts.append(f'<a href="#{anchor}">Code</a>')
    chart = f' data-chart="_data/{page}/{escape(name)}.js"' if source and source["vega"] else ""
    html = f'<p class="figure-links"{chart}>{" ".join(parts)}</p>' if parts else ""
    return nodes.raw("", html, format="html")


def _says_not_run(table: nodes.table) -> bool:
    """Whether the body of a table is one row of one cell that says so."""
    bodies = list(table.findall(nodes.tbody))
    rows = [row for body in bodies for row in body.children]
    return len(rows) == 1 and rows[0].astext().strip().lower().startswith("not run")


def write_data(app: Sphinx, exception: Exception | None) -> None:
    """Write the data of all pages, and drop those of names that are gone."""
    if exception or app.builder.format != "html":
        return
    folder = Path(app.outdir) / "_data"
    wanted: dict[Path, bytes] = {}
    for page, known in getattr(app.env, "nb_metadata", {}).items():
        for name, source in _sources(executed(app), page).items():
            if source["csv"]:
                wanted[folder / page / f"{name}.csv"] = source["csv"].encode()
            if source["vega"]:
                key, chart = json.dumps(f"{page}/{name}"), json.dumps(source["vega"])
                wanted[folder / page / f"{name}.js"] = f"flexChart({key}, {chart});\n".encode()
        if CARD in known.get("glue", ()):
            glued = json.loads((executed(app) / f"{page}.glue.json").read_text(encoding="utf-8"))
            picture = base64.b64decode(glued[CARD]["data"]["image/png"])
            wanted[Path(app.outdir) / "_static" / "card.png"] = picture
    for path in folder.glob("*/*.*"):
        if path not in wanted and path.parent.name != "programs":
            path.unlink()
    for path, content in wanted.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_bytes() != content:
            path.write_bytes(content)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.add_directive_to_domain("glue", "figure", _Figure, override=True)
    app.add_directive_to_domain("glue", "md", _Markdown, override=True)
    app.connect("doctree-read", add_sources)
    app.connect("build-finished", write_data)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
