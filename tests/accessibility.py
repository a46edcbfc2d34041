"""WCAG 2.2 AA by axe-core, on the page that is open in a browser."""

from collections.abc import Sequence

from axe_playwright_python.sync_playwright import Axe

from flexlib.book.chromium import Chromium

WCAG = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa")  # tags of rules: 2.2, level AA


#: Rows of a long table are alike, and so are words of listings that have the same colours and size: with
#: thousands an audit takes minutes, most of it for colours.
FURTHER = """(() => {
    document.querySelectorAll('tbody > tr:nth-child(n + 20)').forEach(e => e.remove());
    const ground = e => {
        const color = getComputedStyle(e).backgroundColor;
        return color !== 'rgba(0, 0, 0, 0)' || !e.parentElement ? color : ground(e.parentElement);
    };
    const words = [...document.querySelectorAll('pre span')];
    const looks = words.map(word => {
        const style = getComputedStyle(word);
        return [style.color, style.fontSize, style.fontWeight, ground(word)].join();
    });
    const seen = new Map();
    words.forEach((word, i) => {  // none before all are looked at: each would make the page lay itself out anew
        seen.set(looks[i], 1 + (seen.get(looks[i]) ?? 0));
        if (seen.get(looks[i]) > 3 && !word.children.length) word.remove();
    });
})()"""


def violations(browser: Chromium, rules: Sequence[str] = WCAG) -> list[str]:
    """What axe-core finds by rules or by all of a tag: rule, place and reason. Of each table the
    beginning is looked at, of words of listings three of each look; the page loses the others."""
    browser.evaluate(FURTHER)
    options = {"runOnly": list(rules), "resultTypes": ["violations"]}
    found = Axe().run(browser.page, options=options)
    return [
        f"{rule['id']}: {' '.join(map(str, node['target']))}: {' '.join(node['failureSummary'].split())}"
        for rule in found.response["violations"]
        for node in rule["nodes"]
    ]
