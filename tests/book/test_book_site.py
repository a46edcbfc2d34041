"""The built site as a reader's browser sees it, without a network."""

from __future__ import annotations

from pathlib import Path

import pytest

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
    """Each built page, opened from disk on a desktop screen in the light theme."""
    if request.param is None:
        pytest.skip("no built site: run make book first")
    browser.resize(1280)
    browser.prefer("light")
    return request.param


def test_page_loads_without_errors_or_the_network(browser, page):
    seen = browser.visit(page.as_uri())
    assert not seen.errors
    assert not [url for url in seen.requests if not url.startswith(("file:", "data:", "blob:"))]
    # Scripts may ask for more once they are used; these name what the page itself refers to.
    outside = """[...document.querySelectorAll('[src], link[href]')]
        .map(e => e.src || e.href).filter(url => /^https?:/.test(url))"""
    assert browser.evaluate(outside) == []


def test_page_is_complete_and_accessible(browser, page):
    browser.visit(page.as_uri())
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
        && a.pathname === location.pathname && a.hash.length > 1
        && !document.getElementById(decodeURIComponent(a.hash.slice(1)))).map(a => a.hash)"""
    assert browser.evaluate(lost) == []


def test_page_fits_a_phone(browser, page):
    browser.resize(390)
    browser.visit(page.as_uri())
    too_wide = """[...document.querySelectorAll('.bd-article *')].filter(e => {
            if (e.getBoundingClientRect().right <= innerWidth + 1) return false;
            for (let a = e.parentElement; a; a = a.parentElement)
                if (getComputedStyle(a).overflowX !== 'visible' && a.tagName !== 'BODY'
                    && a.getBoundingClientRect().right <= innerWidth + 1) return false;
            return true;
        }).map(e => e.tagName + '.' + e.className)"""
    assert browser.evaluate(too_wide) == []
    assert browser.evaluate("document.documentElement.scrollWidth") <= 390


def test_figures_are_turned_round_in_the_dark_theme_only(browser, page):
    filters = (
        "[...document.querySelectorAll('.bd-article img')].map(i => getComputedStyle(i).filter)"
    )
    browser.visit(page.as_uri())
    assert set(browser.evaluate(filters)) <= {"none"}
    browser.prefer("dark")
    browser.visit(page.as_uri())
    assert browser.evaluate("document.documentElement.dataset.theme") == "dark"
    assert set(browser.evaluate(filters)) <= {"invert(1) hue-rotate(180deg)"}


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
