"""WCAG 2.2 AA by axe-core, on the page that is open in a browser."""

from collections.abc import Sequence

from axe_playwright_python.sync_playwright import Axe

from flexlib.book.chromium import Chromium

WCAG = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa")  # tags of rules: 2.2, level AA


#: Rows of a long table are alike, and so are words of a kind in listings: with thousands an audit takes
#: minutes, most of it for colours.
FURTHER = """(() => {
    document.querySelectorAll('tbody > tr:nth-child(n + 20)').forEach(e => e.remove());
    const seen = new Map();
    for (const word of document.querySelectorAll('pre span')) {
        const kind = word.className + ' ' + word.closest('[class*=highlight-]')?.className;
        seen.set(kind, 1 + (seen.get(kind) ?? 0));
        if (seen.get(kind) > 3 && !word.children.length) word.remove();
    }
})()"""


def violations(browser: Chromium, rules: Sequence[str] = WCAG) -> list[str]:
    """What axe-core finds by rules or by all of a tag: rule, place and reason. Of each table the
    beginning is looked at, of words of a listing three of a kind; the page loses the others."""
    browser.evaluate(FURTHER)
    options = {"runOnly": list(rules), "resultTypes": ["violations"]}
    found = Axe().run(browser.page, options=options)
    return [
        f"{rule['id']}: {' '.join(map(str, node['target']))}: {' '.join(node['failureSummary'].split())}"
        for rule in found.response["violations"]
        for node in rule["nodes"]
    ]
