"""Base models: where they lie, which they are, loading them, and what they take of memory."""

from flexlib.models.bases import (
    BaseModels,
    attends_to_all,
    digest,
    load_model,
    load_tokenizer,
    locate,
    locate_adapter,
    pick_device,
    skeleton,
)
from flexlib.models.files import quiet

__all__ = [
    "BaseModels",
    "attends_to_all",
    "digest",
    "load_model",
    "load_tokenizer",
    "locate",
    "locate_adapter",
    "pick_device",
    "quiet",
    "skeleton",
]
