"""NanoBench and the nano base model: the study at a size that a laptop can run."""

from flexlib.nanobench.benchmark import load_split, problems

__all__ = ["load_split", "problems"]
