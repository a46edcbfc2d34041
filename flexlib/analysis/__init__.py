"""What is computed from an adapter or a model: spectra, merging, symmetry."""
