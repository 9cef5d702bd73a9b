"""MNIST, or your own data in its format."""

from __future__ import annotations

from typing import Any

from ..engine.input.download import fetch_mnist
from .idx import IdxImages


class MNIST(IdxImages):
    """Handwritten digits, http://yann.lecun.com/exdb/mnist/ (60,000 to train on, 10,000 to test).

    Args:
        directory: of the four files, which are downloaded if there are none. Your own files of
            the same names and format (Fashion-MNIST, say) are used as they are.
        others: classes, batch_size and more: see `IdxImages`.
    """

    def __init__(self, directory: str = "datasets/mnist", **others: Any) -> None:
        super().__init__(directory, **others)

    def prepare(self) -> None:
        """Downloads the files unless they are there, then checks them."""
        fetch_mnist(self.directory)
        super().prepare()
