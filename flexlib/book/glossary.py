"""Sphinx extension: the first use of a glossary's word on a page leads to the glossary and tells
what it means.

The glossary is the page ``glossary`` with Sphinx's directive of that name. Authors mark nothing:
words are found in the running text of every other page, not in headings, tables, captions, links or
code.
"""

from __future__ import annotations

import re
from html import escape
from typing import NamedTuple

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

PAGE = "glossary"


class Entry(NamedTuple):
    """A word's anchor and meaning."""

    anchor: str
    meaning: str


def entries(doctree: nodes.document) -> dict[str, Entry]:
    """The words of a glossary's doctree, the forms of one word under each of them."""
    found = {}
    for glossary in doctree.findall(addnodes.glossary):
        for item in glossary.findall(nodes.definition_list_item):
            terms = list(item.findall(nodes.term))
            meaning = " ".join(d.astext() for d in item.findall(nodes.definition))
            for term in terms:
                # A term's text is followed by nodes of the index, which have none.
                found[term.astext()] = Entry(terms[0]["ids"][0], meaning.replace("\n", " "))
    return found


def explain(doctree: nodes.document, words: dict[str, Entry], link: str) -> None:
    """Replace the first use of each word in ``doctree`` by one that explains itself."""
    if not words:
        return
    longest_first = sorted(words, key=len, reverse=True)
    pattern = re.compile(rf"(?<![\w@-])({'|'.join(map(re.escape, longest_first))})(?![\w@-])")
    done: set[str] = set()
    for paragraph in list(doctree.findall(nodes.paragraph)):
        if not isinstance(paragraph.parent, (nodes.section, nodes.list_item, nodes.definition)):
            continue
        for text in [child for child in paragraph.children if isinstance(child, nodes.Text)]:
            pieces: list[nodes.Node] = []
            at = 0
            for match in pattern.finditer(text.astext()):
                entry = words[match[0]]
                if entry.anchor in done:
                    continue
                done.add(entry.anchor)
                pieces += [nodes.Text(text[at : match.start()]), _term(match[0], entry, link)]
                at = match.end()
            if pieces:
                pieces.append(nodes.Text(text[at:]))
                place = paragraph.index(text)
                paragraph.children[place : place + 1] = []
                for offset, piece in enumerate(pieces):
                    paragraph.insert(place + offset, piece)


def _term(word: str, entry: Entry, link: str) -> nodes.raw:
    tip = f"tip-{entry.anchor}"
    html = (
        f'<span class="term"><a href="{escape(link)}#{entry.anchor}" aria-describedby="{tip}">'
        f"{escape(word)}</a>"
        f'<span role="tooltip" id="{tip}">{escape(entry.meaning)}</span></span>'
    )
    return nodes.raw(word, html, format="html")


def explain_words(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """Explain the words of a page that is about to be written."""
    env: BuildEnvironment = app.env
    if app.builder.format != "html" or page == PAGE or PAGE not in env.found_docs:
        return
    link = app.builder.get_relative_uri(page, PAGE)
    explain(doctree, entries(env.get_doctree(PAGE)), link)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("doctree-resolved", explain_words)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
