"""WCAG 2.2 AA by axe-core, on the page that is open in a browser."""

from importlib.resources import files

from flexlib.book.chromium import Chromium

AXE = (files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8")
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]


def violations(browser: Chromium) -> list[str]:
    """What axe-core finds: rule, place and reason."""
    browser.evaluate(f"{AXE}; 0")
    found = browser.evaluate(
        f"axe.run(document, {{runOnly: {RULES}, resultTypes: ['violations']}})"
        ".then(r => r.violations.flatMap(v => v.nodes.map(n => [v.id, n.target.join(' '), n.failureSummary])))"
    )
    return [f"{rule}: {place}: {' '.join(why.split())}" for rule, place, why in found]
