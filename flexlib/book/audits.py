"""The reports of kept audits as pages of the site, ``audits/<name>.html``: after a build, made anew.

The prompts of the benchmarks are in them where ``FLEX_BENCHMARK_DATA`` names a folder that has them.
"""

from __future__ import annotations

import os
from pathlib import Path

from sphinx.application import Sphinx

from flexlib import disk
from flexlib.auditing import kept, report
from flexlib.book import explorer

PAGE = "audited"  # the chapter that links to them


def write_reports(folder: Path, target: Path, data_dir: str | None) -> list[Path]:
    """Write the report of every audit in ``folder`` into ``target``, and remove others."""
    written = []
    for path in sorted(folder.glob("*.json.gz")):
        audit = kept.read(path)
        names = audit.languages["benchmark"]
        texts = {name: found for name in names if (found := explorer.prompts(name, data_dir))}
        page = target / f"{path.name.removesuffix('.json.gz')}.html"
        target.mkdir(parents=True, exist_ok=True)
        html = report.to_html(kept.with_prompts(audit, texts))
        disk.write_atomically(page, html.encode("utf-8", "replace"))
        written.append(page)
    for page in set(target.glob("*.html")) - set(written):
        page.unlink()
    return written


def after_build(app: Sphinx, exception: Exception | None) -> None:
    """Write the reports beside the pages."""
    if exception or app.builder.format != "html" or PAGE not in app.env.found_docs:
        return
    folder = Path(app.srcdir).parent / "data" / "audits"
    write_reports(folder, Path(app.outdir) / "audits", os.environ.get("FLEX_BENCHMARK_DATA"))


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("build-finished", after_build)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
