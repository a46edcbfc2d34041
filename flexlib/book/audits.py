"""The reports of kept audits as pages of the site, ``audits/<name>.html``: after a build, made anew."""

from __future__ import annotations

from pathlib import Path

from sphinx.application import Sphinx

from flexlib import disk
from flexlib.auditing import kept, report

PAGE = "audited"  # the chapter that links to them


def write_reports(folder: Path, target: Path) -> list[Path]:
    """Write the report of every audit in ``folder`` into ``target``, and remove others."""
    target.mkdir(parents=True, exist_ok=True)
    written = []
    for path in sorted(folder.glob("*.json.gz")):
        page = target / f"{path.name.removesuffix('.json.gz')}.html"
        html = report.to_html(kept.read(path))
        disk.write_atomically(page, html.encode("utf-8", "replace"))
        written.append(page)
    for page in set(target.glob("*.html")) - set(written):
        page.unlink()
    return written


def after_build(app: Sphinx, exception: Exception | None) -> None:
    """Write the reports beside the pages."""
    if exception or app.builder.format != "html" or PAGE not in app.env.found_docs:
        return
    write_reports(Path(app.srcdir).parent / "data" / "audits", Path(app.outdir) / "audits")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("build-finished", after_build)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
