"""WCAG 2.2 AA by axe-core, on every page of the built site, in both themes."""

from __future__ import annotations

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
        browser.resize(1280)
        yield browser


def test_what_is_not_accessible_is_found(browser, tmp_path):
    page = tmp_path / "page.html"
    page.write_text(
        "<!doctype html><html lang=en><title>t</title><main><img src='data:,'>"
        "<p style='color: #aaa; background: #fff'>pale</p><button></button></main>"
    )
    browser.visit(page.as_uri())
    found = {line.split(":")[0] for line in violations(browser)}
    assert found == {"image-alt", "color-contrast", "button-name"}


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("page", PAGES or [None], ids=lambda page: page.stem if page else "no-site")
def test_page_meets_wcag_2_2_aa(browser, page, theme):
    if page is None:
        pytest.skip("no built site: run make book first")
    browser.prefer(theme)
    browser.visit(page.as_uri())
    # Colours of folded parts count as well, once they are opened and have faded in.
    browser.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    browser.evaluate("Promise.all(document.getAnimations().map(a => a.finished)).then(() => 0)")
    assert violations(browser) == []
