"""Files to batches: write a subclass of `Dataset` for your data."""

from ..engine import compat  # noqa: F401  (sets the runtime up)
from .dataset import Dataset
from .digits import Digits
from .mnist import MNIST

__all__ = ["MNIST", "Dataset", "Digits"]
