"""WCAG 2.2 AA by axe-core, on the page that is open in a browser."""

from collections.abc import Sequence

from axe_playwright_python.sync_playwright import Axe

from flexlib.book.chromium import Chromium

WCAG = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa")  # tags of rules: 2.2, level AA


#: Rows of a table are alike, and so are words of listings: two of each look are kept. With thousands an
#: audit takes minutes, most of it for colours. So it is with the text of formulas, which is not seen.
FURTHER = """(() => {
    const ground = e => {
        const color = getComputedStyle(e).backgroundColor;
        return color !== 'rgba(0, 0, 0, 0)' || !e.parentElement ? color : ground(e.parentElement);
    };
    const look = e => {
        const style = getComputedStyle(e);
        return [e.tagName, style.color, style.fontSize, style.fontWeight, ground(e)].join();
    };
    const tables = [...document.querySelectorAll('table')];
    const rows = [...document.querySelectorAll('tbody > tr')];
    const words = [...document.querySelectorAll('pre span')].filter(e => !e.children.length);
    const spoken = [...document.querySelectorAll('mjx-assistive-mml')].slice(2);
    const looks = [
        ...rows.map(row => {
            const table = tables.indexOf(row.closest('table'));
            return [table, ...new Set([row, ...row.querySelectorAll('*')].map(look))].join();
        }),
        ...words.map(look),
    ];
    const seen = new Map();
    [...rows, ...words].forEach((e, i) => {  // none before all are looked at: each would make the page lay itself out anew
        seen.set(looks[i], 1 + (seen.get(looks[i]) ?? 0));
        if (seen.get(looks[i]) > 2) e.replaceChildren();  // a row that is gone would give the next its ground
    });
    spoken.forEach(e => e.remove());
})()"""


def violations(browser: Chromium, rules: Sequence[str] = WCAG) -> list[str]:
    """What axe-core finds by rules or by all of a tag: rule, place and reason. Of a table's rows, of words of
    listings and of formulas two of each look are looked at; the others are emptied."""
    browser.evaluate(FURTHER)
    options = {"runOnly": list(rules), "resultTypes": ["violations"]}
    found = Axe().run(browser.page, options=options)
    return [
        f"{rule['id']}: {' '.join(map(str, node['target']))}: {' '.join(node['failureSummary'].split())}"
        for rule in found.response["violations"]
        for node in rule["nodes"]
    ]
