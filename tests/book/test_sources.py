"""What stands beside figures and tables, on doctrees made by hand."""

from __future__ import annotations

from docutils import nodes
from docutils.utils import new_document

from flexlib.book import sources


def cell(number: int, tags: list[str], *, output: bool) -> nodes.container:
    made = nodes.container(
        nb_element="cell_code", cell_index=number, exec_count=10 + number, hide_mode="input",
        cell_metadata={"tags": tags},
    )  # fmt: skip
    made += nodes.container("", nodes.Text(f"code {number}"), nb_element="cell_code_source")
    if output:
        made += nodes.container("", nodes.Text("shown"), nb_element="cell_code_output")
    return made


def table(*rows: str) -> nodes.table:
    body = nodes.tbody()
    for text in rows:
        body += nodes.row("", nodes.entry("", nodes.paragraph("", text)))
    return nodes.table("", nodes.tgroup("", body))


def test_cells_that_show_nothing_leave_the_text_and_keep_an_anchor():
    document = new_document("page")
    document += nodes.section("", nodes.title("", "Title"))
    top = document[0]
    top += [
        cell(1, ["parameters"], output=False),
        cell(2, ["hide-input", "remove-output"], output=False),
        cell(3, ["hide-input"], output=True),
        cell(4, [], output=False),
        nodes.paragraph("", "The end."),
    ]
    anchors = sources._fold_code(document)
    assert anchors == {11: "code-1", 12: "code-2", 13: "code-3", 14: "code-4"}
    places = [getattr(n, "attributes", {}).get("cell_index", n.astext()) for n in top.children]
    assert places[:4] == ["Title", 3, 4, "The end."]
    folded = top.children[-1]
    assert folded["classes"] == ["page-code"]
    moved = [c["cell_index"] for c in folded.children if isinstance(c, nodes.container)]
    assert moved == [1, 2]
    assert all("hide_mode" not in c for c in folded.children if isinstance(c, nodes.container))


def test_tables_that_only_say_not_run_are_told():
    assert sources._says_not_run(table("not run"))
    assert sources._says_not_run(table("Not run: flexlib grid --arm lora"))
    assert not sources._says_not_run(table("not run", "not run"))
    assert not sources._says_not_run(table("12 %"))


def test_links_lead_to_what_is_there():
    source = {"csv": "a\n1\n", "vega": None, "cell": 3}
    assert 'href="_data/page/x.csv"' in sources._links("page", "x", source, "code-2").astext()
    assert 'href="#code-2"' in sources._links("page", "x", source, "code-2").astext()
    assert "Code" not in sources._links("page", "x", source, None).astext()
    assert "data-chart" not in sources._links("page", "x", source, None).astext()
    with_chart = sources._links("page", "x", source | {"vega": {"mark": "point"}}, None)
    assert 'data-chart="_data/page/x.js"' in with_chart.astext()
    assert sources._links("page", "x", None, None).astext() == ""
