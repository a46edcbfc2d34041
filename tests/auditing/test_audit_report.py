"""The report: nothing a model wrote is more than text in it, it needs nothing else, and everyone can read it."""

from __future__ import annotations

import dataclasses
import gzip
import itertools
import json

import pandas as pd
import pytest
from accessibility import violations

from flexlib.auditing import kept, report
from flexlib.auditing.tables import Audit
from flexlib.book import audits
from flexlib.book.chromium import PROGRAM, Chromium
from flexlib.errors import FlexError

HOSTILE = (
    "</code></pre><script>document.title = 'owned'</script><img src=x onerror=\"document.title='owned'\">"
    "<link rel=stylesheet href=https://example.org/x.css>\u2028\x00"
)


def row(language: str, word: str, **more) -> dict:
    shares = ("not_compiling", "another_language")
    return {
        "language": language, "benchmark": f"nanobench-{language}", "problems": 30, "samples": 1,
        "base": 0.4, "adapter": 0.1, "difference": -0.3, "low": -0.5, "high": -0.1, "confidence": 0.975,
        "detectable": 0.2, "word": word, "larger_than": None, "n_that_could": None,
        "lost_more_than_margin": True, "fixed": 0, "broken": 35,
        **{f"{arm}_{share}": 0.1 for arm in ("base", "adapter") for share in shares}, **more,
    }  # fmt: skip


@pytest.fixture(scope="module")
def audit() -> Audit:
    languages = pd.DataFrame([
        row("python", "no change larger than x", larger_than=0.0412, difference=0.0),
        row("java", "cannot tell", n_that_could=1234),
        row("javascript", "gained"),
        row("cpp", "lost"),
    ])  # fmt: skip
    programs = pd.DataFrame([
        {
            "language": "java", "benchmark": "nanobench-java", "task_id": f"t{i}", "sample": 0,
            "prompt": HOSTILE, "change": "broken", "base_program": HOSTILE, "base_verdict": "pass",
            "base_detail": "", "base_passed": True, "adapter_program": "x" * 300 + HOSTILE,
            "adapter_verdict": "compile_error", "adapter_detail": HOSTILE, "adapter_passed": False,
        }
        for i in range(35)
    ])  # fmt: skip
    ways = {
        f"{a}_{w}": 0.3 for a in ("base", "adapter") for w in ("as_written", "as_graded", "alone")
    }
    form = pd.DataFrame([
        {"language": r.language, "benchmark": r.benchmark, **ways, "change": -0.3,
         "change_of_program": -0.2, "change_of_form": -0.1}
        for r in languages.itertuples()
    ])  # fmt: skip
    modules = pd.DataFrame([
        {"module": "m.0.q_proj", "layer": 0, "projection": "q_proj", "rank": 8, "norm": 1.0,
         "relative_norm": 0.1, "effective_rank": 4.0, "stable_rank": 2.0, "random_effective_rank": 7.9,
         "random_stable_rank": 5.0, "directions": 10, "intruders": 3, "random_intruders": 5.0}
    ])  # fmt: skip
    spectrum = pd.DataFrame(
        [("singular_value", x, 1 / x, 0.4, 0.02) for x in (1.0, 2.0, 3.0)],
        columns=["quantity", "x", "value", "null", "null_sd"],
    )
    facts = {
        "adapter": f"some/{HOSTILE[:20]}", "adapter_sha256": "a", "base": "b", "base_sha256": "c",
        "profile": "nano", "decoding": {
            "nanobench-java": {"samples": 1, "temperature": 0.0, "precision": "fp32"},
            "nanobench-python": {"samples": 1, "temperature": 0.0, "precision": "fp32"},
            "nanobench-cpp": {"samples": 10, "temperature": 0.2, "precision": "bf16"},
        },
        "sandboxed": True, "runs": {"base": {"n": {"run": "r", "made": "now"}}}, "flexlib": "0",
        "utc": "2026-01-01", "packages": {"torch": "2"}, "toolchains": {}, "cpu": "cpu", "gpu": None,
        "margin": 0.05, "alpha": 0.05, "plan": None,
        "logits": {"precision": "fp32", "prompts": 8, "max_logit_difference": 1e-5, "changed_tokens": 0, "n": 300},
    }  # fmt: skip
    left_out = {"cpp": "g++ is not installed <b>"}
    return Audit(facts, left_out, languages, programs, form, modules, spectrum, languages)


def test_the_words(audit):
    said = [report.said(r) for r in audit.languages.to_dict("records")]
    assert said == [
        "no change larger than 4.2 points", "cannot tell (1,234 problems could)", "gained", "lost",
    ]  # fmt: skip
    text = "\n".join(report.summary(audit))
    assert all(word in text for word in said) and "cpp: left out (g++ is not installed" in text


def test_every_benchmark_is_said_to_be_asked_as_it_was(audit):
    page = report.to_html(audit)
    assert (
        "profile nano; nanobench-java, nanobench-python: samples 1, temperature 0, precision fp32; "
        "nanobench-cpp: samples 10, temperature 0.2, precision bf16" in page
    )


def test_a_share_that_cannot_be_told_is_a_dash(audit):
    languages = audit.languages.assign(base_another_language=float("nan"))
    page = report.to_html(dataclasses.replace(audit, languages=languages))
    assert "nan" not in page.replace("nanobench", "").replace("profile nano", "")
    assert page.count("<td>–</td>") == len(languages)


def test_the_json_has_everything(audit, tmp_path):
    page = report.write(audit, tmp_path / "out")
    data = json.loads((page.parent / "audit.json").read_text())
    assert set(data) == {
        *("facts", "left_out", "languages", "programs", "form", "modules", "spectrum", "merged")
    }
    assert len(data["programs"]) == 35 and data["languages"][0]["n_that_could"] is None
    assert data["languages"][1]["n_that_could"] == 1234
    assert "5 more that were broken are in" in page.read_text()


def test_a_folder_that_holds_something_is_left_alone(audit, tmp_path):
    (tmp_path / "out").mkdir()
    report.write(audit, tmp_path / "out")  # empty
    before = (tmp_path / "out" / "audit.html").read_bytes()
    with pytest.raises(FlexError, match="is there already"):
        report.write(audit, tmp_path / "out")
    assert (tmp_path / "out" / "audit.html").read_bytes() == before
    (tmp_path / "file").write_text("mine")
    with pytest.raises(FlexError, match="is there already"):
        report.write(audit, tmp_path / "file")
    assert not [p for p in tmp_path.iterdir() if p.name.endswith(".tmp")]


@pytest.mark.skipif(PROGRAM is None, reason="Chromium is not installed")
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_in_a_browser(audit, tmp_path, theme, width):
    page = report.write(audit, tmp_path / "out")
    with Chromium() as browser:
        browser.prefer(theme)
        browser.resize(width)
        seen = browser.visit(page.as_uri())
        browser.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
        assert (seen.requests, seen.errors, seen.failures) == ([page.as_uri()], [], [])
        assert browser.evaluate("document.title").startswith("Audit of")
        assert browser.evaluate("document.querySelectorAll('script, img, link').length") == 0
        assert browser.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        assert violations(browser) == []
        levels = browser.evaluate(
            "[...document.querySelectorAll('h1, h2, h3, h4')].map(h => +h.tagName[1])"
        )
        assert levels.count(1) == 1
        assert all(b - a <= 1 for a, b in itertools.pairwise(levels))


# --- audits that the study keeps ----------------------------------------------------------------------


def test_nothing_but_the_prompts_is_left_out(audit, tmp_path):
    audit = dataclasses.replace(audit, programs=audit.programs.assign(prompt="words of a prompt"))
    path = kept.keep(audit, tmp_path)
    again = kept.read(path)
    bare = dataclasses.replace(audit, programs=audit.programs.assign(prompt=""))
    assert report.to_html(again) == report.to_html(bare)
    assert report.to_json(again) == report.to_json(bare)
    assert kept.keep(again, tmp_path / "twice").read_bytes() == path.read_bytes()
    assert b"words of a prompt" not in gzip.decompress(path.read_bytes())


def test_the_command_keeps_a_report(audit, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(kept, "FOLDER", tmp_path / "kept")
    page = report.write(audit, tmp_path / "report")
    assert kept.main([str(page.parent)]) == 0
    [path] = (tmp_path / "kept").iterdir()
    assert capsys.readouterr().out.strip() == str(path)
    assert len(kept.read(path).programs) == len(audit.programs)
    assert kept.main([str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"facts": 1}'])
def test_what_is_no_report(tmp_path, content):
    (tmp_path / "audit.json").write_text(content)
    with pytest.raises(FlexError, match="is no report of flexlib audit"):
        kept.read(tmp_path / "audit.json")


def test_the_site_has_the_reports_that_are_kept_and_no_others(audit, tmp_path):
    kept.keep(audit, tmp_path / "kept")
    target = tmp_path / "html" / "audits"
    target.mkdir(parents=True)
    (target / "gone.html").write_text("of an audit that is kept no more")
    [page] = audits.write_reports(tmp_path / "kept", target)
    assert list(target.iterdir()) == [page]
    assert "<title>Audit of" in page.read_text()
