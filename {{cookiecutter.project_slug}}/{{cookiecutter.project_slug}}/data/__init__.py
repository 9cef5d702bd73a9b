"""Files to batches: write a subclass of `Dataset` for your data."""

from ..engine import compat  # noqa: F401  (sets up the runtime)
from .dataset import Dataset

__all__ = ["Dataset"]
