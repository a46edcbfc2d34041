"""flexlib: LoRA fine-tuning with a Fourier-domain penalty, its controls, and honest grading.

The stages of one run are plain functions that pass plain data along:
config -> data -> train -> generate -> grade -> metrics -> store.
"""

__version__ = "0.1.0"
