"""No result is typed into the text of the book: numbers in prose come from code.

A number counts as a result if it has a decimal point, or is followed by %, "per cent", "points" or
"pass@1". Code, formulas, roles (``{glue:text}``) and links are not prose; "95 % interval" names a
method. A line with a definition, a setting say, may be exempted by ``<!-- definition -->``.
"""

import re
from pathlib import Path

import pytest

BOOK = Path(__file__).resolve().parents[2] / "book"
MARKER = "<!-- definition -->"

NOT_PROSE = re.compile(
    r"\A---\n.*?\n---\n"  # front matter
    r"|^(?P<fence>`{3,})(?:\{code-cell\}|\{math\}|\{bibliography\}|[^{\n]*$).*?^(?P=fence)\s*$"
    r"|\{[\w:]+\}`[^`]*`|`+[^`\n]*`+"  # roles, inline code
    r"|\$\$.*?\$\$|\$[^$\n]*\$"
    r"|\]\([^)\n]*\)|https?://\S+",
    re.MULTILINE | re.DOTALL,
)
RESULT = re.compile(
    r"(?<![\w.])\d+(?:\.\d+)?\s*(?:%|per\s?cent\b|points?\b|pass@)(?!\s+(?:confidence\s+)?interval)"
    r"|(?<![\w.])\d+\.\d+(?!\.?\d)"
)


def typed_results(text: str) -> list[tuple[int, str]]:
    """Line number and text of every number in the prose that looks like a result."""
    blanked = NOT_PROSE.sub(lambda m: re.sub(r"[^\n]", "\N{NO-BREAK SPACE}", m[0]), text)
    lines = zip(text.splitlines(), blanked.splitlines(), strict=True)
    return [
        (number, match[0])
        for number, (line, prose) in enumerate(lines, 1)
        if MARKER not in line
        for match in RESULT.finditer(prose)
    ]


@pytest.mark.parametrize("page", sorted(BOOK.glob("*.md")), ids=lambda page: page.name)
def test_no_result_is_typed_into_a_page(page):
    found = typed_results(page.read_text(encoding="utf-8"))
    assert not found, f"{page.name}: glue these (line, text), or mark the line {MARKER}: {found}"


@pytest.mark.parametrize(
    "line",
    [
        "It gains 7.9 points.",
        "It passes 40 % of them.",
        "Java falls to 12% after training.",
        "about 3 per cent of tasks",
        "a gain of 5 points",
        "| lora | 0.42 |",
        ":::{table} Python gains 12.5.",
        "The rate is 31 pass@1.",
    ],
)
def test_typed_results_are_found(line):
    assert [number for number, _ in typed_results(f"# Title\n\n{line}\n")] == [3]


@pytest.mark.parametrize(
    "line",
    [
        "It gains {glue:text}`gain:.1f` points.",
        "With a 95 % interval, n = 500 tasks and 10 seeds.",
        "The 95 per cent confidence interval and pass@1 of 164 problems.",
        "Run `flexlib run --set lr=0.001` at $\\beta_2 = 0.99$.",
        "```{code-cell} python3\nx = 0.42\n```",
        "```bash\nflexlib run --set lr=0.1\n```",
        "| learning rate | 0.0002 | <!-- definition -->",
        "See [the site](https://example.org/1.5%20x) of version 1.0.4 and RFC1.5.",
    ],
)
def test_code_roles_and_definitions_are_left_alone(line):
    assert typed_results(f"# Title\n\n{line}\n") == []


def test_directives_are_prose_though_fenced():
    page = "```{glue:figure} x\n:alt: Falls to 3.5.\n\nGains 2 points.\n```\n"
    assert [number for number, _ in typed_results(page)] == [2, 4]
