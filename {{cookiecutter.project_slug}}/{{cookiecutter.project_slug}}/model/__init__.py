"""Batches to predictions, a loss and a train op: write a subclass of `Model` for your research."""

from ..engine import compat  # noqa: F401  (sets the runtime up)
from ..engine.graph.dropout import Dropout
from ..engine.graph.measures import Ratio
from .classifier import Classifier
from .cnn import CNN
from .mlp import MLP
from .model import Model

__all__ = ["CNN", "MLP", "Classifier", "Dropout", "Model", "Ratio"]
