"""Words explain themselves where they first stand, and nowhere else."""

from __future__ import annotations

import re
from pathlib import Path

from docutils import nodes
from docutils.utils import new_document

from flexlib.book import glossary
from flexlib.book.glossary import Entry

WORDS = {
    "pass@1": Entry("term-pass1", "Share that passes."),
    "rank": Entry("term-rank", "Number of columns."),
    "effective rank": Entry("term-effective-rank", "Directions <in use>."),
    "seed": Entry("term-seed", "Start of randomness."),
    "seeds": Entry("term-seed", "Start of randomness."),
}


def page(*texts: str) -> nodes.document:
    document = new_document("page")
    document += nodes.section("", nodes.title("", "About pass@1"))
    for text in texts:
        document[0] += nodes.paragraph("", "", nodes.Text(text))
    return document


def explained(document: nodes.document) -> list[str]:
    return [re.search(r">([^<]+)</a>", raw.astext())[1] for raw in document.findall(nodes.raw)]


def test_the_first_use_of_each_word_is_explained_once():
    document = page(
        "The seeds differ; each seed gives a pass@1.",
        "Its pass@1 and the effective rank, of rank 8.",
    )
    glossary.explain(document, WORDS, "glossary.html")
    assert explained(document) == ["seeds", "pass@1", "effective rank", "rank"]
    text = document[0][1].astext() + document[0][2].astext()
    assert re.sub(r"<span role=.*?</span></span>|<[^>]*>", "", text) == (
        "The seeds differ; each seed gives a pass@1.Its pass@1 and the effective rank, of rank 8."
    )


def test_a_tip_says_what_the_glossary_says_and_leads_there():
    document = page("an effective rank")
    glossary.explain(document, WORDS, "glossary.html")
    (raw,) = document.findall(nodes.raw)
    assert (
        'href="glossary.html#term-effective-rank" aria-describedby="tip-term-effective-rank"'
        in raw.astext()
    )
    assert 'id="tip-term-effective-rank">Directions &lt;in use&gt;.</span>' in raw.astext()


def test_parts_of_words_headings_code_and_tables_are_left_alone():
    document = page("Frankly, pass@10 is no drank; low-rank is one word.")
    document[0] += nodes.paragraph("", "", nodes.literal("", "seed"))
    document[0] += nodes.table("", nodes.entry("", nodes.paragraph("", "seed")))
    glossary.explain(document, WORDS, "glossary.html")
    assert explained(document) == []


def test_every_word_of_the_glossary_is_used_in_the_book():
    book = Path(__file__).parents[2] / "book"
    text = " ".join(p.read_text() for p in book.glob("*.md") if p.name != "glossary.md")
    blocks = re.split(
        r"\n\n",
        re.search(r"```\{glossary\}\n(.*?)```", (book / "glossary.md").read_text(), re.DOTALL)[1],
    )
    for block in blocks:
        forms = [line for line in block.splitlines() if line and not line.startswith(" ")]
        assert any(re.search(rf"(?<![\w@-]){re.escape(form)}(?![\w@-])", text) for form in forms), (
            forms
        )
