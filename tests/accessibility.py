"""WCAG 2.2 AA by axe-core, on the page that is open in a browser."""

from collections.abc import Sequence

from axe_playwright_python.sync_playwright import Axe

from flexlib.book.chromium import Chromium

WCAG = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa")  # tags of rules: 2.2, level AA


#: Rows of a long table and words of a long listing are alike, and with thousands an audit takes minutes.
FURTHER = "tbody > tr:nth-child(n + 40), pre > span:nth-of-type(n + 100)"


def violations(browser: Chromium, rules: Sequence[str] = WCAG) -> list[str]:
    """What axe-core finds by rules or by all of a tag: rule, place and reason. Of each table and listing the
    beginning is looked at, and left in the page."""
    browser.evaluate(f"document.querySelectorAll({FURTHER!r}).forEach(e => e.remove())")
    options = {"runOnly": list(rules), "resultTypes": ["violations"]}
    found = Axe().run(browser.page, options=options)
    return [
        f"{rule['id']}: {' '.join(map(str, node['target']))}: {' '.join(node['failureSummary'].split())}"
        for rule in found.response["violations"]
        for node in rule["nodes"]
    ]
