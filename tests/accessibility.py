"""WCAG 2.2 AA by axe-core, on the page that is open in a browser."""

from collections.abc import Sequence

from axe_playwright_python.sync_playwright import Axe

from flexlib.book.chromium import Chromium

WCAG = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa")  # tags of rules: 2.2, level AA


#: The rows of a long table are alike; of several hundred an audit takes minutes.
FURTHER_ROWS = "tbody > tr:nth-child(n + 40)"


def violations(browser: Chromium, rules: Sequence[str] = WCAG) -> list[str]:
    """What axe-core finds by rules or by all of a tag: rule, place and reason. Of a table the first rows
    count."""
    options = {"runOnly": list(rules), "resultTypes": ["violations"]}
    found = Axe().run(browser.page, context={"exclude": [[FURTHER_ROWS]]}, options=options)
    return [
        f"{rule['id']}: {' '.join(map(str, node['target']))}: {' '.join(node['failureSummary'].split())}"
        for rule in found.response["violations"]
        for node in rule["nodes"]
    ]
