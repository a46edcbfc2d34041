"""The built site as a reader's browser sees it, without a network."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path

import pytest
from accessibility import violations

from flexlib.book.chromium import PROGRAM, Chromium

HTML = Path(__file__).parents[2] / "_build" / "html"
PAGES = sorted(HTML.glob("*.html"))

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="Chromium is not installed")


@pytest.fixture(scope="module")
def browser():
    with Chromium() as browser:
        yield browser


def test_errors_and_requests_of_a_page_are_noticed(browser, tmp_path):
    page = tmp_path / "page.html"
    page.write_text(
        "<link rel=stylesheet href='https://style.example/x.css'><img src='missing.png'>"
        "<script>fetch('https://data.example/'); console.error('said'); throw Error('thrown')</script>"
    )
    seen = browser.visit(page.as_uri())
    outside = {url for url in seen.requests if not url.startswith("file:")}
    assert outside == {"https://style.example/x.css", "https://data.example/"}
    for complaint in ("said", "thrown", "missing.png", "ERR_NAME_NOT_RESOLVED"):
        assert any(complaint in error for error in seen.errors), complaint


@pytest.fixture(params=PAGES or [None], ids=lambda page: page.stem if page else "no-site")
def page(request, browser):
    """Each built page, to be opened from disk on a desktop screen in the light theme."""
    if request.param is None:
        pytest.skip("no built site: run make book first")
    browser.resize(1280)
    browser.prefer("light")
    return request.param


def test_page_in_the_light_theme(browser, page):
    """On the desktop."""
    seen = browser.visit(page.as_uri())
    assert not seen.errors
    assert not [url for url in seen.requests if not url.startswith(("file:", "data:", "blob:"))]
    # Scripts may ask for more once they are used; these name what the page itself refers to.
    outside = """[...document.querySelectorAll('[src], link[href]')]
        .map(e => e.src || e.href).filter(url => /^https?:/.test(url))"""
    assert browser.evaluate(outside) == []
    assert set(browser.evaluate(FILTERS)) <= {"none"}
    is_complete(browser)
    unfold(browser)
    assert violations(browser) == []


def test_page_in_the_dark_theme(browser, page):
    """What a theme changes: colours, and figures turned round. And made smaller step by step."""
    browser.prefer("dark")
    browser.visit(page.as_uri())
    assert browser.evaluate("document.documentElement.dataset.theme") == "dark"
    assert set(browser.evaluate(FILTERS)) <= {"invert(1) hue-rotate(180deg)"}
    unfold(browser)
    for width in (1100, 390):  # a tablet, a phone
        browser.resize(width)
        fits(browser, width)
    assert violations(browser, rules=["color-contrast"]) == []


FILTERS = "[...document.querySelectorAll('.bd-article img')].map(i => getComputedStyle(i).filter)"


def is_complete(browser) -> None:
    """One heading, every picture there and described, formulas set, and no link to nowhere in the page."""
    assert browser.evaluate("document.documentElement.lang") == "en"
    # The theme repeats the heading for print.
    headings = "[...document.querySelectorAll('h1')].filter(h => !h.closest('#jb-print-docs-body'))"
    assert browser.evaluate(f"{headings}.length") == 1
    unexplained = "[...document.images].filter(i => !i.alt.trim()).map(i => i.src)"
    assert browser.evaluate(unexplained) == []
    broken = "[...document.images].filter(i => !i.naturalWidth).map(i => i.src)"
    assert browser.evaluate(broken) == []
    bare = """[...document.querySelectorAll('span.math, div.math')]
        .filter(e => !e.querySelector('mjx-container svg') || e.querySelector('[data-mjx-error]'))
        .map(e => e.textContent)"""
    assert browser.evaluate(bare) == []
    lost = """[...document.querySelectorAll('a[href]')].filter(a => a.protocol === 'file:'
        && a.pathname === location.pathname && a.hash.length > 1 && !a.closest('#programs')
        && !document.getElementById(decodeURIComponent(a.hash.slice(1)))).map(a => a.hash)"""
    assert browser.evaluate(lost) == []


def fits(browser, width: int) -> None:
    """Nothing lies beyond the right edge but in a box that scrolls by itself."""
    too_wide = """[...document.querySelectorAll('.bd-article *')].filter(e => {
            if (e.getBoundingClientRect().right <= innerWidth + 1) return false;
            for (let a = e.parentElement; a; a = a.parentElement)
                if (getComputedStyle(a).overflowX !== 'visible' && a.tagName !== 'BODY'
                    && a.getBoundingClientRect().right <= innerWidth + 1) return false;
            return true;
        }).map(e => e.tagName + '.' + e.className)"""
    assert browser.evaluate(too_wide) == []
    assert browser.evaluate("document.documentElement.scrollWidth") <= width


def unfold(browser) -> None:
    """Open what is folded: its colours count as well, once they have faded in."""
    browser.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    browser.evaluate("Promise.all(document.getAnimations().map(a => a.finished)).then(() => 0)")


def test_what_is_not_accessible_is_found(browser, tmp_path):
    page = tmp_path / "page.html"
    page.write_text(
        "<!doctype html><html lang=en><title>t</title><main><img src='data:,'>"
        "<p style='color: #aaa; background: #fff'>pale</p><button></button></main>"
    )
    browser.visit(page.as_uri())
    found = {line.split(":")[0] for line in violations(browser)}
    assert found == {"image-alt", "color-contrast", "button-name"}
    colours = {line.split(":")[0] for line in violations(browser, rules=["color-contrast"])}
    assert colours == {"color-contrast"}


def test_one_pale_word_late_in_a_long_listing_is_found(browser, tmp_path):
    """Though an audit looks at few words of a look, it looks at every look."""
    page = tmp_path / "page.html"
    words = "<span class=n>word</span> " * 300
    pale = "<style>.light .o { color: #bbb } body { background: #fff }</style>"
    plain, light = (
        f"<div class=highlight-python><div class={name}><pre>{words}<span class=o>plus</span></pre></div></div>"
        for name in ("dark", "light")
    )
    page.write_text(
        f"<!doctype html><html lang=en><title>t</title>{pale}<main>{plain * 5}{light}</main>"
    )
    browser.visit(page.as_uri())
    assert violations(browser, rules=["color-contrast"])


def test_one_pale_cell_late_in_a_long_table_is_found(browser, tmp_path):
    page = tmp_path / "page.html"
    rows = ["<tr><td>cell</td><td><b>word</b></td></tr>"] * 60
    rows[50] = "<tr><td>cell</td><td><b style='color: #bbb'>word</b></td></tr>"
    table = (
        f"<table><thead><tr><th>a</th><th>b</th></tr></thead><tbody>{''.join(rows)}</tbody></table>"
    )
    ground = "<style>body { background: #fff }</style>"
    page.write_text(f"<!doctype html><html lang=en><title>t</title>{ground}<main>{table}</main>")
    browser.visit(page.as_uri())
    assert violations(browser, rules=["color-contrast"])
    assert browser.evaluate("document.querySelectorAll('tbody td').length") == 6


def test_what_does_not_fit_is_found(browser, tmp_path):
    page = tmp_path / "page.html"
    page.write_text(
        "<main class=bd-article><p style='width: 600px'>wide</p>"
        "<div style='overflow-x: auto'><p style='width: 900px'>in a box</p></div></main>"
    )
    browser.resize(1280)
    browser.visit(page.as_uri())
    fits(browser, 1280)
    browser.resize(390)
    with pytest.raises(AssertionError, match="P"):
        fits(browser, 390)


def test_search_finds_a_page_and_its_notebook_can_be_fetched(browser):
    if not PAGES:
        pytest.skip("no built site: run make book first")
    browser.visit(f"{(HTML / 'search.html').as_uri()}?q=provenance")
    found = "[...document.querySelectorAll('#search-results li a')].map(a => a.textContent)"
    assert "Provenance" in browser.evaluate(found)
    browser.visit((HTML / "provenance.html").as_uri())
    downloads = "[...document.querySelectorAll('.dropdown-download-buttons a')].map(a => a.href)"
    files = [Path(url.removeprefix("file://")) for url in browser.evaluate(downloads)]
    assert {file.name for file in files} == {"provenance.ipynb", "provenance.md"}
    assert all(file.is_file() for file in files)


# --- what a reader does -----------------------------------------------------------------------------


@pytest.fixture
def site(browser):
    """The browser on a desktop screen, and a function that opens a page of the site by name."""
    if not PAGES:
        pytest.skip("no built site: run make book first")
    browser.resize(1280)
    browser.prefer("light")

    def visit(name: str, anchor: str = ""):
        browser.visit("about:blank")  # a page is not loaded again for another anchor
        browser.page.mouse.move(0, 0)
        seen = browser.visit((HTML / f"{name}.html").as_uri() + anchor)
        assert not seen.errors
        return seen

    return browser, visit


def described(page: Path) -> str:
    """What a page tells search engines."""
    found = re.search(r'<meta name="description" content="([^"]*)"', page.read_text("utf-8"))
    assert found
    return unescape(found[1])


def test_landing_page_is_light_and_says_what_was_found(site):
    browser, visit = site
    seen = visit("index")
    files = {
        Path(url.removeprefix("file://").split("?")[0])
        for url in seen.requests
        if url.startswith("file:")
    }
    weight = sum(path.stat().st_size for path in files)
    assert weight < 1_000_000, sorted((p.stat().st_size, p.name) for p in files)[-5:]
    title, finding = browser.evaluate(
        "[document.querySelector('h1').innerText, document.querySelector('.finding').innerText]"
    )
    assert title and finding.endswith(".")
    # Sentence and figure are in sight before anything is scrolled.
    bottom = "Math.max(...[...document.querySelectorAll('.finding, figure.hero img')].map(e => e.getBoundingClientRect().bottom))"
    assert browser.evaluate(bottom) <= 900
    meta = browser.evaluate("[...document.querySelectorAll('meta[name], meta[property]')].map(m => "
                            "[m.name || m.getAttribute('property'), m.content])")  # fmt: skip
    said = dict(meta)
    # Search engines show no more than some 300 characters.
    whole, told = " ".join(finding.split()), said["description"]
    assert told == said["og:description"] and len(told) <= 300
    assert told == whole or (told.endswith(" ...") and whole.startswith(told.removesuffix(" ...")))
    assert "<" not in described(
        HTML / "method.html"
    )  # whose first sentence has a word of the glossary
    assert (HTML / said["og:image"]).read_bytes().startswith(b"\x89PNG")
    assert browser.evaluate("document.querySelector('link[rel=icon]').href").endswith(".svg")


def test_a_card_leads_to_a_page_that_has_its_claim(site):
    browser, visit = site
    visit("index")
    links = browser.evaluate("[...document.querySelectorAll('.claims .sd-card-footer a')].map(a => "
                             "[a.getAttribute('href'), a.innerText])")  # fmt: skip
    claims = [(page, text.split(",")[0]) for page, text in links if ", profile" in text]
    assert len(claims) > 5
    for page, claim in claims:
        assert re.search(rf"(?<![\w-]){claim}(?![\w-])", (HTML / page).read_text("utf-8")), claim


def test_a_verdict_is_told_by_colour_and_in_words(site):
    browser, visit = site
    visit("index")
    badges = browser.evaluate("[...document.querySelectorAll('.claims .verdict')].map(b => "
                              "[b.innerText.trim(), getComputedStyle(b).backgroundColor])")  # fmt: skip
    assert badges and all(text for text, _ in badges)
    colours = dict(badges)
    alike = {
        "yes": "reproduced",
        "confirmed": "reproduced",
        "no": "not reproduced",
        "not confirmed": "not reproduced",
    }
    assert len(set(colours.values())) == len({alike.get(text, text) for text in colours})


@pytest.mark.parametrize("by", ["pointer", "keyboard"])
def test_a_figure_answers(site, by):
    browser, visit = site
    seen = visit("index")
    assert not [url for url in seen.requests if "vega" in url]
    if by == "pointer":
        browser.point_at("figure.hero img")
    else:
        browser.evaluate("document.querySelector('figure.hero + .figure-links button').focus()")
        browser.press("Enter")
    browser.wait_for("document.querySelector('figure.enlivened .drawn svg') !== null")
    marks = "document.querySelectorAll('figure.hero .drawn .mark-symbol path').length"
    everything = browser.evaluate(marks)
    # Pointing at a mark tells its numbers.
    browser.evaluate(
        "document.querySelectorAll('figure.hero .drawn .mark-symbol path')[3].classList.add('probe')"
    )
    browser.point_at("figure.hero .probe")
    told = browser.wait_for("document.querySelector('#vg-tooltip-element.visible')?.innerText")
    for heading in ("arm", "language", "seeds", "n (tasks)", "pass@1", "95 % interval"):
        assert heading in told
    # A series can be switched off and on again, by keyboard.
    browser.evaluate("document.querySelector('figure.hero .chart input[type=checkbox]').focus()")
    browser.press(" ")
    browser.wait_for(f"{marks} < {everything}")
    browser.press(" ")
    browser.wait_for(f"{marks} === {everything}")
    # And the picture comes back.
    browser.click("figure.hero + .figure-links button")
    assert (
        browser.evaluate("getComputedStyle(document.querySelector('figure.hero img')).display")
        != "none"
    )


def test_data_and_code_are_one_click_away(site, page):
    browser, visit = site
    visit(page.stem)
    links = browser.evaluate(
        "[...document.querySelectorAll('.figure-links a')].map(a => a.getAttribute('href'))"
    )
    for link in links:
        if link.startswith("#"):
            assert browser.evaluate(f"document.getElementById({link[1:]!r}) !== null"), link
        else:
            assert (HTML / link).is_file(), link
    captioned = "[...document.querySelectorAll('.bd-article figure[id], .bd-article table[id]:not(.not-run)')]"
    bare = browser.evaluate(f"{captioned}.filter(e => !(e.closest('.pst-scrollable-table-container') ?? e)"
                            ".nextElementSibling?.matches('.figure-links')).map(e => e.id)")  # fmt: skip
    assert bare == []
    assert (
        browser.evaluate(
            "document.querySelectorAll('details.hide:not(:has(+ .cell_output))').length"
        )
        == 0
    )
    if code := next((link for link in links if link.startswith("#")), None):
        browser.click(f'.figure-links a[href="{code}"]')
        seen = f"(e => e.checkVisibility() && e.innerText.includes('glue'))(document.querySelector({code!r}))"
        assert browser.wait_for(seen)


def test_tables_sort_by_keyboard_and_tell_how(site):
    browser, visit = site
    visit("provenance")
    browser.evaluate(
        "document.querySelector('#tab-provenance-runs th:nth-child(4) button').focus()"
    )
    column = ("[...document.querySelectorAll('#tab-provenance-runs tbody tr')]"
              ".map(r => Number(r.cells[3].innerText))")  # fmt: skip
    for order in ("ascending", "descending"):
        browser.press("Enter")
        assert (
            browser.evaluate(
                "document.querySelector('#tab-provenance-runs th:nth-child(4)').ariaSort"
            )
            == order
        )
        seeds = browser.evaluate(column)
        assert seeds == sorted(seeds, reverse=order == "descending")
    assert len(seeds) > 10


def test_wide_tables_keep_their_first_column_on_a_phone(site):
    browser, visit = site
    browser.resize(390)
    visit("provenance")
    left = browser.evaluate("""(() => {
        const table = document.querySelector('#tab-provenance-runs');
        const box = table.closest('.pst-scrollable-table-container');
        box.scrollLeft = 200;
        return [box.scrollLeft, box.getBoundingClientRect().left, table.rows[3].cells[0].getBoundingClientRect().left];
    })()""")
    assert left[0] > 50 and abs(left[1] - left[2]) < 3


def test_a_word_of_the_glossary_explains_itself_and_can_be_dismissed(site):
    browser, visit = site
    visit("lora")
    tip = "getComputedStyle(document.querySelector('.term [role=tooltip]')).display"
    assert browser.evaluate(tip) == "none"
    browser.evaluate("document.querySelector('.term a').focus()")
    assert browser.evaluate(tip) == "block"
    browser.press("Escape")
    assert browser.evaluate(tip) == "none"
    browser.evaluate("document.activeElement.blur()")
    browser.point_at(".term a")
    assert browser.evaluate(tip) == "block"
    link = browser.evaluate("document.querySelector('.term a').href")
    path, anchor = link.removeprefix("file://").split("#")
    assert f'id="{anchor}"' in Path(path).read_text()


# --- read the programs -----------------------------------------------------------------------------

STATUS = "document.querySelector('#programs .status').innerText"
READY = "document.querySelector('#programs:not([hidden]) .answer pre') !== null"


def test_programs_are_read_by_keyboard(site):
    browser, visit = site
    visit("programs")
    browser.wait_for(READY)
    # Every control is reached by the tabulator in turn, and has a name.
    browser.evaluate("document.forms.programs.elements.family.focus()")
    reached = []
    for _ in range(14):
        reached.append(browser.evaluate("document.activeElement.name"))
        browser.press("Tab")
    wanted = ["family", "language", "task", "arm0", "seed0", "arm1", "seed1", "arm2", "seed2", "previous", "next",
              "random", "disagreement", "link"]  # fmt: skip
    disabled = browser.evaluate(
        "[...document.forms.programs.elements].filter(e => e.disabled).map(e => e.name)"
    )
    assert reached[: len(wanted) - len(disabled)] == [
        name for name in wanted if name not in disabled
    ]
    before = browser.evaluate(STATUS)
    browser.evaluate("document.forms.programs.elements.disagreement.focus()")
    browser.press("Enter")
    after = browser.evaluate(STATUS)
    assert after != before
    verdicts = browser.evaluate(
        "[...document.querySelectorAll('.answer .verdict')].map(v => v.innerText)"
    )
    assert len(verdicts) > 1 and len(set(verdicts)) > 1
    browser.evaluate("document.forms.programs.elements.task.focus()")
    browser.press("ArrowDown")
    assert browser.evaluate(STATUS) != after


def test_programs_are_read_by_pointer_and_a_view_has_an_address(site):
    browser, visit = site
    visit("programs")
    browser.wait_for(READY)
    browser.click("#programs [name=next]")
    browser.click("#programs [name=disagreement]")
    shown = "document.querySelector('.answers').innerText"
    text, address = browser.evaluate(shown), browser.evaluate("location.hash")
    assert browser.evaluate("document.querySelector('#programs [name=link]').hash") == address
    visit("programs", address)
    browser.wait_for(READY)
    assert browser.evaluate(shown) == text
    # Another language shows the same task.
    number = browser.evaluate(
        "document.forms.programs.elements.task.selectedOptions[0].text.match(/\\d+/)[0]"
    )
    browser.evaluate("(s => { s.selectedIndex = 1 - s.selectedIndex; s.dispatchEvent(new Event('change', {bubbles: true})); })"
                     "(document.forms.programs.elements.language)")  # fmt: skip
    browser.wait_for(f"location.hash !== {address!r} && {READY}")
    assert (
        browser.evaluate(
            "document.forms.programs.elements.task.selectedOptions[0].text.match(/\\d+/)[0]"
        )
        == number
    )


def test_programs_show_where_they_differ_and_what_the_grader_said(site):
    browser, visit = site
    visit("programs")
    browser.wait_for(READY)
    browser.click("#programs [name=disagreement]")
    parts = browser.evaluate("""[...document.querySelectorAll('.answer')].map(a => ({
        lines: [...a.querySelectorAll('.line')].map(l => [l.innerText.trimEnd(), l.matches('mark')]),
        tokens: a.querySelectorAll('.token').length, label: a.ariaLabel}))""")
    assert all(part["tokens"] and "seed" in part["label"] for part in parts)
    for part in parts:
        for line, marked in part["lines"]:
            elsewhere = [
                any(line == other for other, _ in p["lines"]) for p in parts if p is not part
            ]
            if not all(elsewhere):
                assert marked, line
    failed = "[...document.querySelectorAll('.answer:has(.verdict-fail)')].map(a => a.querySelector('.detail')?.innerText)"
    assert any(browser.evaluate(failed))


def test_data_of_the_programs_are_small_and_loaded_when_needed(site):
    browser, visit = site
    seen = visit("programs")
    browser.wait_for(READY)
    loaded = {
        Path(url.removeprefix("file://")).name for url in seen.requests if "_data/programs/" in url
    }
    available = {path.name for path in (HTML / "_data/programs").glob("*.js")}
    assert len(loaded) == 2 and loaded < available
    assert all(path.stat().st_size <= 3_000_000 for path in (HTML / "_data/programs").glob("*.js"))


def test_pages_can_be_read_without_scripts(site):
    browser, _ = site
    browser.scripts(False)
    try:
        for name in ("index", "lora", "claims"):
            browser.visit((HTML / f"{name}.html").as_uri())
            # The debugger's own scripts still run.
            assert browser.evaluate("document.querySelector('.bd-article').innerText.length") > 1000
            assert browser.evaluate("[...document.images].every(i => i.naturalWidth)")
            assert browser.evaluate("document.querySelectorAll('.figure-links button').length") == 0
        browser.visit((HTML / "programs.html").as_uri())
        assert "data/runs" in browser.evaluate("document.querySelector('.bd-article').innerText")
    finally:
        browser.scripts(True)
