"""Let papermill read the book's MyST notebooks: ``papermill book/quickstart.md out.ipynb -p seed 7``.

papermill chooses a reader by the first letters of the path, which are not always the same: a chapter
has an absolute path, and one from inside ``book/``. So its reader of local files, which gets all that
no prefix claims, is taught MyST here. papermill loads this module itself, by the entry point that
pyproject.toml registers; it stands here and not in `flexlib.book`, whose import takes seconds.
"""

from __future__ import annotations

import click
import jupytext
import nbformat
from papermill.iorw import LocalHandler

_read_as_it_is = LocalHandler.read


def read(self: LocalHandler, path: str) -> str:
    """Return the notebook at ``path`` as JSON; a ``.md`` file is what its MyST text describes.

    Raises:
        click.ClickException: the ``.md`` file is missing, or is a page without code. papermill's
            command line prints it without a traceback.
    """
    if not path.endswith(".md"):
        return _read_as_it_is(self, path)
    try:
        text = _read_as_it_is(self, path)
    except FileNotFoundError:
        raise click.ClickException(f"there is no notebook {path}") from None
    notebook = jupytext.reads(text, "md")
    if "kernelspec" not in notebook.metadata:
        raise click.ClickException(f"{path} is a page, not a notebook: it names no kernel")
    # papermill asks for the language, which MyST front matter leaves to the kernel.
    notebook.metadata.kernelspec.setdefault("language", "python")
    return nbformat.writes(notebook)


LocalHandler.read = read
handler = LocalHandler()
