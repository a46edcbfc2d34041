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
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.environment import BuildEnvironment

from flexlib.runs.provenance import git_state, package_versions

READ_BY_NOTEBOOKS = ("flexlib", "data")


def project_of(app: Sphinx) -> Path:
    """The project's folder: the one that holds ``book/``."""
    return Path(app.srcdir).parent


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
    env.flexlib_inputs = now
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
    # Jupyter Book loads every script it finds; MathJax is for pages with formulas only.
    config.html_js_files = [name for name in config.html_js_files if name != config.mathjax_path]


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
    app.connect("config-inited", configure)
    app.connect("config-inited", forget_stale_executions)
    app.connect("env-get-outdated", reread_stale_pages)
    app.connect("html-page-context", offer_notebook)
    app.connect("build-finished", forget_pages_with_warnings)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
