"""flexlib: LoRA fine-tuning with a Fourier-domain penalty, its controls, and honest grading.

The packages stand in the order of the data, and one run is read from top to bottom in
:mod:`flexlib.runs.pipeline`: preflight, then train, generate, grade, store. CONTRIBUTING.md has the tour.
"""

__version__ = "0.1.0"
