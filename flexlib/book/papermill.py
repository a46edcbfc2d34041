"""Let papermill read the book's MyST notebooks: ``papermill book/quickstart.md out.ipynb -p seed 7``.

papermill chooses a reader by the first letters of the path; pyproject.toml registers this one for
``book/`` (entry point group ``papermill.io``).
"""

from __future__ import annotations

from pathlib import Path

import click
import jupytext
import nbformat
from papermill.iorw import LocalHandler


class MystHandler(LocalHandler):
    """Local files, where a ``.md`` path is read as the notebook that its MyST text describes."""

    def read(self, path: str) -> str:
        """Return the notebook at ``path`` as JSON.

        Raises:
            click.ClickException: the file is missing, or is a page without code. papermill's command
                line prints it without a traceback.
        """
        if not path.endswith(".md"):
            return super().read(path)
        if not Path(path).is_file():
            raise click.ClickException(f"there is no notebook {path}")
        notebook = jupytext.read(path)
        if "kernelspec" not in notebook.metadata:
            raise click.ClickException(f"{path} is a page, not a notebook: it names no kernel")
        # papermill asks for the language, which MyST front matter leaves to the kernel.
        notebook.metadata.kernelspec.setdefault("language", "python")
        return nbformat.writes(notebook)


handler = MystHandler()
