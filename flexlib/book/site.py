"""Sphinx extension: no stale output, no unseen warning, a footer, and notebooks to download.

Jupyter Book executes a notebook again only when its own code changes. A page of this book also
depends on the package and on the data, so a digest of both is kept with the executions and with the
pages, and what does not match it is made again.
"""

from __future__ import annotations

import datetime
import hashlib
import platform
import shutil
from html import escape
from pathlib import Path
from typing import Any

import yaml
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.environment import BuildEnvironment

from flexlib.book import sources
from flexlib.runs.provenance import git_state, package_versions

READ_BY_NOTEBOOKS = ("flexlib", "data")
SCRIPTS = ("book.js",)


def project_of(app: Sphinx) -> Path:
    """The project's folder: the one that holds ``book/``."""
    return Path(app.srcdir).parent


def citation(project: Path) -> dict[str, Any]:
    """CITATION.cff of the project, the one place for its addresses; empty if there is none."""
    path = project / "CITATION.cff"
    return yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else {}


def digest(root: Path) -> str:
    """SHA-256 over the paths and the content of all files that notebooks may read."""
    total = hashlib.sha256()
    for folder in READ_BY_NOTEBOOKS:
        for path in sorted((root / folder).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                total.update(f"{path.relative_to(root)}\0".encode())
                total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def forget_stale_executions(app: Sphinx, config: Config) -> None:
    """Empty the execution cache if it was filled with another package or other data."""
    cache = Path(config.nb_execution_cache_path or Path(app.outdir).parent / ".jupyter_cache")
    stamp = cache.with_name(".inputs.sha256")
    now = digest(project_of(app))
    if not stamp.exists() or stamp.read_text() != now:
        shutil.rmtree(cache, ignore_errors=True)
        stamp.parent.mkdir(parents=True, exist_ok=True)
        stamp.write_text(now)


def reread_stale_pages(
    app: Sphinx, env: BuildEnvironment, added: set[str], changed: set[str], removed: set[str]
) -> list[str]:
    """Name every page if the saved pages show outputs of another package or other data.

    The digest is saved with the pages, not with the execution cache: after a build that failed half
    way the two differ.
    """
    known, now = getattr(env, "flexlib_inputs", None), digest(project_of(app))
    env.flexlib_inputs = now  # type: ignore[attr-defined]  # Sphinx saves what is on it
    return [] if known == now else sorted(env.found_docs)


def forget_pages_with_warnings(app: Sphinx, exception: Exception | None) -> None:
    """Read all pages again after a build with warnings; else the next build would not see them."""
    if app._warncount:
        Path(app.doctreedir, "environment.pickle").unlink(missing_ok=True)


def footer() -> str:
    """One line of HTML: when, from what and with what the site was built."""
    state, packages = git_state(), package_versions()
    commit = state["commit"][:10] + "+" * state["dirty"] if state else "unknown"
    versions = ", ".join(f"{name} {packages[name]}" for name in ("torch", "transformers", "peft"))
    return (
        f"Built {datetime.date.today().isoformat()} from commit <code>{commit}</code> with Python "
        f"{platform.python_version()}, {versions} on {platform.system()} {platform.machine()}. "
        'How to cite, and what was run: <a href="provenance.html">Provenance</a>.'
    )


def configure(app: Sphinx, config: Config) -> None:
    """Write the footer and drop the scripts that Jupyter Book adds to every page unasked."""
    config.html_theme_options["extra_footer"] = footer()
    # Jupyter Book loads every script it finds; the others are loaded by the page that needs them.
    config.html_js_files = [name for name in config.html_js_files if name in SCRIPTS]


def describe(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """Tell search engines and link previews what a page says: its first paragraph, and the front page's
    figure. Their image needs an absolute address, which is known if CITATION.cff has a `url`."""
    if doctree is None:
        return
    title = context["title"]
    first = next((p for p in doctree.findall(nodes.paragraph) if p.astext().strip()), None)
    text = _plain(first) if first else title
    text = text if len(text) <= 300 else text[:297].rsplit(" ", 1)[0] + " ..."
    base = citation(project_of(app)).get("url", "").rstrip("/")
    tags = {"description": text, "og:title": title, "og:description": text, "og:type": "article"}
    if any(
        sources.CARD in kept.get("glue", ())
        for kept in getattr(app.env, "nb_metadata", {}).values()
    ):
        tags |= {
            "og:image": f"{base}/_static/card.png" if base else "_static/card.png",
            "og:image:alt": "Pass rates in Python and Java for each arm of the study",
            "twitter:card": "summary_large_image",
        }
    if base:
        tags["og:url"] = f"{base}/{page}.html"
    context["metatags"] = context.get("metatags", "") + "".join(
        f'<meta {"property" if name.startswith("og:") else "name"}="{name}" content="{escape(value)}" />\n'
        for name, value in tags.items()
    )


def _plain(paragraph: nodes.paragraph) -> str:
    """The words of a paragraph; of the glossary's HTML the word that it explains."""
    for term in list((copied := paragraph.deepcopy()).findall(nodes.raw)):
        term.replace_self(nodes.Text(term.rawsource))
    return " ".join(copied.astext().split())


def drop_unused_scripts(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """Take MathJax, 2 MB, from a page without a formula: Sphinx adds it also where a page that stands below
    has one, and all pages stand below the first. The script of sphinx-design's tabs is of use where there
    are some."""
    unused = []
    if not app.env.domaindata["math"]["has_equations"].get(page):
        unused.append(app.config.mathjax_path)
    if "sd-tab-set" not in context.get("body", ""):
        unused.append("design-tabs.js")
    scripts = context.get("script_files", [])
    scripts[:] = [s for s in scripts if not str(getattr(s, "filename", s)).endswith(tuple(unused))]


# What others write, and what it has to be for a screen reader.
MENDED = {
    # Sphinx: deprecated in ARIA 1.3, and nothing that a list may hold.
    'role="doc-biblioentry"': 'role="listitem"',
    # myst-nb: a name that hides the text which is the name.
    '<summary aria-label="Toggle hidden content">': "<summary>",
}


def mend(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """Replace the markup of other packages that WCAG 2.2 AA does not allow."""
    for theirs, ours in MENDED.items():
        context["body"] = context.get("body", "").replace(theirs, ours)


def offer_notebook(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """Put the executed notebook beside the page's source, for the theme's download button."""
    notebook = Path(app.outdir).parent / "jupyter_execute" / f"{page}.ipynb"
    if doctree is not None and notebook.exists():
        target = Path(app.outdir, "_sources", notebook.name)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(notebook, target)
        context["ipynb_source"] = notebook.name


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx (``extensions`` in _config.yml)."""
    app.setup_extension("flexlib.book.sources")
    app.setup_extension("flexlib.book.audits")
    app.setup_extension("flexlib.book.explorer")
    app.setup_extension("flexlib.book.glossary")
    app.connect("config-inited", configure)
    app.connect("config-inited", forget_stale_executions)
    app.connect("env-get-outdated", reread_stale_pages)
    app.connect("html-page-context", describe)
    app.connect("html-page-context", mend)
    app.connect("html-page-context", drop_unused_scripts, priority=900)
    app.connect("html-page-context", offer_notebook)
    app.connect("build-finished", forget_pages_with_warnings)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
