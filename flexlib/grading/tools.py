"""The tools of each language: found on this machine, and shown to the sandbox."""

from __future__ import annotations

from flexlib.grading.sandbox import Tools


def tools_for(language: str, unsafe: bool) -> Tools:
    """What the sandbox of ``language`` needs. Raises FlexError when it is not installed."""
    return {"python": _python}[language](unsafe)


def _python(unsafe: bool) -> Tools:
    return Tools()
