"""flexlib: LoRA fine-tuning with a Fourier-domain penalty, its controls, and honest grading.

The packages stand in the order of the data, and one run is read from top to bottom in
:mod:`flexlib.runs.pipeline`: preflight, then train, generate, grade, store. CONTRIBUTING.md has the tour.
``flexlib.audit`` is :func:`flexlib.auditing.audit`: what an adapter did to other languages.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flexlib.auditing import audit as audit

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """The public function, imported when it is asked for: torch and pandas take seconds."""
    if name == "audit":
        from flexlib.auditing import audit

        return audit
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
