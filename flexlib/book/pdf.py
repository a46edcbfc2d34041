"""The whole book as one PDF: the built pages in the order of the contents, printed by Chromium.

Links between pages become links within the PDF, folds are open, and every page has its number.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import yaml
from bs4 import BeautifulSoup, Tag

from flexlib.book.chromium import PROGRAM, Chromium
from flexlib.errors import FlexError

STYLE = """
  body { font-size: 10pt; background: white; }
  main { max-width: none; }
  .chapter { break-before: page; }
  h1, h2, h3 { break-after: avoid; }
  figure, tr, .sd-card { break-inside: avoid; }
  figure img { max-height: 20cm; }
  table.table { font-size: 7.5pt !important; }
  pre { white-space: pre-wrap; overflow-wrap: anywhere; }
  .pst-scrollable-table-container, pre { overflow: visible !important; }
  .cover { padding-top: 30%; }
  aside.margin, .margin { float: none !important; width: auto !important; margin: 1em 2em !important; }
"""
# What a reader of paper has no use for.
DROPPED = (
    "script, form, button, .figure-links, .page-code, details.above-input, .headerlink, "
    ".term > [role=tooltip]"
)
FOOTER = (
    '<div style="font-size: 8px; width: 100%; text-align: center;">'
    '<span class="pageNumber"></span> / <span class="totalPages"></span></div>'
)


def pages(toc: Path) -> list[str]:
    """The names of the pages in the order of a Jupyter Book's table of contents."""
    content = yaml.safe_load(toc.read_text(encoding="utf-8"))
    parts = [content, *content.get("parts", [])]
    return [content["root"], *(c["file"] for part in parts for c in part.get("chapters", []))]


def combined(html: Path, names: Iterable[str], cover: str) -> str:
    """All pages as one document, in the style of the first that has formulas (whose head loads MathJax)."""
    names = list(names)
    soups = {
        n: BeautifulSoup((html / f"{n}.html").read_text(encoding="utf-8"), "html.parser")
        for n in names
    }
    heads = [_only(soup, "head", name) for name, soup in soups.items()]
    head = next((h for h in heads if h.find("script", src=_is_mathjax)), heads[0])
    for script in head.find_all("script", src=lambda src: src and "book.js" in src):
        script.decompose()  # nothing sorts on paper
    if head.title and (first := heads[0].title):
        head.title.string = first.get_text()  # the book's, not a chapter's
    chapters = [_chapter(soups[name], name, set(names)) for name in names]
    listed = "".join(
        f'<li><a href="#{name}">{_only(chapter, "h1", name).get_text(strip=True)}</a></li>'
        for name, chapter in zip(names, chapters, strict=True)
    )
    body = "".join(map(str, chapters))
    return (
        f'<!DOCTYPE html><html lang="en" data-theme="light" data-content_root="./">'
        f"<head>{head.decode_contents()}<style>{STYLE}</style></head><body>"
        f'<div class="bd-content"><main class="bd-article"><div class="cover">{cover}<h2>Contents</h2>'
        f"<ol>{listed}</ol></div>{body}</main></div></body></html>"
    )


def _is_mathjax(src: str | None) -> bool:
    """Whether a script is MathJax itself; its settings alone draw nothing."""
    return src is not None and Path(src.split("?")[0]).name.startswith("tex-")


def _chapter(soup: BeautifulSoup, name: str, names: set[str]) -> Tag:
    """A page's article, with anchors that are unique in the whole and links that lead to them."""
    article = _only(soup, "article.bd-article", name)
    for tag in article.find_all("noscript"):
        tag.unwrap()
    for tag in article.select(DROPPED):
        tag.decompose()
    for fold in article.find_all("details"):
        fold["open"] = ""
    for tag in article.find_all(id=True):
        tag["id"] = f"{name}--{tag['id']}"
    for link in article.find_all("a", href=True):
        page, _, anchor = str(link["href"]).partition("#")
        page = page.removesuffix(".html") or name
        if page in names:
            link["href"] = f"#{page}--{anchor}" if anchor else f"#{page}"
    article.name = "section"
    article["id"], article["class"] = name, "chapter"
    return article


def _only(tag: Tag, selector: str, name: str) -> Tag:
    found = tag.select_one(selector)
    if found is None:
        raise FlexError(f"{name}.html has no {selector}: is it a page of this book?")
    return found


def write(html: Path, toc: Path, target: Path, cover: str) -> None:
    """Print the book at ``html`` to the PDF ``target``.

    Raises:
        FlexError: Chromium or a page of the book is missing.
    """
    if PROGRAM is None:
        raise FlexError("a PDF needs Chromium: apt-get install chromium")
    names = pages(toc)
    if missing := [name for name in names if not (html / f"{name}.html").is_file()]:
        raise FlexError(f"no page {', '.join(missing)} in {html}: run make book")
    page = html / "_print.html"
    page.write_text(combined(html, names, cover), encoding="utf-8")
    try:
        with Chromium() as browser:
            browser.visit(page.resolve().as_uri(), timeout=300)
            browser.evaluate("window.MathJax?.startup?.promise.then(() => true)")
            browser.pdf(target, FOOTER)
    finally:
        page.unlink()
