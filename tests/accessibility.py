"""WCAG 2.2 AA by axe-core, on the page that is open in a browser."""

from axe_playwright_python.sync_playwright import Axe

from flexlib.book.chromium import Chromium

RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]


def violations(browser: Chromium) -> list[str]:
    """What axe-core finds: rule, place and reason."""
    found = Axe().run(browser.page, options={"runOnly": RULES, "resultTypes": ["violations"]})
    return [
        f"{rule['id']}: {' '.join(map(str, node['target']))}: {' '.join(node['failureSummary'].split())}"
        for rule in found.response["violations"]
        for node in rule["nodes"]
    ]
