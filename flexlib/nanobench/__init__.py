"""NanoBench and the nano base model: the study at a size that a laptop can run."""
