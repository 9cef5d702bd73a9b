"""Batches to predictions, a loss and a train op: write a subclass of `Model` for your research."""

from ..engine import compat  # noqa: F401  (sets up the runtime)
from ..engine.graph.dropout import Dropout
from ..engine.graph.measures import Ratio
from .classifier import Classifier
from .model import Model

__all__ = ["Classifier", "Dropout", "Model", "Ratio"]
