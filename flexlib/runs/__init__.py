"""Making runs and keeping them: the pipeline, grids and clusters, the store, provenance, doctor."""
