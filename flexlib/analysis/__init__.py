"""What is computed from stored runs, adapters and models: spectra, merging, symmetry.

An analysis of stored runs is a row of ``stored.ANALYSES``; the other modules are what they compute.
"""

from flexlib.analysis.stored import ANALYSES, Analysis, analyse, read

__all__ = ["ANALYSES", "Analysis", "analyse", "read"]
